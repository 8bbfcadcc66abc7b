#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace bezel::admin {

/// A piece of a statement's text.
struct Token {
  enum class Kind : uint8_t { word, quoted_name, string, symbol };
  Kind kind;
  std::string text;           ///< without quotes; a symbol is one byte
  size_t begin = 0, end = 0;  ///< where it stands in the source, quotes included

  /// A word or a quoted name: what can be the name of something.
  bool is_name() const { return kind == Kind::word || kind == Kind::quoted_name; }
  bool is_symbol(char symbol) const { return kind == Kind::symbol && text[0] == symbol; }
};

struct Tokens {
  std::vector<Token> tokens;
  bool well_formed = true;  ///< false: a quote or a comment is not closed
};

/// How many pieces are looked at; a statement with more is none that the console knows.
inline constexpr size_t kTokensMax = 64;

/// Splits a statement into its pieces. Comments and white space separate pieces and are left out, and so are semicolons
/// at the end. Stops after kTokensMax pieces, `well_formed` is false then.
Tokens tokenize(std::string_view source);

/// The pieces in lower case, with a space only between two that would run together otherwise: two texts that mean the
/// same look the same.
std::string normalized(const std::vector<Token>& tokens);

/// ASCII only: what keywords and settings are made of.
std::string lower_case(std::string_view text);
bool equal_ignoring_case(std::string_view left, std::string_view right);

}  // namespace bezel::admin
