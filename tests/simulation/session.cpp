#include "tests/simulation/session.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cstring>

#include "protocol/messages.h"
#include "protocol/reader.h"
#include "protocol/sqlstate.h"
#include "protocol/writer.h"

namespace bezel::simulation {

namespace sqlstate = protocol::sqlstate;

namespace {

/// Parameters that the model has: key, name as reported (empty: not reported), default.
struct Known {
  std::string_view key, reported_name, value;
};
constexpr std::array kKnown{
    Known{"application_name", "application_name", ""},
    Known{"client_encoding", "client_encoding", "UTF8"},
    Known{"datestyle", "DateStyle", "ISO, MDY"},
    Known{"search_path", "", "\"$user\", public"},
    Known{"statement_timeout", "", "0"},
    Known{"timezone", "TimeZone", "UTC"},
};

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

void append_answer_description(std::string& out) {
  const protocol::ColumnDescription column{"answer"};
  protocol::append_row_description(out, {&column, 1});
}

}  // namespace

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

Session::Session(std::string database, std::string user, bool reports_at_once)
    : database_(std::move(database)), user_(std::move(user)), reports_at_once_(reports_at_once) {
  for (const Known& known : kKnown) defaults_.emplace(known.key, known.value);
  values_ = defaults_;
}

// ---- Parameters ----------------------------------------------------------------------------------------------------

std::optional<protocol::ProtocolError> Session::check(std::string_view key, std::string& value) const {
  const bool known = std::any_of(kKnown.begin(), kKnown.end(), [&](const Known& one) { return one.key == key; });
  if (!known && key.find('.') == std::string_view::npos) {
    return protocol::ProtocolError{sqlstate::kUndefinedObject,
                                   fmt::format("unrecognized configuration parameter \"{}\"", key), "", ""};
  }
  const bool refused = (key == "timezone" && value == "Nowhere") || (key == "statement_timeout" && value == "abc");
  if (refused) {
    return protocol::ProtocolError{sqlstate::kInvalidParameterValue,
                                   fmt::format("invalid value for parameter \"{}\": \"{}\"", key, value), "", ""};
  }
  if (key == "datestyle" && value == "ISO") value = "ISO, MDY";
  if (key == "datestyle" && value == "German") value = "German, DMY";
  return std::nullopt;
}

std::optional<protocol::ProtocolError> Session::set(std::string_view name, std::string_view text) {
  const std::string key = lower(name);
  std::string value(text);
  if (auto error = check(key, value)) return error;
  values_[key] = value;
  local_before_.erase(key);
  return std::nullopt;
}

std::optional<protocol::ProtocolError> Session::start_with(std::string_view name, std::string_view value) {
  auto error = set(name, value);
  defaults_ = values_;
  return error;
}

std::vector<std::pair<std::string, std::string>> Session::reported() const {
  std::vector<std::pair<std::string, std::string>> list = {{"server_version", "15.0"}, {"in_hot_standby", "off"}};
  for (const Known& known : kKnown) {
    if (!known.reported_name.empty()) {
      list.emplace_back(known.reported_name, values_.find(std::string(known.key))->second);
    }
  }
  return list;
}

void Session::mark_all_reported() {
  reported_ = values_;
}

void Session::report(std::string& out) {
  for (const Known& known : kKnown) {
    const std::string key(known.key);
    if (known.reported_name.empty() || values_[key] == reported_[key]) continue;
    protocol::append_parameter_status(out, known.reported_name, values_[key]);
  }
  reported_ = values_;
}

const std::string* Session::value(const std::string& key) const {
  const auto at = values_.find(key);
  return at == values_.end() ? nullptr : &at->second;
}

std::string Session::row(const std::string& text, const std::string& parameter, size_t bytes) const {
  std::string row = fmt::format("{}|{}|{}/{}", text, parameter, database_, user_);
  for (const auto& [key, value] : values_) row += fmt::format("|{}={}", key, value);
  if (row.size() < bytes) row.resize(bytes, '.');
  return row;
}

// ---- Transactions --------------------------------------------------------------------------------------------------

void Session::finish_transaction() {
  for (auto& [key, value] : local_before_) values_[key] = value;
  local_before_.clear();
  before_.reset();
  portals_.clear();
}

bool Session::fail(std::string& out, std::string_view state, std::string_view message) {
  protocol::append_error_response(out, protocol::severity::kError, state, message);
  if (before_) values_ = *before_;
  before_.reset();
  local_before_.clear();
  portals_.clear();
  if (status_ == 'T') status_ = 'E';
  if (reports_at_once_) report(out);
  if (in_query_) {
    query_.clear();
  } else {
    skipping_ = true;
  }
  copying_in_ = false;
  flush_due_ = true;  // PostgreSQL does not keep errors back
  return false;
}

void Session::lose(std::string& out) {
  lost_texts_.assign(query_.begin(), query_.end());
  if (!in_query_ && !copying_in_ && !input_.empty() && (input_.front().type == 'Q' || input_.front().type == 'F')) {
    lost_texts_ = split_statements(input_.front().body.c_str());
    input_.pop_front();
    in_query_ = true;
  } else if (!in_query_) {
    for (const auto& [name, portal] : portals_) lost_texts_.push_back(portal.text);
    if (prepared_.contains("")) lost_texts_.push_back(prepared_[""]);
    bool bound = bound_in_batch_;
    for (const Frame& frame : input_) {
      if (frame.type == 'S') break;
      if (frame.type == 'P') lost_texts_.emplace_back(protocol::decode_parse(frame.body)->text);
      bound = bound || frame.type == 'B';
      // Of a portal that was bound earlier, the pooler does not know what it does.
      if (frame.type == 'E' && (!bound || !protocol::decode_execute(frame.body)->portal.empty())) {
        lost_texts_.emplace_back("commit");
      }
    }
  }
  std::string error;
  fail(error, sqlstate::kConnectionFailure, "");
  // The client has that one; what is reported behind it is still to come.
  FrameCutter cutter;
  cutter.append(error);
  cutter.next();
  while (const auto frame = cutter.next()) protocol::MessageWriter(out, frame->type).bytes(frame->body).finish();
}

bool Session::request_holds(std::string_view word) const {
  return std::any_of(lost_texts_.begin(), lost_texts_.end(), [&](const auto& text) { return begins_with(text, word); });
}

bool Session::ends_transaction_next() const {
  if (input_.empty() || input_.front().type != 'Q') return false;
  const std::string& text = input_.front().body;
  return begins_with(text, "commit") || begins_with(text, "rollback");
}

void Session::end_transaction_before_rest() {
  std::string& text = input_.front().body;
  text.erase(0, text.find(';') + 1);
  force_status('I');
}

bool Session::skips_what_comes() const {
  return skipping_ && std::none_of(input_.begin(), input_.end(), [](const Frame& frame) { return frame.type == 'S'; });
}

void Session::note_reported(const std::string& name, const std::string& value) {
  for (const Known& known : kKnown) {
    if (known.reported_name == name) reported_[std::string(known.key)] = value;
  }
}

void Session::force_status(char status) {
  status_ = status;
  if (status == 'I') finish_transaction();
}

bool Session::refused_in_aborted(std::string_view text, std::string& out) {
  if (status_ != 'E' || is_exit(text)) return false;
  fail(out, sqlstate::kInFailedSqlTransaction,
       "current transaction is aborted, commands ignored until end of transaction block");
  return true;
}

void Session::ready(std::string& out) {
  if (status_ == 'I') finish_transaction();
  report(out);
  protocol::append_ready_for_query(out, status_);
  flush_due_ = true;
}

bool Session::run_transaction_command(const std::string& word, std::string& out) {
  const auto warn = [&](std::string_view state, std::string_view message) {
    protocol::append_notice_response(out, protocol::severity::kWarning, state, message);
  };
  if (word == "begin") {
    if (status_ == 'T') warn(sqlstate::kActiveSqlTransaction, "there is already a transaction in progress");
    status_ = 'T';
    protocol::append_command_complete(out, "BEGIN");
    return true;
  }
  if (status_ == 'I') warn(sqlstate::kNoActiveSqlTransaction, "there is no transaction in progress");
  const bool commits = word == "commit" && status_ != 'E';
  if (!commits && before_) values_ = *before_;
  if (!commits) local_before_.clear();
  status_ = 'I';
  finish_transaction();
  if (reports_at_once_) report(out);
  protocol::append_command_complete(out, commits ? "COMMIT" : "ROLLBACK");
  return true;
}

// ---- Steps ---------------------------------------------------------------------------------------------------------

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

void Session::sync(std::string& out) {
  bound_in_batch_ = false;
  skipping_ = false;
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

// ---- Extended protocol ---------------------------------------------------------------------------------------------

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

// ---- Statements ----------------------------------------------------------------------------------------------------

bool Session::run_select(const std::string& text, Portal& portal, int rows_max, std::string& out) {
  const auto words = words_of(text);
  if (portal.rows_sent == 0 && !portal.done) {
    executed_.push_back(portal.parameter.empty() && words.size() > 1 ? words[1] : portal.parameter);
  }
  const int rows = number(words, 2);
  const std::string answer = row(text, portal.parameter, static_cast<size_t>(number(words, 3)));
  int sent = 0;
  while (portal.rows_sent < rows && (rows_max == 0 || sent < rows_max)) {
    const std::optional<std::string_view> value = answer;
    protocol::append_data_row(out, {&value, 1});
    portal.rows_sent++;
    sent++;
  }
  if (portal.rows_sent < rows || (rows_max > 0 && sent == rows_max && !portal.done)) {
    protocol::append_portal_suspended(out);
    return true;
  }
  portal.done = true;
  protocol::append_command_complete(out, fmt::format("SELECT {}", sent));
  return true;
}

bool Session::run_set_config(std::string_view text, std::string& out) {
  std::vector<std::string> results;
  for (size_t at = text.find("E'"); at != std::string_view::npos; at = text.find("E'", at)) {
    const std::string key = quoted_literal(text, at);
    at = text.find("E'", at);
    const std::string value = quoted_literal(text, at);
    if (const auto error = set(key, value)) return fail(out, error->sqlstate, error->message);
    results.push_back(values_[lower(key)]);
  }
  const std::vector<protocol::ColumnDescription> columns(results.size(), {"set_config"});
  const std::vector<std::optional<std::string_view>> row(results.begin(), results.end());
  protocol::append_row_description(out, columns);
  protocol::append_data_row(out, row);
  if (reports_at_once_) report(out);
  protocol::append_command_complete(out, "SELECT 1");
  return true;
}

bool Session::run_set(const std::vector<std::string>& words, std::string& out) {
  if (words[0] == "set") {
    const bool local = words[1] == "local";
    const std::string key = lower(words[local ? 2 : 1]);
    const std::string& value = words[local ? 3 : 2];
    if (local && status_ != 'T') {
      protocol::append_notice_response(out, protocol::severity::kWarning, sqlstate::kNoActiveSqlTransaction,
                                       "SET LOCAL can only be used in transaction blocks");
    } else {
      const std::string before = values_[key];
      const bool was_local = local_before_.contains(key);
      const std::string local_before = was_local ? local_before_[key] : before;
      if (const auto error = set(key, value)) return fail(out, error->sqlstate, error->message);
      if (local) local_before_[key] = local_before;
    }
  } else {
    const std::string key = lower(unquoted_name(words[1]));
    if (words[1] == "ALL") {
      values_ = defaults_;
      local_before_.clear();
    } else if (!defaults_.contains(key)) {
      values_.erase(key);
    } else {
      values_[key] = defaults_[key];
      local_before_.erase(key);
    }
  }
  if (reports_at_once_) report(out);
  protocol::append_command_complete(out, words[0] == "set" ? "SET" : "RESET");
  return true;
}

bool Session::run(const std::string& text, const std::string& parameter, std::string& out) {
  const auto words = words_of(text);
  const std::string& word = words[0];
  const std::string id = !parameter.empty() ? parameter : words.size() > 1 ? words[1] : "";
  if (word == "begin" || word == "commit" || word == "rollback" || word == "ROLLBACK") {
    return run_transaction_command(word, out);
  }
  if (word == "set" || word == "reset" || word == "RESET") return run_set(words, out);
  if (begins_with(text, "SELECT pg_catalog.set_config(")) return run_set_config(text, out);
  if (text == "DISCARD ALL" || text == "DEALLOCATE ALL") {
    if (text == "DISCARD ALL" && (status_ == 'T' || !query_.empty())) {
      return fail(out, sqlstate::kActiveSqlTransaction, "DISCARD ALL cannot run inside a transaction block");
    }
    prepared_.clear();
    if (text == "DISCARD ALL") values_ = defaults_;
    if (reports_at_once_) report(out);
    protocol::append_command_complete(out, text);
    return true;
  }
  executed_.push_back(id);
  if (word == "fail") return fail(out, "22012", "division by zero in " + id);
  if (word == "die") {
    protocol::append_command_complete(out, "DO");
    return true;
  }
  if (word == "notice" || word == "notify") {
    if (word == "notice") {
      protocol::append_notice_response(out, protocol::severity::kNotice, "00000", "notice of " + id);
    } else {
      protocol::MessageWriter(out, 'A').i32(7).cstring("channel").cstring(id).finish();
    }
    protocol::append_command_complete(out, "DO");
    return true;
  }
  if (word == "copyin") {
    protocol::MessageWriter(out, 'G').byte('\0').i16(1).i16(0).finish();
    copying_in_ = flush_due_ = true;
    copied_rows_ = 0;
    return true;
  }
  if (word == "copyout") {
    protocol::MessageWriter(out, 'H').byte('\0').i16(1).i16(0).finish();
    const std::string data = row(text, parameter, static_cast<size_t>(number(words, 3)));
    for (int i = 0; i < number(words, 2); i++) protocol::MessageWriter(out, 'd').bytes(data).finish();
    protocol::MessageWriter(out, 'c').finish();
    protocol::append_command_complete(out, fmt::format("COPY {}", number(words, 2)));
    return true;
  }
  return fail(out, sqlstate::kSyntaxError, fmt::format("syntax error at or near \"{}\"", word));
}

}  // namespace bezel::simulation
