#include "src/config/conninfo.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <memory>
#include <optional>
#include <utility>

#include "src/config/database_entry.h"
#include "src/config/libpq.h"
#include "src/config/substitution.h"

namespace bezel::config {

namespace {

constexpr size_t kConninfoBytesMax = 64 * 1024;
constexpr char kMarkBegin = '\x01';
constexpr char kMarkEnd = '\x02';

bool is_space(char c) {
  return c == ' ' || (c >= '\t' && c <= '\r');
}

bool has_control_bytes(std::string_view text) {
  return std::any_of(text.begin(), text.end(),
                     [](char c) { return static_cast<unsigned char>(c) < 0x20 && !is_space(c); });
}

/// Keeps what stands for variables away from the grammar of connection strings: each ${...} becomes a mark that no
/// parser takes for anything, and its value takes the mark's place when the string is in pieces.
class VariableMarks {
 public:
  /// `text` with marks. REQUIRES: no control bytes in `text` but white space.
  std::string mask(std::string_view text) {
    std::string masked;
    while (!text.empty()) {
      const size_t bytes = substitution_bytes(text);
      if (bytes == 0) {
        masked += text.front();
        text.remove_prefix(1);
        continue;
      }
      masked += fmt::format("{}{}{}", kMarkBegin, originals_.size(), kMarkEnd);
      originals_.emplace_back(text.substr(0, bytes));
      text.remove_prefix(bytes);
    }
    return masked;
  }

  /// `masked` with the variables' values.
  Substitution unmask(std::string_view masked, const Environment& environment) const {
    Substitution result;
    while (!masked.empty()) {
      const size_t begin = masked.find(kMarkBegin);
      result.text += masked.substr(0, begin);
      if (begin == std::string_view::npos) break;
      const size_t end = masked.find(kMarkEnd, begin);
      size_t index = originals_.size();
      if (end != std::string_view::npos) std::from_chars(masked.data() + begin + 1, masked.data() + end, index);
      // A URI can smuggle the mark's bytes in as %01 and %02.
      if (index >= originals_.size()) return {{}, "control characters are not allowed here"};
      const Substitution value = substitute(originals_[index], environment);
      if (!value.error.empty()) return value;
      result.text += value.text;
      masked.remove_prefix(end + 1);
    }
    return result;
  }

 private:
  std::vector<std::string> originals_;
};

Conninfo failed(std::string error) {
  return {{}, std::move(error)};
}

/// Takes `key=value ...` apart, as libpq does.
class KeywordTokenizer {
 public:
  explicit KeywordTokenizer(std::string_view text) : text_(text) {}

  Conninfo parse() {
    Conninfo result;
    while (skip_space(), at_ < text_.size()) {
      const size_t begin = at_;
      Parameter parameter;
      parameter.key = take_key();
      skip_space();
      // What stands here may be the rest of a password that should have been quoted: it is not shown.
      const bool after_password = !result.parameters.empty() && result.parameters.back().key == "password";
      if (parameter.key.empty() || at_ == text_.size() || text_[at_] != '=' ||
          (after_password && !is_known(parameter.key))) {
        return failed(
            fmt::format("expected key=value at character {} of the connection string (a value with spaces "
                        "must stand in single quotes)",
                        begin + 1));
      }
      ++at_;
      skip_space();
      std::optional<std::string> value = take_value();
      if (!value) return failed("the connection string ends inside a quoted value: expected a closing '");
      parameter.value = std::move(*value);
      result.parameters.push_back(std::move(parameter));
    }
    return result;
  }

 private:
  static bool is_known(std::string_view key);

  void skip_space() {
    while (at_ < text_.size() && is_space(text_[at_])) ++at_;
  }

  std::string take_key() {
    const size_t begin = at_;
    while (at_ < text_.size() && !is_space(text_[at_]) && text_[at_] != '=') ++at_;
    return std::string(text_.substr(begin, at_ - begin));
  }

  std::optional<std::string> take_value() {
    if (at_ < text_.size() && text_[at_] == '\'') return take_quoted();
    std::string value;
    while (at_ < text_.size() && !is_space(text_[at_])) take_escaped(value);
    return value;
  }

  std::optional<std::string> take_quoted() {
    std::string value;
    ++at_;
    while (at_ < text_.size()) {
      if (text_[at_] != '\'') {
        take_escaped(value);
        continue;
      }
      ++at_;
      if (at_ == text_.size() || text_[at_] != '\'') return value;
      value += '\'';
      ++at_;
    }
    return std::nullopt;
  }

  /// One byte, or the one after a backslash.
  void take_escaped(std::string& value) {
    if (text_[at_] == '\\') ++at_;
    if (at_ < text_.size()) value += text_[at_++];
  }

  std::string_view text_;
  size_t at_ = 0;
};

bool KeywordTokenizer::is_known(std::string_view key) {
  const std::vector<EntryKeyword>& own = database_keywords();
  return is_libpq_keyword(key) ||
         std::any_of(own.begin(), own.end(), [&](const EntryKeyword& keyword) { return keyword.name == key; });
}

bool is_uri(std::string_view text) {
  return text.substr(0, 11) == "postgres://" || text.substr(0, 13) == "postgresql://";
}

std::optional<std::string> percent_decoded(std::string_view text) {
  const auto hex = [](char c) {
    if (c >= '0' && c <= '9') return c - '0';
    if (c >= 'a' && c <= 'f') return c - 'a' + 10;
    if (c >= 'A' && c <= 'F') return c - 'A' + 10;
    return -1;
  };
  std::string decoded;
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '%') {
      decoded += text[i];
      continue;
    }
    if (i + 2 >= text.size() || hex(text[i + 1]) < 0 || hex(text[i + 2]) < 0) return std::nullopt;
    const int byte = hex(text[i + 1]) * 16 + hex(text[i + 2]);
    if (byte == 0) return std::nullopt;
    decoded += static_cast<char>(byte);
    i += 2;
  }
  return decoded;
}

/// Where the query of a URI begins (its '?'). A user or password may hold a '?' of its own, as libpq reads them.
size_t query_position(std::string_view uri) {
  size_t from = uri.find("://") + 3;
  const size_t at_or_slash = uri.find_first_of("@/", from);
  if (at_or_slash != std::string_view::npos && uri[at_or_slash] == '@') from = at_or_slash + 1;
  return uri.find('?', from);
}

/// A URI whose query holds only what libpq knows, and the pooler's own keywords that stood there.
struct SplitUri {
  std::string uri;
  std::vector<Parameter> own;
  std::string error;
};

SplitUri split_uri(std::string_view uri) {
  SplitUri split;
  const size_t mark = query_position(uri);
  split.uri = uri.substr(0, mark);
  if (mark == std::string_view::npos) return split;
  std::string_view query = uri.substr(mark + 1);
  char separator = '?';
  while (!query.empty()) {
    const size_t end = std::min(query.find('&'), query.size());
    const std::string_view pair = query.substr(0, end);
    query.remove_prefix(std::min(end + 1, query.size()));
    const size_t equals = pair.find('=');
    const std::optional<std::string> key = percent_decoded(pair.substr(0, equals));
    if (!key || !is_own_database_keyword(*key)) {
      split.uri += separator;
      split.uri += pair;
      separator = '&';
      continue;
    }
    const std::string_view written = equals == std::string_view::npos ? std::string_view() : pair.substr(equals + 1);
    std::optional<std::string> value = percent_decoded(written);
    if (equals == std::string_view::npos || !value) {
      split.error = fmt::format("{} in the URI: expected {}=value, with % only before two hex digits", *key, *key);
      return split;
    }
    split.own.push_back({*key, std::move(*value), 0});
  }
  return split;
}

/// libpq quotes parts of the string, perhaps of a password, in its messages: only what stands before the quotes is
/// kept. The one exception is the name of a query parameter.
std::string libpq_error_without_values(std::string_view message) {
  constexpr std::string_view kUnknownParameter = "invalid URI query parameter: \"";
  while (!message.empty() && is_space(message.back())) message.remove_suffix(1);
  if (message.substr(0, kUnknownParameter.size()) == kUnknownParameter && message.find('=') == std::string_view::npos) {
    return std::string(message);
  }
  std::string_view kept = message.substr(0, message.find('"'));
  while (!kept.empty() && (is_space(kept.back()) || kept.back() == ':')) kept.remove_suffix(1);
  return std::string(kept);
}

Conninfo parse_uri(std::string_view text) {
  SplitUri split = split_uri(text);
  if (!split.error.empty()) return failed(std::move(split.error));
  const Libpq libpq;
  if (!libpq.loaded()) return failed("the connection URI cannot be read: libpq.so.5 is not installed");
  char* message = nullptr;
  const std::unique_ptr<PQconninfoOption, decltype(&PQconninfoFree)> options(
      libpq.conninfo_parse(split.uri.c_str(), &message), libpq.conninfo_free);
  const std::unique_ptr<char, decltype(&PQfreemem)> message_owner(message, libpq.freemem);
  if (!options) {
    return failed(fmt::format("the connection URI cannot be read: {}",
                              message != nullptr ? libpq_error_without_values(message) : "out of memory"));
  }
  Conninfo result;
  for (const PQconninfoOption* option = options.get(); option->keyword != nullptr; ++option) {
    if (option->val != nullptr) result.parameters.push_back({option->keyword, option->val, 0});
  }
  for (Parameter& parameter : split.own) result.parameters.push_back(std::move(parameter));
  return result;
}

std::string repeated_keyword(const std::vector<Parameter>& parameters) {
  for (size_t i = 0; i < parameters.size(); ++i) {
    for (size_t j = 0; j < i; ++j) {
      if (parameters[i].key == parameters[j].key) return parameters[i].key;
    }
  }
  return {};
}

Conninfo parse_plain(std::string_view text) {
  Conninfo result = is_uri(text) ? parse_uri(text) : KeywordTokenizer(text).parse();
  const std::string repeated = repeated_keyword(result.parameters);
  if (!repeated.empty()) return failed(fmt::format("the connection string has {} twice", repeated));
  return result;
}

}  // namespace

Conninfo parse_conninfo(std::string_view text, const Environment& environment) {
  if (text.size() > kConninfoBytesMax) return failed("the connection string is longer than 64 kB");
  if (is_one_substitution(text)) {
    const Substitution whole = substitute(text, environment);
    if (!whole.error.empty()) return failed(whole.error);
    if (has_control_bytes(whole.text)) return failed("the connection string holds control characters");
    return parse_plain(whole.text);
  }
  if (has_control_bytes(text)) return failed("the connection string holds control characters");
  VariableMarks marks;
  Conninfo result = parse_plain(marks.mask(text));
  for (Parameter& parameter : result.parameters) {
    if (parameter.key.find(kMarkBegin) != std::string::npos) return failed("a keyword cannot come from a variable");
    Substitution value = marks.unmask(parameter.value, environment);
    if (!value.error.empty()) return failed(fmt::format("{}: {}", parameter.key, value.error));
    parameter.value = std::move(value.text);
  }
  return result;
}

bool is_libpq_keyword(std::string_view keyword) {
  static const std::vector<std::string> kKeywords = [] {
    std::vector<std::string> keywords;
    const Libpq libpq;
    if (!libpq.loaded()) return keywords;
    const std::unique_ptr<PQconninfoOption, decltype(&PQconninfoFree)> options(libpq.conninfo_parse("", nullptr),
                                                                               libpq.conninfo_free);
    for (const PQconninfoOption* option = options.get(); option != nullptr && option->keyword != nullptr; ++option) {
      keywords.emplace_back(option->keyword);
    }
    return keywords;
  }();
  return std::find(kKeywords.begin(), kKeywords.end(), keyword) != kKeywords.end();
}

}  // namespace bezel::config
