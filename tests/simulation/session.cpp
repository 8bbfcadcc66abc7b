#include "tests/simulation/session.h"

#include <fmt/format.h>

#include <algorithm>

#include "protocol/messages.h"
#include "protocol/sqlstate.h"
#include "protocol/writer.h"
#include "tests/simulation/sql_text.h"

namespace bezel::simulation {

namespace sqlstate = protocol::sqlstate;

void Session::ready(std::string& out) {
  if (status_ == 'I') finish_transaction();
  report(out);
  protocol::append_ready_for_query(out, status_);
  flush_due_ = true;
}

bool Session::executes_next() const {
  if (copying_in_) return false;
  if (in_query_) return !query_.empty();
  if (skipping_ || input_.empty()) return false;
  return input_.front().type == 'E' || input_.front().type == 'F';
}

std::string Session::next_id() const {
  if (in_query_ && !query_.empty()) {
    const auto words = words_of(query_.front());
    return words.size() > 1 ? words[1] : "";
  }
  if (!input_.empty() && input_.front().type == 'E') {
    const auto message = protocol::decode_execute(input_.front().body);
    const auto portal = message ? portals_.find(std::string(message->portal)) : portals_.end();
    if (portal == portals_.end()) return "";
    if (!portal->second.parameter.empty()) return portal->second.parameter;
    const auto words = words_of(portal->second.text);
    return words.size() > 1 ? words[1] : "";
  }
  return "";
}

void Session::refuse_to_write(std::string& out) {
  if (!in_query_) input_.pop_front();
  fail(out, sqlstate::kReadOnlySqlTransaction, "cannot execute it in a read-only transaction");
}

std::string Session::next_word() const {
  std::string text;
  if (in_query_ && !query_.empty()) {
    text = query_.front();
  } else if (!in_query_ && !copying_in_ && !skipping_ && !input_.empty() && input_.front().type == 'E') {
    const auto message = protocol::decode_execute(input_.front().body);
    const auto portal = message ? portals_.find(std::string(message->portal)) : portals_.end();
    if (portal != portals_.end() && !portal->second.done) text = portal->second.text;
  }
  const auto words = words_of(text);
  return words.empty() || (status_ == 'E') ? "" : words[0];
}

void Session::step(std::string& out, bool cancelled) {
  static constexpr std::string_view kCancelled = "canceling statement due to user request";
  if (copying_in_ && cancelled) {
    fail(out, sqlstate::kQueryCanceled, kCancelled);
    flush_due_ = true;
    return;
  }
  if (in_query_ && !copying_in_) {
    if (cancelled && !query_.empty()) {
      fail(out, sqlstate::kQueryCanceled, kCancelled);
      return;
    }
    return simple_step(out);
  }
  const Frame frame = std::move(input_.front());
  input_.pop_front();
  if (copying_in_) return copy_message(frame, out);
  if (skipping_ && frame.type != 'S' && frame.type != 'X') return;
  if (cancelled) {
    in_query_ = frame.type == 'Q' || frame.type == 'F';
    fail(out, sqlstate::kQueryCanceled, kCancelled);
    return;
  }
  message(frame, out);
}

void Session::message(const Frame& frame, std::string& out) {
  switch (frame.type) {
    case 'Q':
      return begin_query(frame.body.c_str(), out);
    case 'F':
      in_query_ = true;
      if (refused_in_aborted("", out)) return;
      protocol::MessageWriter(out, 'V').sized_bytes(frame.body).finish();
      return;
    case 'P':
      return parse(frame, out);
    case 'B':
      return bind(frame, out);
    case 'D':
      return describe(frame, out);
    case 'C':
      return close(frame, out);
    case 'E':
      return execute(frame, out);
    case 'S':
      return sync(out);
    case 'H':
      flush_due_ = true;
      return;
    case 'd':
    case 'c':
    case 'f':
      return;  // late data of a COPY that has failed
    case 'X':
      ended_ = true;
      return;
    default:
      protocol::append_error_response(out, protocol::severity::kFatal, sqlstate::kProtocolViolation,
                                      fmt::format("invalid frontend message type {}", static_cast<int>(frame.type)));
      ended_ = flush_due_ = true;
  }
}

void Session::begin_query(std::string_view text, std::string& out) {
  in_query_ = true;
  const auto statements = split_statements(text);
  query_.assign(statements.begin(), statements.end());
  if (query_.empty()) return protocol::append_empty_query_response(out);
  const bool wrong =
      std::any_of(query_.begin(), query_.end(), [](const auto& one) { return begins_with(one, "syntax"); });
  if (wrong) fail(out, sqlstate::kSyntaxError, "syntax error at or near \"syntax\"");
}

void Session::simple_step(std::string& out) {
  if (query_.empty()) return end_query(out);
  const std::string text = query_.front();
  query_.pop_front();
  if (refused_in_aborted(text, out)) return;
  if (!before_) before_ = values_;
  if (returns_rows(text)) {
    append_answer_description(out);
    Portal portal{text, "", 0, false};
    run_select(text, portal, 0, out);
    return;
  }
  run(text, "", out);
}

void Session::end_query(std::string& out) {
  in_query_ = false;
  ready(out);
}

void Session::copy_message(const Frame& frame, std::string& out) {
  switch (frame.type) {
    case 'd':
      if (begins_with(frame.body, "bad")) {
        fail(out, "22P04", "invalid data for COPY");
        flush_due_ = true;
        return;
      }
      copied_rows_++;
      return;
    case 'c':
      copying_in_ = false;
      protocol::append_command_complete(out, fmt::format("COPY {}", copied_rows_));
      return;
    case 'f':
      fail(out, sqlstate::kQueryCanceled, fmt::format("COPY from stdin failed: {}", frame.body.c_str()));
      return;
    case 'S':
    case 'H':
      return;
    case 'X':
      ended_ = true;
      return;
    default:
      fail(out, sqlstate::kProtocolViolation, "unexpected message type during COPY from stdin");
  }
}

}  // namespace bezel::simulation
