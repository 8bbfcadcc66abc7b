#include "src/config/hba_tokens.h"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <optional>
#include <system_error>
#include <utility>

#include "src/config/configuration_file.h"

namespace bezel::config {

namespace {

bool is_blank(char c) {
  return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

/// Cuts a line as PostgreSQL does: blanks end a field, unless a comma stands right before them.
class Cutter {
 public:
  explicit Cutter(std::string_view line, bool has_comments = true) : rest_(line), has_comments_(has_comments) {}

  struct Cut {
    HbaToken token;
    bool more = false;  ///< a comma follows: the field goes on
  };

  /// Nothing at the end of the line, or of what is right in it.
  std::optional<Cut> next() {
    while (!rest_.empty() && (is_blank(rest_.front()) || rest_.front() == ',')) rest_.remove_prefix(1);
    if (rest_.empty() || is_comment(rest_.front())) return std::nullopt;
    Cut cut;
    cut.token.quoted = rest_.front() == '"';
    bool in_quotes = false;
    size_t at = 0;
    for (; at < rest_.size(); at++) {
      const char c = rest_[at];
      if (c == '"') {
        if (in_quotes && at + 1 < rest_.size() && rest_[at + 1] == '"') {
          cut.token.text += '"';
          at++;
        } else {
          in_quotes = !in_quotes;
        }
        continue;
      }
      if (!in_quotes && (is_blank(c) || c == ',' || is_comment(c))) break;
      cut.token.text += c;
    }
    if (in_quotes) {
      error_ = "unterminated quoted string";
      return std::nullopt;
    }
    rest_.remove_prefix(at);
    cut.more = !rest_.empty() && rest_.front() == ',';
    return cut;
  }
  const std::string& error() const { return error_; }

 private:
  bool is_comment(char c) const { return has_comments_ && c == '#'; }

  std::string_view rest_;
  bool has_comments_;
  std::string error_;
};

class Reader {
 public:
  Reader(ProblemList& errors, std::vector<std::string>& included) : errors_(errors), included_(included) {}

  void read(const std::string& path, std::string_view content, int depth) {
    int number = 0;
    while (!content.empty()) {
      const int first = number + 1;
      const std::string line = joined_line(content, number);
      HbaLine parsed{path, first, {}};
      if (!cut(line, depth, parsed) || parsed.fields.empty()) continue;
      if (is_include(parsed)) {
        include(parsed, depth);
      } else if (lines_.size() == kHbaLinesMax) {
        return fail_once(parsed, fmt::format("expected at most {} lines", kHbaLinesMax));
      } else {
        lines_.push_back(std::move(parsed));
      }
    }
  }
  std::vector<HbaLine> take() { return std::move(lines_); }

 private:
  void fail(const HbaLine& at, std::string message) { errors_.add({at.file, at.line, {}, std::move(message)}); }

  void fail_once(const HbaLine& at, std::string message) {
    if (!std::exchange(too_much_, true)) fail(at, std::move(message));
  }

  /// A line with those that continue it; `number` is the last one's.
  static std::string joined_line(std::string_view& content, int& number) {
    std::string line;
    while (true) {
      const size_t end = std::min(content.find('\n'), content.size());
      std::string_view part = content.substr(0, end);
      content.remove_prefix(std::min(end + 1, content.size()));
      number++;
      if (part.ends_with('\r')) part.remove_suffix(1);
      const bool goes_on = part.ends_with('\\');
      if (goes_on) part.remove_suffix(1);
      line += part;
      if (!goes_on || content.empty()) return line;
    }
  }

  bool cut(const std::string& text, int depth, HbaLine& line) {
    if (text.find('\0') != std::string::npos) {
      fail(line, "found a byte of value 0");
      return false;
    }
    Cutter cutter(text);
    HbaField field;
    while (const auto cut = cutter.next()) {
      if (!add(cut->token, depth, line, field)) return false;
      if (cut->more) continue;
      line.fields.push_back(std::exchange(field, {}));
    }
    if (!field.empty()) line.fields.push_back(std::move(field));
    if (!cutter.error().empty()) fail(line, cutter.error());
    return cutter.error().empty();
  }

  /// Adds a word, or the words of the file that it names.
  bool add(const HbaToken& token, int depth, const HbaLine& line, HbaField& field) {
    if (++tokens_ > kHbaTokensMax) {
      fail_once(line, fmt::format("expected at most {} words", kHbaTokensMax));
      return false;
    }
    if (token.quoted || token.text.size() < 2 || token.text.front() != '@') {
      field.push_back(token);
      return true;
    }
    const std::string path = path_beside(line.file, token.text.substr(1));
    const std::optional<std::string> content = open(path, depth, line, false);
    if (!content) return false;
    std::string_view rest = *content;
    for (int number = 0; !rest.empty();) {
      HbaLine here{path, number + 1, {}};
      const std::string text = joined_line(rest, number);
      if (!cut(text, depth + 1, here)) return false;
      for (HbaField& words : here.fields) {
        for (HbaToken& word : words) field.push_back(std::move(word));
      }
    }
    return true;
  }

  /// The content of a file that is named at `line`, or nothing and an error (none, when it may be missing).
  std::optional<std::string> open(const std::string& path, int depth, const HbaLine& line, bool may_be_missing) {
    included_.push_back(path);
    std::error_code error;
    if (may_be_missing && !std::filesystem::exists(path, error) && !error) return std::nullopt;
    if (depth + 1 > kHbaIncludeDepthMax) {
      fail(line, fmt::format("{}: files are included more than {} deep", path, kHbaIncludeDepthMax));
      return std::nullopt;
    }
    if (++files_ > kHbaFilesMax) {
      fail_once(line, fmt::format("expected at most {} included files", kHbaFilesMax));
      return std::nullopt;
    }
    FileContent file = read_file(path);
    if (!file.error.empty()) {
      fail(line, fmt::format("{}: {}", path, file.error));
      return std::nullopt;
    }
    return std::move(file.content);
  }

  static bool is_include(const HbaLine& line) {
    if (line.fields[0].empty()) return false;  // a file without a word in it
    const HbaToken& word = line.fields[0][0];
    return word.is("include") || word.is("include_if_exists") || word.is("include_dir");
  }

  void include(const HbaLine& line, int depth) {
    const HbaToken& directive = line.fields[0][0];
    if (line.fields.size() != 2 || line.fields[0].size() != 1 || line.fields[1].size() != 1) {
      return fail(line, fmt::format("expected one file after {}", directive.text));
    }
    const std::string path = path_beside(line.file, line.fields[1][0].text);
    if (directive.is("include_dir")) return include_folder(path, line, depth);
    include_file(path, line, depth, directive.is("include_if_exists"));
  }

  void include_file(const std::string& path, const HbaLine& line, int depth, bool may_be_missing) {
    if (const auto content = open(path, depth, line, may_be_missing)) read(path, *content, depth + 1);
  }

  /// Its files NAME.conf, by name.
  void include_folder(const std::string& path, const HbaLine& line, int depth) {
    included_.push_back(path + "/.");
    std::vector<std::string> paths;
    std::error_code error;
    for (auto entry = std::filesystem::directory_iterator(path, error);
         !error && entry != std::filesystem::directory_iterator(); entry.increment(error)) {
      const std::string name = entry->path().filename().string();
      if (name.front() == '.' || !name.ends_with(".conf") || paths.size() > kHbaFilesMax) continue;
      if (entry->is_directory(error)) continue;
      paths.push_back(entry->path().string());
    }
    if (error) return fail(line, fmt::format("{}: cannot be read: {}", path, error.message()));
    std::sort(paths.begin(), paths.end());
    for (const std::string& one : paths) include_file(one, line, depth, false);
  }

  ProblemList& errors_;
  std::vector<std::string>& included_;
  std::vector<HbaLine> lines_;
  size_t files_ = 0, tokens_ = 0;
  bool too_much_ = false;
};

}  // namespace

std::vector<std::string> cut_words(std::string_view text, std::string& error) {
  Cutter cutter(text, false);
  std::vector<std::string> words;
  while (auto cut = cutter.next()) words.push_back(std::move(cut->token.text));
  error = cutter.error();
  return words;
}

std::vector<HbaLine> read_hba_lines(const std::string& path, std::string_view content, ProblemList& errors,
                                    std::vector<std::string>& included) {
  Reader reader(errors, included);
  reader.read(path, content, 0);
  return reader.take();
}

}  // namespace bezel::config
