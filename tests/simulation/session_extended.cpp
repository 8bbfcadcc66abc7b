// The extended protocol.

#include <fmt/format.h>

#include "protocol/messages.h"
#include "protocol/reader.h"
#include "protocol/sqlstate.h"
#include "tests/simulation/session.h"
#include "tests/simulation/sql_text.h"

namespace bezel::simulation {

namespace sqlstate = protocol::sqlstate;

void Session::parse(const Frame& frame, std::string& out) {
  const auto message = protocol::decode_parse(frame.body);
  if (!message) {
    fail(out, sqlstate::kProtocolViolation, "invalid message format");
    return;
  }
  const std::string name(message->name), text(message->text);
  if (begins_with(text, "syntax")) {
    fail(out, sqlstate::kSyntaxError, "syntax error at or near \"syntax\"");
    return;
  }
  if (refused_in_aborted(text, out)) return;
  if (!name.empty() && prepared_.contains(name)) {
    fail(out, sqlstate::kDuplicatePreparedStatement, fmt::format("prepared statement \"{}\" already exists", name));
    return;
  }
  prepared_[name] = text;
  protocol::append_parse_complete(out);
}

void Session::bind(const Frame& frame, std::string& out) {
  bound_in_batch_ = true;
  protocol::Reader reader(frame.body);
  const auto portal = reader.cstring(), name = reader.cstring();
  const auto statement = prepared_.find(std::string(name.value_or("")));
  if (statement == prepared_.end()) {
    fail(out, sqlstate::kInvalidSqlStatementName,
         name->empty() ? "unnamed prepared statement does not exist"
                       : fmt::format("prepared statement \"{}\" does not exist", *name));
    return;
  }
  if (refused_in_aborted(statement->second, out)) return;
  const size_t formats = reader.u16().value_or(0);
  for (size_t i = 0; i < formats; i++) reader.u16();
  std::string parameter;
  if (reader.u16().value_or(0) > 0) {
    const int32_t size = reader.i32().value_or(0);
    if (size > 0) parameter = reader.bytes(static_cast<size_t>(size)).value_or("");
  }
  if (!portal->empty() && portals_.contains(std::string(*portal))) {
    fail(out, "42P03", fmt::format("cursor \"{}\" already exists", *portal));
    return;
  }
  if (!before_ && status_ == 'I') before_ = values_;
  portals_[std::string(*portal)] = {statement->second, parameter, 0, false};
  protocol::append_bind_complete(out);
}

void Session::describe(const Frame& frame, std::string& out) {
  const auto target = protocol::decode_describe(frame.body);
  const std::string name(target->name);
  std::string text;
  if (target->kind == 'S') {
    const auto statement = prepared_.find(name);
    if (statement == prepared_.end()) {
      fail(out, sqlstate::kInvalidSqlStatementName, fmt::format("prepared statement \"{}\" does not exist", name));
      return;
    }
    text = statement->second;
    if (refused_in_aborted(text, out)) return;
    const uint32_t text_type = protocol::type_oid::kText;
    protocol::append_parameter_description(out, {&text_type, 1});
  } else {
    const auto portal = portals_.find(name);
    if (portal == portals_.end()) {
      fail(out, sqlstate::kInvalidCursorName, fmt::format("portal \"{}\" does not exist", name));
      return;
    }
    text = portal->second.text;
    if (refused_in_aborted(text, out)) return;
  }
  if (returns_rows(text)) {
    append_answer_description(out);
  } else {
    protocol::append_no_data(out);
  }
}

void Session::close(const Frame& frame, std::string& out) {
  const auto target = protocol::decode_close(frame.body);
  if (target->kind == 'S') {
    prepared_.erase(std::string(target->name));
  } else {
    portals_.erase(std::string(target->name));
  }
  protocol::append_close_complete(out);
}

void Session::execute(const Frame& frame, std::string& out) {
  const auto message = protocol::decode_execute(frame.body);
  const std::string name(message->portal);
  if (is_of_earlier_batch(name, bound_in_batch_)) ran_portal_of_earlier_batch_ = true;
  const auto at = portals_.find(name);
  if (at == portals_.end()) {
    fail(out, sqlstate::kInvalidCursorName, fmt::format("portal \"{}\" does not exist", name));
    return;
  }
  if (refused_in_aborted(at->second.text, out)) return;
  if (returns_rows(at->second.text)) {
    run_select(at->second.text, at->second, message->rows_max, out);
    return;
  }
  if (std::exchange(at->second.done, true)) {
    fail(out, sqlstate::kObjectNotInPrerequisiteState, fmt::format("portal \"{}\" cannot be run", name));
    return;
  }
  if (at->second.text.empty()) return protocol::append_empty_query_response(out);
  const std::string text = at->second.text, parameter = at->second.parameter;
  run(text, parameter, out);
}

void Session::sync(std::string& out) {
  bound_in_batch_ = ran_portal_of_earlier_batch_ = false;
  skipping_ = false;
  ready(out);
}

}  // namespace bezel::simulation
