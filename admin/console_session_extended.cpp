#include <fmt/format.h>

#include <limits>

#include "admin/console_session.h"
#include "protocol/messages.h"
#include "protocol/reader.h"

// The extended query protocol of a console session. Statements have no parameters; so a Bind chooses formats only.

namespace bezel::admin {

namespace {

namespace sqlstate = protocol::sqlstate;

constexpr std::string_view kDuplicateCursor = "42P03";

Failure malformed() {
  return {"invalid message format", sqlstate::kProtocolViolation, {}};
}

Failure no_statement(std::string_view name) {
  return {name.empty() ? "unnamed prepared statement does not exist"
                       : fmt::format("prepared statement \"{}\" does not exist", name),
          sqlstate::kInvalidSqlStatementName,
          {}};
}

Failure no_portal(std::string_view name) {
  return {fmt::format("portal \"{}\" does not exist", name), sqlstate::kInvalidCursorName, {}};
}

Failure too_many(std::string_view what) {
  return {fmt::format("too many {} in one session", what), sqlstate::kProgramLimitExceeded, {}};
}

/// A Bind, as far as the console has use for it.
struct BindMessage {
  std::string_view portal, statement;
  size_t parameter_count = 0;
  std::vector<int16_t> result_formats;
};

/// Format codes of parameters, or of results: a count and as many Int16.
bool read_formats(protocol::Reader& reader, std::vector<int16_t>* formats) {
  const auto count = reader.u16();
  if (!count || reader.remaining() < size_t{2} * *count) return false;
  for (size_t i = 0; i < *count; i++) {
    const auto code = reader.i16();
    if (formats != nullptr) formats->push_back(*code);
  }
  return true;
}

bool skip_values(protocol::Reader& reader, size_t count) {
  for (size_t i = 0; i < count; i++) {
    const auto size = reader.i32();
    if (!size || *size < -1) return false;
    if (*size > 0 && !reader.bytes(static_cast<size_t>(*size))) return false;
  }
  return true;
}

std::optional<BindMessage> decode_bind(std::string_view body) {
  protocol::Reader reader(body);
  BindMessage message;
  const auto portal = reader.cstring();
  const auto statement = reader.cstring();
  if (!portal || !statement || !read_formats(reader, nullptr)) return std::nullopt;
  const auto parameter_count = reader.u16();
  if (!parameter_count || !skip_values(reader, *parameter_count)) return std::nullopt;
  if (!read_formats(reader, &message.result_formats) || !reader.at_end()) return std::nullopt;
  message.portal = *portal;
  message.statement = *statement;
  message.parameter_count = *parameter_count;
  return message;
}

/// One format a column: none given means text, a single one holds for all.
std::optional<Failure> spread_formats(const std::vector<int16_t>& codes, size_t columns, std::vector<Format>& formats) {
  if (codes.size() > 1 && codes.size() != columns)
    return Failure{fmt::format("bind message has {} result formats but query has {} columns", codes.size(), columns),
                   sqlstate::kProtocolViolation,
                   {}};
  for (const int16_t code : codes)
    if (code != 0 && code != 1)
      return Failure{fmt::format("unsupported format code: {}", code), sqlstate::kInvalidParameterValue, {}};
  for (size_t i = 0; i < columns; i++)
    formats.push_back(codes.empty() ? Format::text : static_cast<Format>(codes.size() == 1 ? codes[0] : codes[i]));
  return std::nullopt;
}

}  // namespace

void ConsoleSession::fail_extended(const Failure& failure, std::string answer) {
  if (transaction_status_ == 'T') transaction_status_ = 'E';
  skip_until_sync_ = true;
  append_error(answer, failure);
  client_.send(answer);
  done();
}

void ConsoleSession::on_parse(std::string_view body) {
  if (const auto failure = add_statement(body)) return fail_extended(*failure);
  std::string answer;
  protocol::append_parse_complete(answer);
  client_.send(answer);
  done();
}

std::optional<Failure> ConsoleSession::add_statement(std::string_view body) {
  const auto message = protocol::decode_parse(body);
  if (!message) return malformed();
  const std::string name(message->name);
  statements_.erase(std::string());  // a Parse always ends the unnamed one's life
  if (statements_.count(name) != 0)
    return Failure{
        fmt::format("prepared statement \"{}\" already exists", name), sqlstate::kDuplicatePreparedStatement, {}};
  if (statements_.size() >= kStatementsMax) return too_many("prepared statements");
  Interpretation meaning = interpret(message->text);
  if (meaning.failure) return std::move(meaning.failure);
  statements_[name] = Prepared{std::move(meaning.request)};
  return std::nullopt;
}

void ConsoleSession::on_bind(std::string_view body) {
  if (const auto failure = bind(body)) return fail_extended(*failure);
  std::string answer;
  protocol::append_bind_complete(answer);
  client_.send(answer);
  done();
}

std::optional<Failure> ConsoleSession::bind(std::string_view body) {
  const auto message = decode_bind(body);
  if (!message) return malformed();
  const auto statement = statements_.find(message->statement);
  if (statement == statements_.end()) return no_statement(message->statement);
  if (message->parameter_count != 0)
    return Failure{fmt::format("bind message supplies {} parameters, but prepared statement \"{}\" requires 0",
                               message->parameter_count, message->statement),
                   sqlstate::kProtocolViolation,
                   {}};
  Portal portal;
  portal.prepared = statement->second;
  const size_t columns = portal.prepared.columns().size();
  if (auto failure = spread_formats(message->result_formats, columns, portal.formats)) return failure;
  const std::string name(message->portal);
  if (!name.empty() && portals_.count(name) != 0)
    return Failure{fmt::format("cursor \"{}\" already exists", name), kDuplicateCursor, {}};
  if (portals_.size() >= kStatementsMax) return too_many("portals");
  portals_[name] = std::move(portal);
  return std::nullopt;
}

void ConsoleSession::on_describe(std::string_view body) {
  const auto message = protocol::decode_describe(body);
  if (!message) return fail_extended(malformed());
  std::string answer;
  std::span<const Column> columns;
  std::vector<Format> formats;
  if (message->kind == 'S') {
    const auto statement = statements_.find(message->name);
    if (statement == statements_.end()) return fail_extended(no_statement(message->name));
    protocol::append_parameter_description(answer, {});
    columns = statement->second.columns();
  } else {
    const auto portal = portals_.find(message->name);
    if (portal == portals_.end()) return fail_extended(no_portal(message->name));
    columns = portal->second.prepared.columns();
    formats = portal->second.formats;
  }
  if (columns.empty()) {
    protocol::append_no_data(answer);
  } else {
    append_columns(answer, columns, formats);
  }
  client_.send(answer);
  done();
}

void ConsoleSession::on_execute(std::string_view body) {
  const auto message = protocol::decode_execute(body);
  if (!message) return fail_extended(malformed());
  const auto found = portals_.find(message->portal);
  if (found == portals_.end()) return fail_extended(no_portal(message->portal));
  Portal& portal = found->second;
  const uint32_t rows_max = message->rows_max > 0 ? static_cast<uint32_t>(message->rows_max) : 0;
  if (!portal.prepared.request) {
    std::string answer;
    protocol::append_empty_query_response(answer);
    client_.send(answer);
    return done();
  }
  if (portal.executed) return send_portal_rows(portal, rows_max);
  run(*portal.prepared.request, portal.formats,
      [this, name = found->first, rows_max](Outcome outcome) { end_portal_run(name, rows_max, std::move(outcome)); });
}

void ConsoleSession::end_portal_run(const std::string& name, uint32_t rows_max, Outcome outcome) {
  if (outcome.unanswered) return done();
  if (outcome.failure) return fail_extended(*outcome.failure, std::move(outcome.notices));
  const auto found = portals_.find(name);
  if (found == portals_.end()) return fail_extended(no_portal(name));
  Portal& portal = found->second;
  portal.executed = true;
  portal.rows = std::move(outcome.rows);
  portal.tag = std::move(outcome.tag);
  send_portal_rows(portal, rows_max, std::move(outcome.notices));
}

/// `rows_max` 0: all that are left. A portal that is at its end answers with no rows once more, as PostgreSQL's does.
void ConsoleSession::send_portal_rows(Portal& portal, uint32_t rows_max, std::string answer) {
  const size_t count = rows_max == 0 ? std::numeric_limits<size_t>::max() : rows_max;
  portal.rows_sent += portal.rows.append_to(answer, portal.rows_sent, count);
  if (portal.rows_sent < portal.rows.size()) {
    protocol::append_portal_suspended(answer);
  } else {
    protocol::append_command_complete(answer, portal.tag);
  }
  client_.send(answer);
  done();
}

void ConsoleSession::on_close(std::string_view body) {
  const auto message = protocol::decode_close(body);
  if (!message) return fail_extended(malformed());
  const std::string name(message->name);
  if (message->kind == 'S') {
    statements_.erase(name);
  } else {
    portals_.erase(name);
  }
  std::string answer;
  protocol::append_close_complete(answer);
  client_.send(answer);
  done();
}

void ConsoleSession::on_sync() {
  skip_until_sync_ = false;
  if (transaction_status_ == 'I') portals_.clear();
  std::string answer;
  protocol::append_ready_for_query(answer, transaction_status_);
  client_.send(answer);
  done();
}

}  // namespace bezel::admin
