#include "admin/request.h"

#include <fmt/format.h>

#include <utility>

#include "admin/commands.h"
#include "admin/driver_statements.h"
#include "admin/statement.h"

namespace bezel::admin {

namespace {

// PgBouncer's bounds, but for the value, where it is narrower.
constexpr size_t kCommandBytesMax = 15;
constexpr size_t kNameBytesMax = 63;
constexpr size_t kValueBytesMax = 1023;
/// How much of a statement an error repeats.
constexpr size_t kQuotedBytesMax = 960;

using TokenList = std::vector<Token>;

bool is_continuation_byte(char c) {
  return (static_cast<unsigned char>(c) & 0xc0) == 0x80;
}

Interpretation failed(Failure failure) {
  return {std::nullopt, std::move(failure)};
}
Interpretation bad_arguments() {
  return failed({"bad arguments"});
}

Interpretation not_understood(std::string_view text) {
  size_t bytes = std::min(text.size(), kQuotedBytesMax);
  while (bytes < text.size() && bytes > 0 && is_continuation_byte(text[bytes])) bytes--;
  return failed({fmt::format("invalid command '{}', use SHOW HELP;", text.substr(0, bytes))});
}

Interpretation requested(const Command& command, std::string argument = {}) {
  return {Request{&command, std::move(argument), {}, command.columns}, std::nullopt};
}

bool is_word(const Token& token, std::string_view word) {
  return token.kind == Token::Kind::word && equal_ignoring_case(token.text, word);
}

bool is_assignment(const Token& token) {
  return token.is_symbol('=') || is_word(token, "to");
}

bool is_shutdown_mode(std::string_view text) {
  return text.empty() || equal_ignoring_case(text, "wait_for_servers") || equal_ignoring_case(text, "wait_for_clients");
}

bool takes(Argument argument, const std::string& given) {
  switch (argument) {
    case Argument::none:
      return given.empty();
    case Argument::shutdown_mode:
      return is_shutdown_mode(given);
    default:
      return true;
  }
}

Interpretation interpret_show(std::string_view text, const TokenList& tokens) {
  const std::string& name = tokens[1].text;
  if (name.size() > kNameBytesMax) return bad_arguments();
  if (auto parameter = find_parameter(name)) return {std::move(parameter), std::nullopt};
  const Command* command = find_command(show_commands(), name);
  return command != nullptr ? requested(*command) : not_understood(text);
}

/// COMMAND or COMMAND argument.
Interpretation interpret_command(std::string_view text, const TokenList& tokens) {
  const std::string& name = tokens[0].text;
  const std::string argument = tokens.size() > 1 ? tokens[1].text : std::string();
  if (name.size() > kCommandBytesMax || argument.size() > kNameBytesMax) return bad_arguments();
  // PgBouncer takes SELECT for SHOW; so SELECT version works there.
  const bool show = equal_ignoring_case(name, "show") || equal_ignoring_case(name, "select");
  if (show && tokens.size() > 1) return interpret_show(text, tokens);
  if (equal_ignoring_case(name, "help") && tokens.size() == 1) return requested(kShowHelp);
  const Command* command = find_command(action_commands(), name);
  if (command == nullptr || !takes(command->argument, argument)) return not_understood(text);
  return requested(*command, argument);
}

/// SET [SESSION | LOCAL] name = value, or TO instead of the sign. A value of several pieces is taken as it is written.
Interpretation interpret_set(std::string_view text, const TokenList& tokens) {
  const auto assigns_at = [&](size_t at) {
    return tokens.size() > at + 1 && tokens[at - 1].is_name() && is_assignment(tokens[at]);
  };
  const bool scoped = is_word(tokens[1], "session") || is_word(tokens[1], "local");
  const size_t at = scoped && assigns_at(3) ? 3 : 2;
  if (!assigns_at(at)) return not_understood(text);
  const Token& first = tokens[at + 1];
  const bool single = tokens.size() == at + 2;
  Request request{&kSet,
                  single ? first.text : std::string(text.substr(first.begin, tokens.back().end - first.begin)),
                  tokens[at - 1].text,
                  {}};
  if (request.key.size() > kNameBytesMax || request.argument.size() > kValueBytesMax) return bad_arguments();
  if (is_ignored_setting(request.key)) request.command = &kSetIgnored;
  return {std::move(request), std::nullopt};
}

/// SWITCHOVER [member]. Names of members have dashes and dots in them: quotes are not needed.
Interpretation interpret_switchover(std::string_view text, const TokenList& tokens) {
  if (tokens.size() == 1) return requested(kSwitchover);
  if (tokens.size() == 2) return requested(kSwitchover, tokens[1].text);
  for (size_t i = 1; i < tokens.size(); i++) {
    const bool apart = i > 1 && tokens[i].begin != tokens[i - 1].end;
    const bool plain = tokens[i].kind == Token::Kind::word || tokens[i].is_symbol('-') || tokens[i].is_symbol('.');
    if (apart || !plain) return not_understood(text);
  }
  return requested(kSwitchover, std::string(text.substr(tokens[1].begin, tokens.back().end - tokens[1].begin)));
}

bool has_parameter(const TokenList& tokens) {
  for (size_t i = 0; i + 1 < tokens.size(); i++) {
    const Token& next = tokens[i + 1];
    const bool digits =
        next.kind == Token::Kind::word && next.text.find_first_not_of("0123456789") == std::string::npos;
    if (tokens[i].is_symbol('$') && digits && next.begin == tokens[i].end) return true;
  }
  return false;
}

}  // namespace

Interpretation interpret(std::string_view text) {
  const Tokens scanned = tokenize(text);
  if (!scanned.well_formed) return not_understood(text);
  const TokenList& tokens = scanned.tokens;
  if (tokens.empty()) return {};
  if (auto driver_statement = find_driver_statement(tokens)) return {std::move(driver_statement), std::nullopt};
  if (has_parameter(tokens))
    return failed({"statements of the console take no parameters", protocol::sqlstate::kFeatureNotSupported, {}});
  if (tokens.size() >= 3 && is_word(tokens[0], "set")) return interpret_set(text, tokens);
  if (is_word(tokens[0], kSwitchover.name)) return interpret_switchover(text, tokens);
  const bool command = tokens[0].is_name() && (tokens.size() == 1 || (tokens.size() == 2 && tokens[1].is_name()));
  return command ? interpret_command(text, tokens) : not_understood(text);
}

}  // namespace bezel::admin
