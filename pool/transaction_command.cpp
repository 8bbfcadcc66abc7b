#include "pool/transaction_command.h"

#include <algorithm>
#include <array>

namespace bezel::pool {

namespace {

char upper(char c) {
  return c >= 'a' && c <= 'z' ? static_cast<char>(c - 'a' + 'A') : c;
}

bool is_letter(char c) {
  return (upper(c) >= 'A' && upper(c) <= 'Z') || c == '_' || static_cast<unsigned char>(c) >= 0x80;
}

bool is_word(char c) {
  return is_letter(c) || (c >= '0' && c <= '9') || c == '$';
}

/// `word` is in capitals.
bool same(std::string_view found, std::string_view word) {
  return found.size() == word.size() &&
         std::equal(found.begin(), found.end(), word.begin(), [](char a, char b) { return upper(a) == b; });
}

template <size_t Count>
bool one_of(std::string_view found, const std::array<std::string_view, Count>& words) {
  return std::any_of(words.begin(), words.end(), [&](std::string_view word) { return same(found, word); });
}

/// Reads words, with white space and comments between them, from the beginning of a text.
class Words {
 public:
  explicit Words(std::string_view text) : text_(text) {}

  /// Passes white space and comments.
  void skip_space() {
    while (at_ < text_.size()) {
      if (std::string_view(" \t\n\r\f\v").find(text_[at_]) != std::string_view::npos) {
        at_++;
      } else if (text_.substr(at_, 2) == "--") {
        at_ = std::min(text_.find_first_of("\r\n", at_), text_.size());
      } else if (text_.substr(at_, 2) == "/*") {
        skip_comment();
      } else {
        return;
      }
    }
  }
  /// The next word; empty if something else comes next.
  std::string_view word() {
    skip_space();
    const size_t start = at_;
    if (at_ < text_.size() && is_letter(text_[at_])) {
      while (at_ < text_.size() && is_word(text_[at_])) at_++;
    }
    return text_.substr(start, at_ - start);
  }
  bool take(std::string_view wanted) {
    const size_t before = at_;
    if (same(word(), wanted)) return true;
    at_ = before;
    return false;
  }
  bool take_semicolon() {
    skip_space();
    if (at_ == text_.size() || text_[at_] != ';') return false;
    at_++;
    return true;
  }
  bool at_end() {
    skip_space();
    return at_ == text_.size();
  }
  /// Whether the statement ends here.
  bool at_end_of_statement() { return at_end() || text_[at_] == ';'; }
  size_t position() const { return at_; }
  std::string_view rest() const { return text_.substr(at_); }

 private:
  /// PostgreSQL's comments nest. One without an end takes the rest.
  void skip_comment() {
    int depth = 0;
    while (at_ < text_.size()) {
      const std::string_view two = text_.substr(at_, 2);
      if (two != "/*" && two != "*/") {
        at_++;
        continue;
      }
      at_ += 2;
      depth += two == "/*" ? 1 : -1;
      if (depth == 0) return;
    }
  }

  std::string_view text_;
  size_t at_ = 0;
};

/// What follows COMMIT or ROLLBACK: whether it is one that ends the transaction and no more.
bool is_plain_end(Words& words) {
  if (!words.take("WORK")) words.take("TRANSACTION");
  if (words.take("AND") && !(words.take("NO") && words.take("CHAIN"))) return false;
  return words.at_end_of_statement();
}

TransactionCommand command_of(std::string_view first, Words& words) {
  if (same(first, "BEGIN")) return TransactionCommand::begin;
  if (same(first, "START")) return words.take("TRANSACTION") ? TransactionCommand::begin : TransactionCommand::none;
  if (same(first, "PREPARE")) {
    return words.take("TRANSACTION") ? TransactionCommand::other_end : TransactionCommand::none;
  }
  if (same(first, "COMMIT") || same(first, "END")) {
    return is_plain_end(words) ? TransactionCommand::commit : TransactionCommand::other_end;
  }
  if (same(first, "ROLLBACK") || same(first, "ABORT")) {
    if (is_plain_end(words)) return TransactionCommand::rollback;
    return words.take("TO") ? TransactionCommand::none : TransactionCommand::other_end;
  }
  return TransactionCommand::none;
}

bool holds_word(std::string_view text, const auto& wanted) {
  for (size_t at = 0; at < text.size();) {
    if (!is_word(text[at])) {
      at++;
      continue;
    }
    const size_t start = at;
    while (at < text.size() && is_word(text[at])) at++;
    if (one_of(text.substr(start, at - start), wanted)) return true;
  }
  return false;
}

bool may_commit_midway(std::string_view first, std::string_view rest) {
  static constexpr std::array<std::string_view, 5> kAlways = {"CALL", "DO", "VACUUM", "CLUSTER", "REINDEX"};
  static constexpr std::array<std::string_view, 4> kMaybe = {"CREATE", "DROP", "ALTER", "REFRESH"};
  static constexpr std::array<std::string_view, 5> kThen = {"CONCURRENTLY", "DATABASE", "TABLESPACE", "SUBSCRIPTION",
                                                            "SYSTEM"};
  return one_of(first, kAlways) || (one_of(first, kMaybe) && holds_word(rest, kThen));
}

}  // namespace

FirstStatement first_statement(std::string_view text) {
  Words words(text);
  while (words.take_semicolon()) {
  }
  if (words.at_end()) return {TransactionCommand::empty, true, false, text.size()};
  FirstStatement first;
  const std::string_view keyword = words.word();
  first.commits_midway = may_commit_midway(keyword, words.rest());
  first.command = command_of(keyword, words);
  if (first.command == TransactionCommand::commit || first.command == TransactionCommand::rollback) {
    words.take_semicolon();
    first.bytes = words.position();
    while (words.take_semicolon()) {
    }
    first.alone = words.at_end();
    return first;
  }
  // The next semicolon may stand in a literal or a comment, and then what follows cannot be read. But if there is
  // nothing to read, there is no other statement in any case.
  const std::string_view rest = words.rest();
  const size_t semicolon = rest.find(';');
  first.alone = semicolon == std::string_view::npos ||
                rest.find_first_not_of(" \t\n\r\f\v;", semicolon) == std::string_view::npos;
  return first;
}

bool may_hold_end_of_transaction(std::string_view text) {
  static constexpr std::array<std::string_view, 7> kWords = {"COMMIT",  "END",  "ROLLBACK", "ABORT",
                                                             "PREPARE", "CALL", "DO"};
  return holds_word(text, kWords);
}

bool may_hold_begin_of_transaction(std::string_view text) {
  static constexpr std::array<std::string_view, 2> kWords = {"BEGIN", "START"};
  return holds_word(text, kWords);
}

}  // namespace bezel::pool
