#include "pool/auth_result.h"

#include <fmt/format.h>

#include <array>
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

}  // namespace

std::string AuthResult::question(std::string_view query, const std::string& user) {
  std::string messages;
  protocol::append_parse(messages, "", query);
  const std::array<std::optional<std::string_view>, 1> parameters = {user};
  protocol::append_bind(messages, "", "", parameters);
  protocol::append_describe(messages, 'P', "");
  protocol::append_execute(messages, "", kRowsMax);
  protocol::append_sync(messages);
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

void AuthResult::error(std::string_view body) {
  const auto fields = protocol::decode_error_fields(body);
  const std::string text = fields ? printable(fields->message) : "error without a message";
  if (fields && fields->sqlstate.substr(0, 2) == "22") {
    // The name is not even text in the server's encoding: nobody is called that.
    user_is_impossible_ = true;
    remark_ = text;
  } else if (problem_.empty()) {
    problem_ = text;
  }
}

AuthResult::State AuthResult::ready(std::string_view body) {
  if (protocol::decode_ready_for_query(body) != 'I') return break_off("server sent an invalid ReadyForQuery");
  if (!problem_.empty() || user_is_impossible_) return State::complete;
  if (columns_ < 2) {
    problem_ = "it must have two columns: the user's name and its secret";
  } else if (rows_ > 1) {
    problem_ = "it has answered with more than one row";
  }
  return State::complete;
}

AuthAnswer AuthResult::answer() const {
  if (user_is_impossible_ || !name_fits_) return {AuthAnswer::Kind::unknown};
  if (!has_password_) return {AuthAnswer::Kind::no_password};
  return {AuthAnswer::Kind::secret, protocol::parse_secret(password_)};
}

}  // namespace bezel::pool
