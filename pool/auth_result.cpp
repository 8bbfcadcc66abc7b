#include "pool/auth_result.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <optional>
#include <utility>

#include "pool/printable.h"
#include "protocol/error_response.h"
#include "protocol/messages.h"
#include "protocol/reader.h"

namespace bezel::pool {

namespace {

/// One more than there may be.
constexpr int32_t kRowsMax = 2;

/// Everybody may read pg_roles. The time that is left, in milliseconds, goes by the server's own clock.
constexpr std::string_view kRoleQuery =
    "SELECT rolname, rolcanlogin, CASE WHEN pg_catalog.isfinite(rolvaliduntil) THEN "
    "LEAST(pg_catalog.date_part('epoch', rolvaliduntil - pg_catalog.now()) * 1000, 1e12)::pg_catalog.int8 "
    "WHEN rolvaliduntil < pg_catalog.now() THEN 0 END FROM pg_catalog.pg_roles WHERE rolname = $1";

/// What that query gives at most; a server that gives more is not PostgreSQL, and must not make a time overflow.
constexpr int64_t kLeftMsMax = 1'000'000'000'000;

/// A value of a DataRow; nothing if the row is malformed.
struct Value {
  bool is_null;
  std::string_view text;
};

std::optional<Value> read_value(protocol::Reader& reader) {
  const auto size = reader.i32();
  if (!size || *size < -1) return std::nullopt;
  if (*size == -1) return Value{true, {}};
  const auto text = reader.bytes(static_cast<size_t>(*size));
  if (!text) return std::nullopt;
  return Value{false, *text};
}

bool parse_integer(std::string_view text, int64_t& value) {
  const char* const end = text.data() + text.size();
  const auto read = std::from_chars(text.data(), end, value);
  return read.ec == std::errc() && read.ptr == end;
}

}  // namespace

std::string AuthResult::question(std::string_view query, const std::string& user) {
  std::string messages;
  const std::array<std::optional<std::string_view>, 1> parameters = {user};
  for (const std::string_view one : {query, kRoleQuery}) {
    protocol::append_parse(messages, "", one);
    protocol::append_bind(messages, "", "", parameters);
    protocol::append_describe(messages, 'P', "");
    protocol::append_execute(messages, "", kRowsMax);
    // One each: an error in one is none in the other.
    protocol::append_sync(messages);
  }
  return messages;
}

AuthResult::State AuthResult::break_off(std::string problem) {
  problem_ = std::move(problem);
  return State::broken;
}

AuthResult::State AuthResult::take(std::string_view bytes) {
  input_.append(bytes);
  size_t position = 0;
  State state = State::reading;
  while (state == State::reading && input_.size() - position >= protocol::kFrameHeaderBytes) {
    const protocol::FrameHeader header = protocol::read_frame_header(input_.data() + position);
    if (!header.length_valid(kFrameBytesMax)) return break_off("server sent a message of invalid length");
    if (input_.size() - position < header.frame_bytes()) break;
    const std::string_view body =
        std::string_view(input_).substr(position + protocol::kFrameHeaderBytes, header.body_bytes());
    state = message(header.type, body);
    position += header.frame_bytes();
  }
  input_.erase(0, position);
  return state;
}

AuthResult::State AuthResult::message(char type, std::string_view body) {
  switch (type) {
    case '1':  // ParseComplete, BindComplete
    case '2':
    case 'C':
    case 's':
    case 'I':
    case 'N':
    case 'S':
    case 'A':
      return State::reading;
    case 'n':
      columns_ = 0;
      return State::reading;
    case 'T':
      return row_description(body);
    case 'D':
      return data_row(body);
    case 'E':
      error(body);
      return State::reading;
    case 'Z':
      return ready(body);
    default:
      return break_off("server sent a message that does not belong to a query's answer");
  }
}

AuthResult::State AuthResult::row_description(std::string_view body) {
  protocol::Reader reader(body);
  const auto count = reader.u16();
  if (!count) return break_off("server sent an invalid RowDescription");
  columns_ = *count;
  return State::reading;
}

AuthResult::State AuthResult::data_row(std::string_view body) {
  protocol::Reader reader(body);
  const auto count = reader.u16();
  if (!count || *count != columns_) return break_off("server sent an invalid DataRow");
  if (secret_is_read_) return role_row(body);
  rows_++;
  if (columns_ < 2 || rows_ > 1) return State::reading;
  const auto name = read_value(reader), password = name ? read_value(reader) : std::nullopt;
  if (!password) return break_off("server sent an invalid DataRow");
  // A function that returns a record rather than a set of them has one of NULLs for nobody.
  if (name->is_null) return State::reading;
  name_fits_ = name->text == user_;
  // PostgreSQL cuts a long $1 to the length of a name, for instance: that would be somebody else's secret.
  if (!name_fits_) remark_ = fmt::format("it has answered about user \"{}\" instead", printable(name->text));
  has_password_ = !password->is_null && !password->text.empty();
  if (has_password_) password_ = password->text;
  return State::reading;
}

AuthResult::State AuthResult::role_row(std::string_view body) {
  protocol::Reader reader(body);
  reader.u16();
  const auto name = read_value(reader), may_log_in = name ? read_value(reader) : std::nullopt,
             left_ms = may_log_in ? read_value(reader) : std::nullopt;
  // Here too a long $1 may have been cut to another one's name.
  if (left_ms && !name->is_null && name->text != user_) return State::reading;
  int64_t left = 0;
  const bool readable = left_ms && (may_log_in->text == "t" || may_log_in->text == "f") &&
                        (left_ms->is_null || parse_integer(left_ms->text, left));
  if (!readable) {
    role_problem_ = "the answer is not of the form that PostgreSQL gives";
    return State::reading;
  }
  may_log_in_ = may_log_in->text == "t";
  if (!may_log_in_ && name_fits_) remark_ = "the role may not log in";
  if (!left_ms->is_null) valid_for_us_ = std::clamp(left, -kLeftMsMax, kLeftMsMax) * 1000;
  return State::reading;
}

void AuthResult::error(std::string_view body) {
  const auto fields = protocol::decode_error_fields(body);
  const std::string text = fields ? printable(fields->message) : "error without a message";
  if (secret_is_read_) {
    if (!user_is_impossible_) role_problem_ = text;
  } else if (fields && fields->sqlstate.substr(0, 2) == "22") {
    // The name is not even text in the server's encoding: nobody is called that.
    user_is_impossible_ = true;
    remark_ = text;
  } else if (problem_.empty()) {
    problem_ = text;
  }
}

AuthResult::State AuthResult::ready(std::string_view body) {
  if (protocol::decode_ready_for_query(body) != 'I') return break_off("server sent an invalid ReadyForQuery");
  if (secret_is_read_) return State::complete;
  secret_is_read_ = true;
  const int columns = std::exchange(columns_, -1);
  if (!problem_.empty() || user_is_impossible_) return State::reading;
  if (columns < 2) {
    problem_ = "it must have two columns: the user's name and its secret";
  } else if (rows_ > 1) {
    problem_ = "it has answered with more than one row";
  }
  return State::reading;
}

AuthAnswer AuthResult::answer(int64_t now_us) const {
  if (user_is_impossible_ || !name_fits_ || !may_log_in_) return {AuthAnswer::Kind::unknown};
  if (!has_password_) return {AuthAnswer::Kind::no_password};
  AuthAnswer answer = {AuthAnswer::Kind::secret, protocol::parse_secret(password_)};
  if (valid_for_us_) answer.expires_at_us = now_us + *valid_for_us_;
  return answer.has_expired(now_us) ? AuthAnswer{AuthAnswer::Kind::no_password} : answer;
}

}  // namespace bezel::pool
