// What statements do, and their transactions.

#include <fmt/format.h>

#include "protocol/messages.h"
#include "protocol/sqlstate.h"
#include "protocol/writer.h"
#include "tests/simulation/session.h"
#include "tests/simulation/sql_text.h"

namespace bezel::simulation {

namespace sqlstate = protocol::sqlstate;

void Session::append_answer_description(std::string& out) {
  const protocol::ColumnDescription column{"answer"};
  protocol::append_row_description(out, {&column, 1});
}

std::string Session::row(const std::string& text, const std::string& parameter, size_t bytes) const {
  std::string row = fmt::format("{}|{}|{}/{}", text, parameter, database_, user_);
  for (const auto& [key, value] : values_) row += fmt::format("|{}={}", key, value);
  if (row.size() < bytes) row.resize(bytes, '.');
  return row;
}

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

bool Session::refused_in_aborted(std::string_view text, std::string& out) {
  if (status_ != 'E' || is_exit(text)) return false;
  fail(out, sqlstate::kInFailedSqlTransaction,
       "current transaction is aborted, commands ignored until end of transaction block");
  return true;
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
