#include "bench/null_session.h"

#include <algorithm>
#include <cctype>
#include <optional>

namespace bezel::bench {
namespace {

constexpr std::size_t kPreparedMax = 10'000;

const std::string& row_description() {
  static const std::string message = [] {
    std::string body;
    append_be16(body, 1);
    append_text(body, "value");
    append_be32(body, 0);   // no table
    append_be16(body, 0);   // no column of one
    append_be32(body, 23);  // int4
    append_be16(body, 4);
    append_be32(body, 0xffffffff);  // no type modifier
    append_be16(body, 0);           // text
    std::string frame;
    append_frame(frame, 'T', body);
    return frame;
  }();
  return message;
}

const std::string& data_row() {
  static const std::string message = [] {
    std::string body;
    append_be16(body, 1);
    append_be32(body, 1);
    body.push_back('1');
    std::string frame;
    append_frame(frame, 'D', body);
    return frame;
  }();
  return message;
}

void append_error(std::string_view severity, std::string_view sql_state, std::string_view text, std::string& out) {
  std::string body;
  for (const auto& [field, value] : {std::pair{'S', severity}, {'V', severity}, {'C', sql_state}, {'M', text}}) {
    body.push_back(field);
    append_text(body, value);
  }
  body.push_back('\0');
  append_frame(out, 'E', body);
}

void append_parameter_status(const std::string& name, const std::string& value, std::string& out) {
  std::string body;
  append_text(body, name);
  append_text(body, value);
  append_frame(out, 'S', body);
}

void append_command_complete(std::string_view tag, std::string& out) {
  std::string body;
  append_text(body, tag);
  append_frame(out, 'C', body);
}

bool equal_ignoring_case(std::string_view a, std::string_view b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(), [](char x, char y) {
    return std::tolower(static_cast<unsigned char>(x)) == std::tolower(static_cast<unsigned char>(y));
  });
}

/// How many parameters `$1`... a text has: the highest number.
uint16_t parameter_count(std::string_view text) {
  unsigned highest = 0;
  for (auto at = text.find('$'); at != std::string_view::npos; at = text.find('$', at + 1)) {
    unsigned number = 0;
    for (std::size_t i = at + 1; i < text.size() && text[i] >= '0' && text[i] <= '9' && number < 6553; ++i) {
      number = number * 10 + static_cast<unsigned>(text[i] - '0');
    }
    highest = std::max(highest, number);
  }
  return static_cast<uint16_t>(highest);
}

}  // namespace

NullSession::NullSession(uint32_t serial)
    : serial_(serial),
      parameters_({{"application_name", ""},
                   {"client_encoding", "UTF8"},
                   {"DateStyle", "ISO, MDY"},
                   {"default_transaction_read_only", "off"},
                   {"in_hot_standby", "off"},
                   {"integer_datetimes", "on"},
                   {"IntervalStyle", "postgres"},
                   {"is_superuser", "off"},
                   {"server_encoding", "UTF8"},
                   {"server_version", "15.0"},
                   {"session_authorization", ""},
                   {"standard_conforming_strings", "on"},
                   {"TimeZone", "Etc/UTC"}}) {}

NullSession::Outcome NullSession::consume(std::string_view bytes, std::string& out) {
  Outcome outcome;
  reader_.append(bytes);
  while (!outcome.close && !login_asked_ && !logged_in_) {
    const auto body = reader_.next_startup();
    if (!body) break;
    consume_startup(*body, out, outcome);
  }
  while (!outcome.close && logged_in_) {
    const auto frame = reader_.next();
    if (!frame) break;
    dispatch(*frame, out, outcome);
  }
  if (reader_.broken()) {
    append_error("FATAL", "08P01", "invalid message length", out);
    outcome.close = true;
  }
  return outcome;
}

void NullSession::consume_startup(std::string_view body, std::string& out, Outcome& outcome) {
  const uint32_t code = read_be32(body);
  if (code == kSslRequest || code == kGssRequest) {
    out.push_back('N');
  } else if (code >> 16 == 3) {
    set_startup_parameters(body.substr(4));
    login_asked_ = outcome.login_asked = true;
  } else {
    if (code != kCancelRequest) append_error("FATAL", "0A000", "unsupported frontend protocol", out);
    outcome.close = true;
  }
}

void NullSession::set_startup_parameters(std::string_view body) {
  std::string ignored;
  for (;;) {
    const auto name = take_text(body);
    const auto value = take_text(body);
    if (!name || !value || name->empty()) break;
    assign(*name == "user" ? "session_authorization" : std::string(*name), std::string(*value), ignored);
  }
  session_defaults_ = parameters_;
}

void NullSession::finish_login(std::string& out) {
  append_frame(out, 'R', std::string_view("\0\0\0\0", 4));
  for (const auto& [name, value] : parameters_) append_parameter_status(name, value, out);
  std::string key;
  append_be32(key, serial_);
  append_be32(key, serial_ * 2654435761U);
  append_frame(out, 'K', key);
  login_asked_ = false;
  logged_in_ = true;
  append_frame(out, 'Z', "I");
}

void NullSession::dispatch(const Frame& frame, std::string& out, Outcome& outcome) {
  if (frame.type == 'X') {
    outcome.close = true;
    return;
  }
  if (frame.type == 'S') {
    skip_to_sync_ = false;
    ready(out, outcome);
    return;
  }
  if (skip_to_sync_) return;
  switch (frame.type) {
    case 'Q':
      return simple_query(frame.body, out, outcome);
    case 'P':
      return parse(frame.body, out);
    case 'B':
      return bind(frame.body, out);
    case 'D':
      return describe(frame.body, out);
    case 'E':
      return execute_portal(frame.body, out, outcome);
    case 'C':
      return close_object(frame.body, out);
    case 'H':
      return;  // every answer leaves at the end of the turn anyway
    default:
      append_error("FATAL", "08P01", std::string("the null server knows no message of type ") + frame.type, out);
      outcome.close = true;
  }
}

void NullSession::simple_query(std::string_view body, std::string& out, Outcome& outcome) {
  auto sql = take_text(body).value_or("");
  bool any = false;
  while (!sql.empty()) {
    const Statement statement = classify(take_statement(sql));
    if (statement.kind == StatementKind::kEmpty) continue;
    any = true;
    if (!execute(statement, true, out, outcome)) break;
  }
  if (!any) append_frame(out, 'I', "");
  ready(out, outcome);
}

void NullSession::parse(std::string_view body, std::string& out) {
  const auto name = take_text(body);
  const auto text = take_text(body);
  if (!name || !text) return fail_extended("08P01", "invalid Parse message", out);
  const Statement statement = classify(*text);
  if (statement.kind == StatementKind::kUnknown) return fail_extended("42601", "syntax error", out);
  if (!name->empty() && prepared_.contains(std::string(*name))) {
    return fail_extended("42P05", "prepared statement \"" + std::string(*name) + "\" already exists", out);
  }
  if (prepared_.size() >= kPreparedMax) return fail_extended("53000", "too many prepared statements", out);
  prepared_[std::string(*name)] = {statement.kind, statement.tag, std::string(statement.text), parameter_count(*text)};
  append_frame(out, '1', "");
}

void NullSession::bind(std::string_view body, std::string& out) {
  const auto portal = take_text(body);
  const auto name = take_text(body);
  if (!portal || !name) return fail_extended("08P01", "invalid Bind message", out);
  const auto found = prepared_.find(std::string(*name));
  if (found == prepared_.end()) {
    return fail_extended("26000", "prepared statement \"" + std::string(*name) + "\" does not exist", out);
  }
  if (portals_.size() >= kPreparedMax) return fail_extended("53000", "too many portals", out);
  portals_[std::string(*portal)] = found->second;
  append_frame(out, '2', "");
}

void NullSession::describe(std::string_view body, std::string& out) {
  const char what = body.empty() ? '?' : body.front();
  body.remove_prefix(body.empty() ? 0 : 1);
  const auto name = take_text(body);
  if (!name || (what != 'S' && what != 'P')) return fail_extended("08P01", "invalid Describe message", out);
  const auto& objects = what == 'S' ? prepared_ : portals_;
  const auto found = objects.find(std::string(*name));
  if (found == objects.end()) {
    return fail_extended(what == 'S' ? "26000" : "34000", "\"" + std::string(*name) + "\" does not exist", out);
  }
  if (what == 'S') {
    std::string types;
    append_be16(types, found->second.parameter_count);
    for (unsigned i = 0; i < found->second.parameter_count; ++i) append_be32(types, 23);
    append_frame(out, 't', types);
  }
  if (found->second.kind == StatementKind::kRow) {
    out += row_description();
  } else {
    append_frame(out, 'n', "");
  }
}

void NullSession::execute_portal(std::string_view body, std::string& out, Outcome& outcome) {
  const auto name = take_text(body);
  const auto found = name ? portals_.find(std::string(*name)) : portals_.end();
  if (found == portals_.end()) return fail_extended("34000", "portal does not exist", out);
  // Executing may drop every portal, so the statement is moved out of the map before.
  const Prepared portal = std::move(found->second);
  portals_.erase(found);
  if (portal.kind == StatementKind::kEmpty) return append_frame(out, 'I', "");
  if (!execute({portal.kind, portal.tag, portal.text}, false, out, outcome)) skip_to_sync_ = true;
}

void NullSession::close_object(std::string_view body, std::string& out) {
  const char what = body.empty() ? '?' : body.front();
  body.remove_prefix(body.empty() ? 0 : 1);
  const auto name = take_text(body);
  if (!name) return fail_extended("08P01", "invalid Close message", out);
  (what == 'S' ? prepared_ : portals_).erase(std::string(*name));
  append_frame(out, '3', "");
}

bool NullSession::execute(const Statement& statement, bool with_row_description, std::string& out, Outcome& outcome) {
  ++outcome.statements;
  const bool ends = statement.kind == StatementKind::kCommit || statement.kind == StatementKind::kRollback;
  if (status_ == 'E' && !ends) {
    fail("25P02", "current transaction is aborted, commands ignored until end of transaction block", out);
    return false;
  }
  std::string_view tag = statement.tag;
  switch (statement.kind) {
    case StatementKind::kUnknown:
      fail("42601", "syntax error", out);
      return false;
    case StatementKind::kBegin:
      status_ = 'T';
      break;
    case StatementKind::kCommit:
    case StatementKind::kRollback:
      if (status_ == 'E') tag = "ROLLBACK";
      status_ = 'I';
      break;
    case StatementKind::kRow:
      apply_assignments(statement, out);
      if (with_row_description) out += row_description();
      out += data_row();
      break;
    case StatementKind::kSet:
    case StatementKind::kReset:
      apply_assignments(statement, out);
      break;
    case StatementKind::kDiscardAll:
      prepared_.clear();
      reset_parameters(out);
      break;
    case StatementKind::kDeallocate: {
      const auto name = deallocated_name(statement.text);
      if (name == "all") {
        prepared_.clear();
        tag = "DEALLOCATE ALL";
      } else if (prepared_.erase(name) == 0) {
        fail("26000", "prepared statement \"" + name + "\" does not exist", out);
        return false;
      }
      break;
    }
    case StatementKind::kCommand:
    case StatementKind::kEmpty:
      break;
  }
  append_command_complete(tag, out);
  return true;
}

void NullSession::apply_assignments(const Statement& statement, std::string& out) {
  for (auto& assignment : assignments_of(statement)) {
    if (assignment.to_default && equal_ignoring_case(assignment.name, "all")) {
      reset_parameters(out);
      continue;
    }
    if (assignment.to_default) {
      for (const auto& [name, value] : session_defaults_) {
        if (equal_ignoring_case(name, assignment.name)) assignment.value = value;
      }
    }
    assign(assignment.name, std::move(assignment.value), out);
  }
}

void NullSession::reset_parameters(std::string& out) {
  for (const auto& [name, value] : session_defaults_) assign(name, value, out);
}

void NullSession::assign(const std::string& name, std::string value, std::string& out) {
  for (auto& [known, current] : parameters_) {
    if (!equal_ignoring_case(known, name) || current == value) continue;
    current = std::move(value);
    append_parameter_status(known, current, out);
    return;
  }
}

void NullSession::fail(std::string_view sql_state, std::string_view text, std::string& out) {
  append_error("ERROR", sql_state, text, out);
  if (status_ == 'T') status_ = 'E';
}

void NullSession::fail_extended(std::string_view sql_state, std::string_view text, std::string& out) {
  fail(sql_state, text, out);
  skip_to_sync_ = true;
}

void NullSession::ready(std::string& out, Outcome& outcome) {
  if (status_ == 'I') portals_.clear();  // portals end with their transaction
  append_frame(out, 'Z', std::string_view(&status_, 1));
  ++outcome.replies;
}

}  // namespace bezel::bench
