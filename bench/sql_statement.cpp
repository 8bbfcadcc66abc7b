#include "bench/sql_statement.h"

#include <array>
#include <cctype>
#include <optional>

namespace bezel::bench {
namespace {

bool is_space(char c) {
  return std::isspace(static_cast<unsigned char>(c)) != 0;
}
bool is_word(char c) {
  return std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '_' || c == '.';
}

void skip_space(std::string_view& text) {
  while (!text.empty() && is_space(text.front())) text.remove_prefix(1);
}

std::string_view trimmed(std::string_view text) {
  skip_space(text);
  while (!text.empty() && is_space(text.back())) text.remove_suffix(1);
  return text;
}

bool equals(std::string_view text, std::string_view lower_case) {
  if (text.size() != lower_case.size()) return false;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (std::tolower(static_cast<unsigned char>(text[i])) != lower_case[i]) return false;
  }
  return true;
}

std::string_view peek_word(std::string_view text) {
  std::size_t length = 0;
  while (length < text.size() && is_word(text[length])) ++length;
  return text.substr(0, length);
}

bool take_word(std::string_view& text, std::string_view lower_case) {
  skip_space(text);
  const auto word = peek_word(text);
  if (!equals(word, lower_case)) return false;
  text.remove_prefix(word.size());
  return true;
}

/// A quoted text with doubled quotes undone, or a bare word.
std::optional<std::string> take_value(std::string_view& text) {
  skip_space(text);
  if (text.empty()) return std::nullopt;
  const char quote = text.front();
  if (quote != '\'' && quote != '"') {
    std::size_t length = 0;
    while (length < text.size() && !is_space(text[length]) && text[length] != ',' && text[length] != ')' &&
           text[length] != '=')
      ++length;
    std::string word(text.substr(0, length));
    text.remove_prefix(length);
    return word.empty() ? std::nullopt : std::optional(word);
  }
  std::string value;
  for (std::size_t i = 1; i < text.size(); ++i) {
    if (text[i] != quote) {
      value.push_back(text[i]);
    } else if (i + 1 < text.size() && text[i + 1] == quote) {
      value.push_back(text[i++]);
    } else {
      text.remove_prefix(i + 1);
      return value;
    }
  }
  return std::nullopt;
}

struct KnownWord {
  std::string_view word;
  StatementKind kind;
  std::string_view tag;
};

constexpr std::array kKnownWords = {
    KnownWord{"select", StatementKind::kRow, "SELECT 1"},
    KnownWord{"begin", StatementKind::kBegin, "BEGIN"},
    KnownWord{"commit", StatementKind::kCommit, "COMMIT"},
    KnownWord{"end", StatementKind::kCommit, "COMMIT"},
    KnownWord{"update", StatementKind::kCommand, "UPDATE 1"},
    KnownWord{"insert", StatementKind::kCommand, "INSERT 0 1"},
    KnownWord{"delete", StatementKind::kCommand, "DELETE 1"},
    KnownWord{"set", StatementKind::kSet, "SET"},
    KnownWord{"reset", StatementKind::kReset, "RESET"},
    KnownWord{"show", StatementKind::kRow, "SHOW"},
    KnownWord{"start", StatementKind::kBegin, "START TRANSACTION"},
    KnownWord{"rollback", StatementKind::kRollback, "ROLLBACK"},
    KnownWord{"abort", StatementKind::kRollback, "ROLLBACK"},
    KnownWord{"discard", StatementKind::kDiscardAll, "DISCARD ALL"},
    KnownWord{"deallocate", StatementKind::kDeallocate, "DEALLOCATE"},
    KnownWord{"with", StatementKind::kRow, "SELECT 1"},
    KnownWord{"values", StatementKind::kRow, "SELECT 1"},
    KnownWord{"table", StatementKind::kRow, "SELECT 1"},
    KnownWord{"truncate", StatementKind::kCommand, "TRUNCATE TABLE"},
    KnownWord{"vacuum", StatementKind::kCommand, "VACUUM"},
    KnownWord{"analyze", StatementKind::kCommand, "ANALYZE"},
    KnownWord{"lock", StatementKind::kCommand, "LOCK TABLE"},
    KnownWord{"unlisten", StatementKind::kCommand, "UNLISTEN"},
    KnownWord{"close", StatementKind::kCommand, "CLOSE CURSOR"},
};

Assignment assignment_of_set(std::string_view text) {
  Assignment assignment;
  if (!take_word(text, "session")) take_word(text, "local");
  if (take_word(text, "time")) {
    take_word(text, "zone");
    assignment.name = "timezone";
  } else {
    assignment.name = take_value(text).value_or("");
    if (!take_word(text, "to")) {
      skip_space(text);
      if (!text.empty() && text.front() == '=') text.remove_prefix(1);
    }
  }
  skip_space(text);
  const bool quoted = !text.empty() && text.front() == '\'';
  // An unquoted list ("SET datestyle TO iso, mdy") is one value.
  assignment.value = quoted ? take_value(text).value_or("") : std::string(trimmed(text));
  assignment.to_default = !quoted && equals(assignment.value, "default");
  return assignment;
}

}  // namespace

Statement classify(std::string_view text) {
  text = trimmed(text);
  if (text.empty()) return {StatementKind::kEmpty, "", text};
  const auto word = peek_word(text);
  for (const auto& known : kKnownWords) {
    if (equals(word, known.word)) return {known.kind, known.tag, text};
  }
  return {StatementKind::kUnknown, "", text};
}

std::string_view take_statement(std::string_view& sql) {
  char quote = 0;
  for (std::size_t i = 0; i < sql.size(); ++i) {
    const char c = sql[i];
    if (quote != 0) {
      if (c == quote) quote = 0;  // a doubled quote opens again at once
    } else if (c == '\'' || c == '"') {
      quote = c;
    } else if (c == ';') {
      const auto statement = sql.substr(0, i);
      sql.remove_prefix(i + 1);
      return statement;
    }
  }
  const auto statement = sql;
  sql = {};
  return statement;
}

std::vector<Assignment> assignments_of(const Statement& statement) {
  std::string_view text = statement.text;
  std::vector<Assignment> found;
  if (take_word(text, "set")) {
    found.push_back(assignment_of_set(text));
  } else if (take_word(text, "reset")) {
    found.push_back({take_value(text).value_or(""), "", true});
  } else {
    constexpr std::string_view kCall = "set_config(";
    for (auto at = text.find(kCall); at != std::string_view::npos; at = text.find(kCall)) {
      text.remove_prefix(at + kCall.size());
      auto name = take_value(text);
      skip_space(text);
      if (!name || text.empty() || text.front() != ',') continue;
      text.remove_prefix(1);
      if (auto value = take_value(text)) found.push_back({*name, *value, false});
    }
  }
  return found;
}

std::string deallocated_name(std::string_view text) {
  take_word(text, "deallocate");
  take_word(text, "prepare");
  std::string_view rest = trimmed(text);
  if (equals(rest, "all")) return "all";
  return take_value(rest).value_or("");
}

}  // namespace bezel::bench
