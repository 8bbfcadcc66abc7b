#include "admin/statement.h"

#include <algorithm>

namespace bezel::admin {

namespace {

bool is_space(char c) {
  return c == ' ' || (c >= '\t' && c <= '\r');
}

bool is_word_byte(char c) {
  // Bytes above ASCII too: PostgreSQL takes them in names.
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' ||
         static_cast<unsigned char>(c) >= 0x80;
}

char lower(char c) {
  return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
}

/// Reads one source text from front to end.
class Scanner {
 public:
  explicit Scanner(std::string_view source) : source_(source) {}

  Tokens scan() {
    while (result_.well_formed) {
      skip_blanks();
      if (!result_.well_formed || at_ >= source_.size()) break;
      if (result_.tokens.size() >= kTokensMax) {
        result_.well_formed = false;
        break;
      }
      take_token();
    }
    while (!result_.tokens.empty() && result_.tokens.back().is_symbol(';')) result_.tokens.pop_back();
    return std::move(result_);
  }

 private:
  char peek(size_t ahead) const { return at_ + ahead < source_.size() ? source_[at_ + ahead] : '\0'; }

  void skip_blanks() {
    while (at_ < source_.size()) {
      if (is_space(peek(0))) {
        at_++;
      } else if (peek(0) == '-' && peek(1) == '-') {
        while (at_ < source_.size() && peek(0) != '\n') at_++;
      } else if (peek(0) == '/' && peek(1) == '*') {
        skip_block_comment();
      } else {
        return;
      }
    }
  }

  /// Block comments nest, as in PostgreSQL.
  void skip_block_comment() {
    size_t depth = 0;
    do {
      if (at_ >= source_.size()) {
        result_.well_formed = false;
        return;
      }
      if (peek(0) == '/' && peek(1) == '*') {
        depth++;
        at_ += 2;
      } else if (peek(0) == '*' && peek(1) == '/') {
        depth--;
        at_ += 2;
      } else {
        at_++;
      }
    } while (depth > 0);
  }

  void take_token() {
    const size_t begin = at_;
    if (peek(0) == '"') {
      take_quoted('"', Token::Kind::quoted_name);
    } else if (peek(0) == '\'') {
      take_quoted('\'', Token::Kind::string);
    } else if (is_word_byte(peek(0))) {
      while (at_ < source_.size() && is_word_byte(peek(0))) at_++;
      add(Token::Kind::word, std::string(source_.substr(begin, at_ - begin)), begin);
    } else {
      at_++;
      add(Token::Kind::symbol, std::string(1, source_[begin]), begin);
    }
  }

  /// A doubled quote stands for itself.
  void take_quoted(char quote, Token::Kind kind) {
    const size_t begin = at_++;
    std::string text;
    while (at_ < source_.size()) {
      if (peek(0) == quote && peek(1) != quote) {
        at_++;
        add(kind, std::move(text), begin);
        return;
      }
      at_ += peek(0) == quote ? 2 : 1;
      text.push_back(source_[at_ - 1]);
    }
    result_.well_formed = false;
  }

  void add(Token::Kind kind, std::string text, size_t begin) {
    result_.tokens.push_back({kind, std::move(text), begin, at_});
  }

  std::string_view source_;
  size_t at_ = 0;
  Tokens result_;
};

}  // namespace

Tokens tokenize(std::string_view source) {
  return Scanner(source).scan();
}

std::string normalized(const std::vector<Token>& tokens) {
  std::string text;
  const Token* previous = nullptr;
  for (const Token& token : tokens) {
    const bool apart =
        previous != nullptr && previous->kind != Token::Kind::symbol && token.kind != Token::Kind::symbol;
    if (apart) text.push_back(' ');
    switch (token.kind) {
      case Token::Kind::word:
        text += lower_case(token.text);
        break;
      case Token::Kind::quoted_name:
        text += '"' + token.text + '"';
        break;
      case Token::Kind::string:
        text += '\'' + token.text + '\'';
        break;
      case Token::Kind::symbol:
        text += token.text;
        break;
    }
    previous = &token;
  }
  return text;
}

std::string lower_case(std::string_view text) {
  std::string result(text);
  std::transform(result.begin(), result.end(), result.begin(), lower);
  return result;
}

bool equal_ignoring_case(std::string_view left, std::string_view right) {
  return std::equal(left.begin(), left.end(), right.begin(), right.end(),
                    [](char a, char b) { return lower(a) == lower(b); });
}

}  // namespace bezel::admin
