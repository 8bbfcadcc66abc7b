#include "protocol/userlist.h"

#include <optional>
#include <unordered_map>
#include <utility>

namespace bezel::protocol {

namespace {

bool is_blank(char c) {
  return c == ' ' || (c >= '\t' && c <= '\r');
}

std::string_view trim_front(std::string_view text) {
  while (!text.empty() && is_blank(text.front())) text.remove_prefix(1);
  return text;
}

std::string_view trim_back(std::string_view text) {
  while (!text.empty() && is_blank(text.back())) text.remove_suffix(1);
  return text;
}

/// A field in quotes, read by the rule that `""` is one quote.
struct Field {
  std::string value;
  std::string_view rest;  // what follows the closing quote
};

/// REQUIRES: `text` begins after the opening quote. Nothing when no quote closes it.
std::optional<Field> read_field(std::string_view text) {
  Field field;
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '"') {
      field.value.push_back(text[i]);
    } else if (i + 1 < text.size() && text[i + 1] == '"') {
      field.value.push_back('"');
      ++i;
    } else {
      field.rest = text.substr(i + 1);
      return field;
    }
  }
  return std::nullopt;
}

/// Whether what follows a secret is of the kind PgBouncer's files have there: nothing, words without quotes, or further
/// quoted fields. Anything else suggests that the secret did not end where it seemed to.
bool is_harmless_remainder(std::string_view rest) {
  if (!rest.empty() && !is_blank(rest.front())) return false;
  for (rest = trim_front(rest); rest.starts_with('"'); rest = trim_front(rest)) {
    const auto field = read_field(rest.substr(1));
    if (!field || (!field->rest.empty() && !is_blank(field->rest.front()))) return false;
    rest = field->rest;
  }
  return rest.find('"') == std::string_view::npos;
}

/// Whether a quote inside could as well be the closing one, with something ignored after it.
bool could_end_earlier(std::string_view literal) {
  for (size_t i = 0; i + 1 < literal.size(); ++i) {
    if (literal[i] == '"' && is_blank(literal[i + 1])) return true;
  }
  return false;
}

struct Line {
  std::string user;
  std::string secret;
};

/// The secret, from what follows its opening quote; the message when it cannot be read.
const char* read_secret(std::string_view text, std::string& secret) {
  auto field = read_field(text);
  if (field && is_harmless_remainder(field->rest)) {
    secret = std::move(field->value);
    return nullptr;
  }
  // Not well formed, so the writer did not double the quotes of the secret: it is all up to the line's last quote.
  const std::string_view line_end = trim_back(text);
  if (line_end.empty() || line_end.back() != '"') {
    return field ? "expected white space or the end of the line after the secret" : "the secret has no closing quote";
  }
  const std::string_view literal = line_end.substr(0, line_end.size() - 1);
  if (could_end_earlier(literal)) return "cannot tell where the secret ends: write each quote inside it twice";
  secret = literal;
  return nullptr;
}

/// Parses a line that is neither blank nor a comment; the message when it is faulty.
const char* read_line(std::string_view text, Line& line) {
  if (text.find('\0') != std::string_view::npos) return "zero byte in the line";
  if (!text.starts_with('"')) return "expected a user name in double quotes";
  auto user = read_field(text.substr(1));
  if (!user) return "the user name has no closing quote";
  if (user->value.empty()) return "the user name is empty";
  if (user->value.size() > kUserlistNameBytesMax) return "the user name is longer than 127 bytes";
  const std::string_view rest = trim_front(user->rest);
  if (!rest.starts_with('"') || rest.size() == user->rest.size()) {
    return "expected white space and a secret in double quotes after the user name";
  }
  line.user = std::move(user->value);
  if (const char* fault = read_secret(rest.substr(1), line.secret)) return fault;
  if (line.secret.size() > kUserlistSecretBytesMax) return "the secret is longer than 65536 bytes";
  return nullptr;
}

}  // namespace

Userlist parse_userlist(std::string_view text) {
  Userlist result;
  std::unordered_map<std::string, size_t> index_of;
  size_t number = 0;
  while (!text.empty()) {
    const size_t end = text.find('\n');
    const std::string_view content = trim_front(text.substr(0, end));
    text.remove_prefix(end == std::string_view::npos ? text.size() : end + 1);
    ++number;
    if (content.empty() || content.front() == ';' || content.front() == '#') continue;

    Line line;
    if (const char* fault = read_line(content, line)) {
      if (result.errors.size() < kUserlistErrorsMax) result.errors.push_back({number, fault});
      continue;
    }
    const auto [known, is_new] = index_of.try_emplace(line.user, result.entries.size());
    if (is_new) {
      result.entries.push_back({std::move(line.user), std::move(line.secret), number});
    } else {
      result.entries[known->second].secret = std::move(line.secret);
      result.entries[known->second].line = number;
    }
  }
  return result;
}

}  // namespace bezel::protocol
