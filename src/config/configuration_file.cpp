#include "src/config/configuration_file.h"

#include <fmt/format.h>
#include <yaml-cpp/eventhandler.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <memory>
#include <sstream>

#include "src/config/substitution.h"
#include "src/config/values.h"

namespace bezel::config {

namespace {

constexpr size_t kFileBytesMax = 16 * 1024 * 1024;
constexpr size_t kIncludeDepthMax = 10;
constexpr size_t kFilesMax = 200;
constexpr std::string_view kIncludeKey = "%include";

int line_of(const YAML::Mark& mark) {
  return mark.is_null() ? 0 : mark.line + 1;
}

/// The length of the UTF-8 sequence at the front of `text`; 0 when it is none.
size_t utf8_bytes(std::string_view text) {
  const auto byte = [&](size_t i) { return i < text.size() ? static_cast<unsigned char>(text[i]) : 0u; };
  const unsigned first = byte(0);
  if (first < 0x80) return 1;
  const size_t bytes = first >= 0xf0 ? 4 : first >= 0xe0 ? 3 : 2;
  if (first < 0xc2 || first > 0xf4) return 0;
  for (size_t i = 1; i < bytes; ++i) {
    if ((byte(i) & 0xc0) != 0x80) return 0;
  }
  const bool overlong = (first == 0xe0 && byte(1) < 0xa0) || (first == 0xf0 && byte(1) < 0x90);
  const bool outside = (first == 0xed && byte(1) > 0x9f) || (first == 0xf4 && byte(1) > 0x8f);
  return overlong || outside ? 0 : bytes;
}

/// The line of the first byte that cannot stand in a configuration; 0 when all can. yaml-cpp would take some of them
/// for the end of the file, or replace them silently.
int line_of_bad_byte(std::string_view text) {
  int line = 1;
  while (!text.empty()) {
    const auto first = static_cast<unsigned char>(text.front());
    if (first < 0x20 && first != '\t' && first != '\n' && first != '\r') return line;
    const size_t bytes = utf8_bytes(text);
    if (bytes == 0) return line;
    if (first == '\n') ++line;
    text.remove_prefix(bytes);
  }
  return 0;
}

/// The YAML text of a file, in which the include at the top level is quoted: YAML takes a line that begins with % for a
/// directive, and yaml-cpp silently passes over those that it does not know.
struct QuotedText {
  std::string yaml;
  int bad_directive_line = 0;  ///< 0: none
};

bool has_prefix(std::string_view text, std::string_view prefix) {
  return text.substr(0, prefix.size()) == prefix;
}

QuotedText quote_includes(std::string_view text) {
  QuotedText quoted_text;
  int line_number = 0;
  while (!text.empty()) {
    ++line_number;
    const size_t end = std::min(text.find('\n'), text.size() - 1) + 1;
    std::string_view line = text.substr(0, end);
    text.remove_prefix(end);
    if (has_prefix(line, kIncludeKey) && has_prefix(trimmed(line.substr(kIncludeKey.size())), ":")) {
      quoted_text.yaml += fmt::format("\"{}\"", kIncludeKey);
      line.remove_prefix(kIncludeKey.size());
    } else if (has_prefix(line, "%") && !has_prefix(line, "%YAML ") && !has_prefix(line, "%TAG ")) {
      if (quoted_text.bad_directive_line == 0) quoted_text.bad_directive_line = line_number;
    }
    quoted_text.yaml += line;
  }
  return quoted_text;
}

/// yaml-cpp's message without what it may quote from the file: an unquoted password that begins with * is an alias
/// for YAML.
std::string yaml_error(const YAML::Exception& exception) {
  const std::string_view message = exception.msg;
  const std::string_view unknown_anchor = YAML::ErrorMsg::UNKNOWN_ANCHOR;
  if (message.substr(0, unknown_anchor.size()) == unknown_anchor) {
    return "not valid YAML: unknown alias (a value that begins with * must be quoted)";
  }
  return fmt::format("not valid YAML: {}", message);
}

/// Takes note of where documents begin. yaml-cpp's LoadAll() must not be used: on a text that begins with a stray comma
/// it makes empty documents until the memory is full.
class DocumentStarts : public YAML::EventHandler {
 public:
  void OnDocumentStart(const YAML::Mark& mark) override { marks.push_back(mark); }
  void OnDocumentEnd() override {}
  void OnNull(const YAML::Mark&, YAML::anchor_t) override {}
  void OnAlias(const YAML::Mark&, YAML::anchor_t) override {}
  void OnScalar(const YAML::Mark&, const std::string&, YAML::anchor_t, const std::string&) override {}
  void OnSequenceStart(const YAML::Mark&, const std::string&, YAML::anchor_t, YAML::EmitterStyle::value) override {}
  void OnSequenceEnd() override {}
  void OnMapStart(const YAML::Mark&, const std::string&, YAML::anchor_t, YAML::EmitterStyle::value) override {}
  void OnMapEnd() override {}

  std::vector<YAML::Mark> marks;
};

/// The beginnings of the first two documents, or of what is left of the text where it is no YAML.
std::vector<YAML::Mark> first_document_marks(const std::string& yaml) {
  std::istringstream text(yaml);
  YAML::Parser parser(text);
  DocumentStarts starts;
  while (starts.marks.size() < 2 && parser.HandleNextDocument(starts)) {
  }
  return starts.marks;
}

/// Reads one file after another, depth first.
class ConfigurationReader {
 public:
  ConfigurationReader(const Environment& environment, ProblemList& errors)
      : environment_(environment), errors_(errors) {}

  /// `from` is the place of the include; an empty file name there for the first file.
  Configuration read(const std::string& path, const Origin& from) {
    Configuration configuration;
    const std::string identity = identity_of(path);
    if (std::find(open_.begin(), open_.end(), identity) != open_.end()) {
      fail_include(from, fmt::format("{} includes itself", path));
      return configuration;
    }
    if (open_.size() > kIncludeDepthMax || files_ >= kFilesMax) {
      fail_include(from, fmt::format("expected at most {} files, {} deep", kFilesMax, kIncludeDepthMax));
      return configuration;
    }
    ++files_;
    open_.push_back(identity);
    const FileContent file = read_file(path);
    if (file.error.empty()) {
      if (std::optional<YAML::Node> top = parse(path, file.content)) configuration = understand_top(path, *top);
    } else if (from.file.empty()) {
      fail({path, 0, {}, file.error});
    } else {
      fail_include(from, fmt::format("{}: {}", path, file.error));
    }
    open_.pop_back();
    if (!all_read_) configuration.complete = false;
    return configuration;
  }

 private:
  void fail(Problem problem) {
    all_read_ = false;
    errors_.add(std::move(problem));
  }

  static std::string identity_of(const std::string& path) {
    std::error_code error;
    const std::filesystem::path canonical = std::filesystem::weakly_canonical(path, error);
    return error ? path : canonical.string();
  }

  void fail_include(const Origin& from, std::string message) {
    fail({from.file, from.line, std::string(kIncludeKey), std::move(message)});
  }

  /// The file's one document; an empty file has a null one.
  std::optional<YAML::Node> parse(const std::string& path, const std::string& content) {
    if (const int line = line_of_bad_byte(content); line > 0) {
      fail({path, line, {}, "expected UTF-8 text without control characters"});
      return std::nullopt;
    }
    const QuotedText text = quote_includes(content);
    if (text.bad_directive_line > 0) {
      fail({path, text.bad_directive_line, {}, "expected \"%include: FILE\" after a % at the beginning of a line"});
      return std::nullopt;
    }
    try {
      const std::vector<YAML::Mark> marks = first_document_marks(text.yaml);
      if (marks.size() < 2) return YAML::Load(text.yaml);
      // A token that cannot begin anything is left over, and seen again.
      const bool left_over = marks[0].pos == marks[1].pos;
      fail({path, line_of(marks[1]), {}, left_over ? "not valid YAML" : "expected one YAML document, found several"});
    } catch (const YAML::Exception& exception) {
      fail({path, line_of(exception.mark), {}, yaml_error(exception)});
    }
    return std::nullopt;
  }

  Configuration understand_top(const std::string& path, const YAML::Node& top) {
    if (top.IsNull()) return {};
    if (!top.IsMap()) {
      fail({path, line_of(top.Mark()), {}, fmt::format("expected a map of settings, found {}", kind_of_node(top))});
      return {};
    }
    Configuration own, included;
    for (auto& [key, item] : map_items(top, path, {}, errors_)) {
      if (key == kIncludeKey) {
        included = read_includes(item);
      } else if (key == "databases") {
        own.databases = entries(key, item);
      } else if (key == "users") {
        own.users = entries(key, item);
      } else {
        own.settings.emplace(key, std::move(item));
      }
    }
    // What the includer says itself stands; map::merge leaves keys alone that are there already.
    own.settings.merge(included.settings);
    own.databases.merge(included.databases);
    own.users.merge(included.users);
    return own;
  }

  Items entries(const std::string& key, const Item& item) {
    Items items;
    if (item.node.IsNull()) return items;
    if (!item.node.IsMap()) {
      errors_.add({item.origin.file, item.origin.line, key,
                   fmt::format("expected a map of names, found {}", kind_of_node(item.node))});
      return items;
    }
    for (auto& [name, entry] : map_items(item.node, item.origin.file, key, errors_)) {
      items.emplace(name, std::move(entry));
    }
    return items;
  }

  Configuration read_includes(const Item& item) {
    std::vector<YAML::Node> names;
    if (item.node.IsSequence()) {
      for (const YAML::Node& name : item.node) names.push_back(name);
    } else {
      names.push_back(item.node);
    }
    Configuration merged;
    for (const YAML::Node& name : names) {
      const TextValue text = text_value(name, environment_);
      const Origin from = {item.origin.file, name.IsNull() ? item.origin.line : line_of(name.Mark())};
      if (!text.error.empty() || text.text.empty()) {
        fail_include(from, fmt::format("expected a file name, or a list of them, {}",
                                       text.error.empty() ? "found an empty one" : text.error));
        continue;
      }
      Configuration included = read(path_beside(from.file, text.text), from);
      merge_beside(included.settings, {}, merged.settings);
      merge_beside(included.databases, "databases.", merged.databases);
      merge_beside(included.users, "users.", merged.users);
    }
    return merged;
  }

  /// Two files that are included side by side must not say the same thing: neither would be the one that counts.
  void merge_beside(Items& from, std::string_view prefix, Items& into) {
    for (auto& [key, item] : from) {
      const auto [there, added] = into.emplace(key, item);
      if (added) continue;
      const Origin& first = there->second.origin;
      // The same line, by two ways of includes, says it once.
      if (identity_of(first.file) == identity_of(item.origin.file) && first.line == item.origin.line) continue;
      errors_.add({item.origin.file, item.origin.line, fmt::format("{}{}", prefix, key),
                   fmt::format("set in two included files; the other place is {}:{}", first.file, first.line)});
    }
  }

  const Environment& environment_;
  ProblemList& errors_;
  std::vector<std::string> open_;
  size_t files_ = 0;
  bool all_read_ = true;
};

}  // namespace

std::string_view kind_of_node(const YAML::Node& node) {
  if (node.IsMap()) return "a map";
  if (node.IsSequence()) return "a list";
  return node.IsScalar() ? "a text" : "nothing";
}

TextValue raw_text_value(const YAML::Node& node) {
  if (!node.IsScalar()) return {{}, fmt::format("found {}", kind_of_node(node))};
  const std::string& tag = node.Tag();
  if (!tag.empty() && tag != "?" && tag != "!" && tag != "tag:yaml.org,2002:str") {
    return {{}, "found a YAML tag (a value that begins with ! must be quoted)"};
  }
  if (node.Scalar().find('\0') != std::string::npos) return {{}, "found a NUL byte"};
  return {node.Scalar(), {}};
}

TextValue text_value(const YAML::Node& node, const Environment& environment) {
  const TextValue raw = raw_text_value(node);
  if (!raw.error.empty()) return raw;
  Substitution substitution = substitute(raw.text, environment);
  return {std::move(substitution.text), std::move(substitution.error)};
}

std::vector<std::pair<std::string, Item>> map_items(const YAML::Node& map, const std::string& file,
                                                    const std::string& key, ProblemList& errors) {
  std::vector<std::pair<std::string, Item>> items;
  std::map<std::string, int, std::less<>> lines;
  for (const auto& pair : map) {
    const int line = line_of(pair.first.Mark());
    const TextValue name = raw_text_value(pair.first);
    if (!name.error.empty() || name.text.empty()) {
      errors.add({file, line, key,
                  fmt::format("expected a name as key, {}", name.error.empty() ? "found an empty text" : name.error)});
      continue;
    }
    if (name.text == "<<") {
      errors.add({file, line, key, "YAML's merge key << is not supported"});
      continue;
    }
    const auto [first, added] = lines.emplace(name.text, line);
    if (!added) {
      errors.add({file, line, key.empty() ? name.text : fmt::format("{}.{}", key, name.text),
                  fmt::format("duplicate key; the first one is in line {}", first->second)});
      continue;
    }
    items.push_back({name.text, {{file, line}, pair.second}});
  }
  return items;
}

std::string path_beside(const std::string& file, const std::string& name) {
  const std::filesystem::path path(name);
  if (path.is_absolute()) return name;
  return (std::filesystem::path(file).parent_path() / path).lexically_normal().string();
}

FileContent read_file(const std::string& path) {
  const std::unique_ptr<std::FILE, int (*)(std::FILE*)> file(std::fopen(path.c_str(), "re"), std::fclose);
  if (!file) return {{}, fmt::format("cannot be opened: {}", std::strerror(errno))};
  FileContent result;
  std::array<char, 65536> chunk;
  size_t bytes = 0;
  while ((bytes = std::fread(chunk.data(), 1, chunk.size(), file.get())) > 0) {
    result.content.append(chunk.data(), bytes);
    if (result.content.size() > kFileBytesMax) return {{}, "expected at most 16 MiB"};
  }
  if (std::ferror(file.get()) != 0) return {{}, fmt::format("cannot be read: {}", std::strerror(errno))};
  return result;
}

Configuration read_configuration(const std::string& path, const Environment& environment, ProblemList& errors) {
  return ConfigurationReader(environment, errors).read(path, {});
}

}  // namespace bezel::config
