// Statements of the console.

#include <fmt/format.h>

#include <string>

#include "admin/request.h"
#include "admin/statement.h"
#include "tests/fuzz/target.h"

namespace {

using namespace bezel::admin;
using bezel::fuzz::must;

void check_tokens(std::string_view text) {
  const Tokens scanned = tokenize(text);
  must(scanned.tokens.size() <= kTokensMax, "a bounded number of pieces");
  size_t end = 0;
  for (const Token& token : scanned.tokens) {
    must(token.begin >= end && token.end > token.begin && token.end <= text.size(), "pieces in their order");
    must(token.kind != Token::Kind::symbol || token.text.size() == 1, "a symbol is one byte");
    end = token.end;
  }
}

/// Whether what stands in quotes has quotes in it: normalized() is made to be compared, not to be read again.
bool has_inner_quotes(const Tokens& scanned) {
  for (const Token& token : scanned.tokens) {
    const bool is_quoted = token.kind == Token::Kind::string || token.kind == Token::Kind::quoted_name;
    if (is_quoted && token.text.find_first_of("'\"") != std::string::npos) return true;
  }
  return false;
}

void check_normalized(std::string_view text) {
  const Tokens scanned = tokenize(text);
  if (!scanned.well_formed || has_inner_quotes(scanned)) return;
  const std::string once = normalized(scanned.tokens);
  // Two symbols side by side may begin a comment where there was none.
  if (once.find("--") != std::string::npos || once.find("/*") != std::string::npos) return;
  must(normalized(tokenize(once).tokens) == once, "what is normal stays so");
}

void check_meaning(std::string_view text) {
  const Interpretation meaning = interpret(text);
  must(!(meaning.request && meaning.failure), "a request or a failure");
  if (meaning.failure) must(meaning.failure->message.size() < 2000, "an error repeats no more than a part");
  if (meaning.request) {
    must(meaning.request->command != nullptr && meaning.request->command->run != nullptr, "a command that can be run");
  }
  // Semicolons are pieces too, until they are left out at the end.
  constexpr std::string_view kSemicolons = ";;";
  const Tokens scanned = tokenize(fmt::format("{}\n{}", text, kSemicolons));
  if (!scanned.well_formed || scanned.tokens.size() + kSemicolons.size() > kTokensMax) return;
  const Interpretation again = interpret(fmt::format("/* */ {}\n{}", text, kSemicolons));
  must(again.request.has_value() == meaning.request.has_value(), "comments and semicolons mean nothing");
  if (again.request && meaning.request) {
    must(again.request->command == meaning.request->command && again.request->argument == meaning.request->argument,
         "comments and semicolons mean nothing to a request");
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view text = bezel::fuzz::as_text(data, size);
  check_tokens(text);
  check_normalized(text);
  check_meaning(text);
  return 0;
}
