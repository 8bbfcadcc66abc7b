#include "admin/driver_statements.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "admin/commands.h"

namespace bezel::admin {

namespace {

struct Parameter {
  Column column;
  std::string_view value;
};

// The first six are PgBouncer's, with its values. The rest is what libpq (target_session_attrs), pgjdbc and pools ask.
constexpr std::array kParameters{
    Parameter{{"client_encoding"}, "UTF-8"},
    Parameter{{"default_transaction_isolation"}, "read committed"},
    Parameter{{"standard_conforming_strings"}, "on"},
    Parameter{{"datestyle"}, "ISO"},
    Parameter{{"timezone"}, "GMT"},
    Parameter{{"extra_float_digits"}, "2"},
    Parameter{{"application_name"}, ""},
    Parameter{{"default_transaction_read_only"}, "off"},
    Parameter{{"in_hot_standby"}, "off"},
    Parameter{{"integer_datetimes"}, "on"},
    Parameter{{"is_superuser"}, "on"},
    Parameter{{"server_encoding"}, "UTF8"},
    Parameter{{"server_version"}, kServerVersion},
    Parameter{{"transaction_isolation"}, "read committed"},
    Parameter{{"transaction_read_only"}, "off"},
};

// Again PgBouncer's six first.
constexpr std::array<std::string_view, 17> kIgnoredSettings{
    "client_encoding",
    "default_transaction_isolation",
    "standard_conforming_strings",
    "datestyle",
    "timezone",
    "extra_float_digits",
    "application_name",
    "bytea_output",
    "client_min_messages",
    "default_transaction_read_only",
    "idle_in_transaction_session_timeout",
    "intervalstyle",
    "jit",
    "lock_timeout",
    "search_path",
    "statement_timeout",
    "transaction_isolation",
};

/// A query with one fixed row, or none.
struct Query {
  std::string_view text;  ///< normalized
  std::array<Column, 2> columns;
  size_t column_count;
  void (*fill)(Call& call);
};

void fill_version(Call& call) {
  call.rows.text(fmt::format("Bezel {}", call.console.program().version()));
}
void fill_database(Call& call) {
  call.rows.text(kConsoleDatabases[0]);
}
void fill_no_schema(Call& call) {
  call.rows.null();
}
void fill_user(Call& call) {
  call.rows.text(call.user);
}
void fill_not_in_recovery(Call& call) {
  call.rows.boolean(false);
}

constexpr std::array kQueries{
    Query{"select 1", {{{"?column?", ColumnType::int4}}}, 1, [](Call& call) { call.rows.number(1); }},
    Query{"select version()", {{{"version"}}}, 1, fill_version},
    Query{"select pg_catalog.version()", {{{"version"}}}, 1, fill_version},
    Query{"select current_database()", {{{"current_database"}}}, 1, fill_database},
    Query{"select pg_catalog.current_database()", {{{"current_database"}}}, 1, fill_database},
    Query{"select current_schema()", {{{"current_schema"}}}, 1, fill_no_schema},
    Query{"select current_user", {{{"current_user"}}}, 1, fill_user},
    Query{"select session_user", {{{"session_user"}}}, 1, fill_user},
    Query{"select pg_is_in_recovery()", {{{"pg_is_in_recovery", ColumnType::boolean}}}, 1, fill_not_in_recovery},
    Query{"select pg_catalog.pg_is_in_recovery()",
          {{{"pg_is_in_recovery", ColumnType::boolean}}},
          1,
          fill_not_in_recovery},
    Query{"show transaction isolation level",
          {{{"transaction_isolation"}}},
          1,
          [](Call& call) { call.rows.text("read committed"); }},
    // postgres.js, at its first connection: the types that have an array type. The console has none of its own.
    Query{"select b.oid,b.typarray from pg_catalog.pg_type a left join pg_catalog.pg_type b on b.oid=a.typelem "
          "where a.typcategory='A' group by b.oid,b.typarray order by b.oid",
          {{{"oid", ColumnType::int8}, {"typarray", ColumnType::int8}}},
          2,
          [](Call&) {}},
};

void run_query(const CallPtr& call) {
  for (const Query& query : kQueries) {
    if (query.text != call->argument) continue;
    query.fill(*call);
    return call->finish(fmt::format("SELECT {}", call->rows.size()));
  }
}

void run_parameter(const CallPtr& call) {
  for (const Parameter& parameter : kParameters)
    if (parameter.column.name == call->argument) call->rows.text(parameter.value);
  call->finish("SHOW");
}

constexpr Command kShowParameter{
    .name = "parameter", .role = pool::ConsoleRole::stats, .argument = Argument::none, .run = run_parameter};

Request request_of(const Command& command, std::string argument = {}) {
  return Request{&command, std::move(argument), {}, command.columns};
}

bool starts_with_words(const std::vector<Token>& tokens, std::initializer_list<std::string_view> words) {
  if (tokens.size() < words.size()) return false;
  return std::equal(words.begin(), words.end(), tokens.begin(), [](std::string_view word, const Token& token) {
    return token.kind == Token::Kind::word && equal_ignoring_case(token.text, word);
  });
}

bool has_word(const std::vector<Token>& tokens, std::string_view word) {
  return std::any_of(tokens.begin(), tokens.end(), [&](const Token& token) {
    return token.kind == Token::Kind::word && equal_ignoring_case(token.text, word);
  });
}

std::optional<Request> find_transaction_statement(const std::vector<Token>& tokens) {
  if (has_word(tokens, "to") || has_word(tokens, "prepared")) return std::nullopt;  // savepoints, two-phase commit
  if (starts_with_words(tokens, {"begin"}) || starts_with_words(tokens, {"start", "transaction"}))
    return request_of(kBegin);
  if (starts_with_words(tokens, {"commit"}) || starts_with_words(tokens, {"end"})) return request_of(kCommit);
  if (starts_with_words(tokens, {"rollback"}) || starts_with_words(tokens, {"abort"})) return request_of(kRollback);
  return std::nullopt;
}

/// What pools send before a connection goes to its next user. Some send several statements at once; then the first one
/// tells.
std::optional<Request> find_reset_statement(const std::vector<Token>& tokens) {
  if (starts_with_words(tokens, {"discard", "all"})) return request_of(kDiscardAll);
  if (starts_with_words(tokens, {"deallocate", "all"})) return request_of(kDeallocateAll);
  if (starts_with_words(tokens, {"deallocate"}) && tokens.size() == 2 && tokens[1].is_name())
    return request_of(kDeallocate, tokens[1].text);
  if (starts_with_words(tokens, {"reset"}) && tokens.size() == 2) return request_of(kDriverReset);
  if (starts_with_words(tokens, {"close", "all"}) || starts_with_words(tokens, {"unlisten"}) ||
      starts_with_words(tokens, {"select", "pg_advisory_unlock_all"}))
    return request_of(kDriverReset);
  return std::nullopt;
}

/// The SETs that are not of the form SET name = value.
bool is_ignored_set(const std::vector<Token>& tokens) {
  return starts_with_words(tokens, {"set", "session", "characteristics"}) ||
         starts_with_words(tokens, {"set", "transaction"}) || starts_with_words(tokens, {"set", "time", "zone"}) ||
         starts_with_words(tokens, {"set", "names"});
}

}  // namespace

// Nothing can be undone here, so a transaction means nothing; but a driver that begins one wants to see it begin and
// end.
constexpr Command kBegin{.name = "begin",
                         .role = pool::ConsoleRole::stats,
                         .run = [](const CallPtr& call) { call->finish("BEGIN"); },
                         .effect = SessionEffect::begin_transaction};
constexpr Command kCommit{.name = "commit",
                          .role = pool::ConsoleRole::stats,
                          .run = [](const CallPtr& call) { call->finish("COMMIT"); },
                          .effect = SessionEffect::end_transaction};
constexpr Command kRollback{.name = "rollback",
                            .role = pool::ConsoleRole::stats,
                            .run = [](const CallPtr& call) { call->finish("ROLLBACK"); },
                            .effect = SessionEffect::end_transaction};
constexpr Command kDiscardAll{.name = "discard all",
                              .role = pool::ConsoleRole::stats,
                              .run = [](const CallPtr& call) { call->finish("DISCARD ALL"); },
                              .effect = SessionEffect::drop_statements};
constexpr Command kDeallocateAll{.name = "deallocate all",
                                 .role = pool::ConsoleRole::stats,
                                 .run = [](const CallPtr& call) { call->finish("DEALLOCATE ALL"); },
                                 .effect = SessionEffect::drop_statements};
constexpr Command kDeallocate{.name = "deallocate",
                              .role = pool::ConsoleRole::stats,
                              .run = [](const CallPtr& call) { call->finish("DEALLOCATE"); },
                              .effect = SessionEffect::drop_statement};
constexpr Command kDriverReset{
    .name = "reset", .role = pool::ConsoleRole::stats, .run = [](const CallPtr& call) { call->finish("RESET"); }};
constexpr Command kDriverQuery{.name = "query", .role = pool::ConsoleRole::stats, .run = run_query};
constexpr Command kSetIgnored{.name = "set", .role = pool::ConsoleRole::stats, .run = [](const CallPtr& call) {
                                call->notice("SET ignored");
                                call->finish("SET");
                              }};

std::optional<Request> find_driver_statement(const std::vector<Token>& tokens) {
  if (auto request = find_transaction_statement(tokens)) return request;
  if (auto request = find_reset_statement(tokens)) return request;
  if (is_ignored_set(tokens)) return request_of(kSetIgnored);
  const std::string text = normalized(tokens);
  for (const Query& query : kQueries) {
    if (query.text != text) continue;
    Request request = request_of(kDriverQuery, text);
    request.columns = std::span(query.columns).first(query.column_count);
    return request;
  }
  return std::nullopt;
}

std::optional<Request> find_parameter(std::string_view name) {
  for (const Parameter& parameter : kParameters) {
    if (!equal_ignoring_case(parameter.column.name, name)) continue;
    Request request = request_of(kShowParameter, std::string(parameter.column.name));
    request.columns = std::span(&parameter.column, 1);
    return request;
  }
  return std::nullopt;
}

bool is_ignored_setting(std::string_view name) {
  return std::any_of(kIgnoredSettings.begin(), kIgnoredSettings.end(),
                     [&](std::string_view ignored) { return equal_ignoring_case(ignored, name); });
}

std::vector<std::string_view> parameter_names() {
  std::vector<std::string_view> names;
  for (const Parameter& parameter : kParameters) names.push_back(parameter.column.name);
  return names;
}

std::span<const std::string_view> ignored_settings() {
  return kIgnoredSettings;
}

std::vector<std::string_view> driver_queries() {
  std::vector<std::string_view> texts;
  for (const Query& query : kQueries) texts.push_back(query.text);
  return texts;
}

}  // namespace bezel::admin
