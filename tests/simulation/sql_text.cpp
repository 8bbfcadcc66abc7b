#include "tests/simulation/sql_text.h"

#include <algorithm>
#include <cstdlib>

namespace bezel::simulation {

std::string lower(std::string_view name) {
  std::string key(name);
  std::transform(key.begin(), key.end(), key.begin(),
                 [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; });
  return key;
}

std::vector<std::string> split_statements(std::string_view text) {
  std::vector<std::string> statements;
  std::string one;
  bool quoted = false;
  const auto end = [&] {
    if (one.find_first_not_of(' ') != std::string::npos) statements.push_back(one);
    one.clear();
  };
  for (size_t i = 0; i < text.size(); i++) {
    const char c = text[i];
    if (quoted && c == '\\' && i + 1 < text.size()) {
      one += c;
      one += text[++i];
      continue;
    }
    if (c == '\'') quoted = !quoted;
    if (c == ';' && !quoted) {
      end();
    } else {
      one += c;
    }
  }
  end();
  return statements;
}

std::string unquoted_name(std::string_view name) {
  std::string key(name);
  std::erase(key, '"');
  return key;
}

/// Reads E'...' at `at` and moves behind it.
std::string quoted_literal(std::string_view text, size_t& at) {
  std::string value;
  for (at += 2; at < text.size(); at++) {
    if (text[at] == '\\') {
      value += text[++at];
    } else if (text[at] == '\'') {
      if (at + 1 >= text.size() || text[at + 1] != '\'') break;
      value += text[++at];
    } else {
      value += text[at];
    }
  }
  at++;
  return value;
}

bool begins_with(std::string_view text, std::string_view start) {
  return text.substr(0, start.size()) == start;
}

int number(const std::vector<std::string>& words, size_t index) {
  return index < words.size() ? std::atoi(words[index].c_str()) : 0;
}

bool is_exit(std::string_view text) {
  return begins_with(text, "commit") || begins_with(text, "rollback") || begins_with(text, "ROLLBACK");
}

bool returns_rows(std::string_view text) {
  return begins_with(text, "select");
}

std::vector<std::string> words_of(std::string_view text) {
  std::vector<std::string> words;
  for (size_t at = 0; at < text.size();) {
    const size_t start = text.find_first_not_of(' ', at);
    if (start == std::string_view::npos) break;
    at = std::min(text.find(' ', start), text.size());
    words.emplace_back(text.substr(start, at - start));
  }
  return words;
}

}  // namespace bezel::simulation
