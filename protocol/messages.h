#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

/// Builders and decoders of single messages (documentation, "Message Formats").
///
/// Builders append a whole message, type byte and length included, to a string. In a text field a zero byte ends the
/// text. They throw std::length_error, and leave the string as it was, when the message would exceed 2^31-1 bytes or a
/// list 65535 elements; nothing smaller is bounded here.
///
/// Decoders take a message's body (what follows the length). They are safe on any bytes, never allocate by a declared
/// length, and answer nothing when the body is malformed: a text without its end, a count that does not fit, or bytes
/// left over. The views in their results point into the body.
namespace bezel::protocol {

// ---- From the server: builders -----------------------------------------------------------------------------------

void append_authentication_ok(std::string& out);
void append_authentication_cleartext(std::string& out);
void append_authentication_md5(std::string& out, const std::array<unsigned char, 4>& salt);
/// REQUIRES: no mechanism is empty (it would end the list).
void append_authentication_sasl(std::string& out, std::span<const std::string_view> mechanisms);
void append_authentication_sasl_continue(std::string& out, std::string_view data);
void append_authentication_sasl_final(std::string& out, std::string_view data);

void append_parameter_status(std::string& out, std::string_view name, std::string_view value);
/// REQUIRES: `secret` has 4 bytes for a client of protocol 3.0, 4..256 for 3.2.
void append_backend_key_data(std::string& out, int32_t process_id, std::string_view secret);
/// `status`: 'I' idle, 'T' in a transaction, 'E' in a failed one.
void append_ready_for_query(std::string& out, char status);

/// Type OIDs of columns that the console answers with (pg_type.dat).
namespace type_oid {
inline constexpr uint32_t kBool = 16;
inline constexpr uint32_t kInt8 = 20;
inline constexpr uint32_t kInt4 = 23;
inline constexpr uint32_t kText = 25;
inline constexpr uint32_t kNumeric = 1700;
}  // namespace type_oid

/// A column of a RowDescription. Columns of no table: table OID and attribute number are 0, the type modifier -1.
struct ColumnDescription {
  std::string_view name;
  uint32_t type_oid = type_oid::kText;
  int16_t type_size = -1;   ///< negative for types of variable width
  int16_t format_code = 0;  ///< 0 text, 1 binary
};

void append_row_description(std::string& out, std::span<const ColumnDescription> columns);
/// A nullopt is NULL.
void append_data_row(std::string& out, std::span<const std::optional<std::string_view>> values);
void append_command_complete(std::string& out, std::string_view tag);
void append_empty_query_response(std::string& out);
void append_parse_complete(std::string& out);
void append_bind_complete(std::string& out);
void append_close_complete(std::string& out);
void append_no_data(std::string& out);
void append_parameter_description(std::string& out, std::span<const uint32_t> type_oids);
void append_portal_suspended(std::string& out);

// ---- From the client: builders -----------------------------------------------------------------------------------

void append_query(std::string& out, std::string_view text);
void append_parse(std::string& out, std::string_view name, std::string_view text,
                  std::span<const uint32_t> type_oids = {});
/// All parameters and results in text format; a nullopt is NULL.
void append_bind(std::string& out, std::string_view portal, std::string_view statement,
                 std::span<const std::optional<std::string_view>> parameters = {});
/// `kind`: 'S' a statement, 'P' a portal.
void append_describe(std::string& out, char kind, std::string_view name);
void append_close(std::string& out, char kind, std::string_view name);
/// `rows_max` 0: all rows.
void append_execute(std::string& out, std::string_view portal, int32_t rows_max = 0);
void append_sync(std::string& out);
void append_flush(std::string& out);
void append_copy_fail(std::string& out, std::string_view reason);
void append_terminate(std::string& out);
/// Also carries the answer to an md5 challenge.
void append_password_message(std::string& out, std::string_view password);
void append_sasl_initial_response(std::string& out, std::string_view mechanism, std::optional<std::string_view> data);
void append_sasl_response(std::string& out, std::string_view data);

// ---- From the server: decoders -----------------------------------------------------------------------------------

/// The codes of Authentication messages ('R').
namespace authentication {
inline constexpr int32_t kOk = 0;
inline constexpr int32_t kKerberosV5 = 2;
inline constexpr int32_t kCleartextPassword = 3;
inline constexpr int32_t kMd5Password = 5;
inline constexpr int32_t kGss = 7;
inline constexpr int32_t kGssContinue = 8;
inline constexpr int32_t kSspi = 9;
inline constexpr int32_t kSasl = 10;
inline constexpr int32_t kSaslContinue = 11;
inline constexpr int32_t kSaslFinal = 12;
}  // namespace authentication

/// An Authentication message. The payload is checked for its size: none for kOk and kCleartextPassword, 4 bytes (the
/// salt) for kMd5Password; other codes have whatever came.
struct AuthenticationRequest {
  int32_t code = 0;
  std::string_view payload;
};
std::optional<AuthenticationRequest> decode_authentication(std::string_view body);

/// The mechanisms in the payload of an AuthenticationSASL, in the server's order of preference; at most 32 are taken.
std::optional<std::vector<std::string_view>> decode_sasl_mechanisms(std::string_view payload);

struct ParameterStatus {
  std::string_view name;
  std::string_view value;
};
std::optional<ParameterStatus> decode_parameter_status(std::string_view body);

/// The secret has 4..256 bytes; other sizes are malformed.
struct BackendKeyData {
  int32_t process_id = 0;
  std::string_view secret;
};
std::optional<BackendKeyData> decode_backend_key_data(std::string_view body);

/// 'I', 'T' or 'E'; everything else is malformed.
std::optional<char> decode_ready_for_query(std::string_view body);

/// The command tag, for instance "INSERT 0 1".
std::optional<std::string_view> decode_command_complete(std::string_view body);

// ---- From the client: decoders -----------------------------------------------------------------------------------

/// A Parse. The types are left as they are on the wire (4 bytes each, network order), which is what a table of
/// statements needs as a key.
struct ParseMessage {
  std::string_view name;
  std::string_view text;
  std::string_view type_oids_raw;

  size_t type_count() const { return type_oids_raw.size() / 4; }
  /// REQUIRES: index < type_count().
  uint32_t type_oid_at(size_t index) const;
};
std::optional<ParseMessage> decode_parse(std::string_view body);

/// Where a Bind begins: its two names. `status` malformed: the body ends before the names do. too_long: a name has more
/// than kBindNameBytesMax bytes.
struct BindPrefix {
  enum class Status { ok, need_more, malformed, too_long };

  Status status = Status::need_more;
  std::string_view portal;
  std::string_view statement;
  size_t bytes = 0;  ///< of the body, that the names and their zero bytes take
};

/// The bound for names whose end is waited for: what a connection must hold while a Bind is incomplete.
inline constexpr size_t kBindNameBytesMax = 16384;

/// Decodes the beginning of a Bind when only the first bytes of its body are there: `available` of `body_bytes` in all.
/// The rest of the body is not looked at.
BindPrefix decode_bind_prefix(std::string_view available, size_t body_bytes);

/// A Describe or Close: `kind` is 'S' (statement) or 'P' (portal), everything else is malformed.
struct TargetMessage {
  char kind = 'S';
  std::string_view name;
};
std::optional<TargetMessage> decode_describe(std::string_view body);
std::optional<TargetMessage> decode_close(std::string_view body);

struct ExecuteMessage {
  std::string_view portal;
  int32_t rows_max = 0;
};
std::optional<ExecuteMessage> decode_execute(std::string_view body);

/// The text of a Query.
std::optional<std::string_view> decode_query(std::string_view body);

/// The text of a PasswordMessage; may be empty, which PostgreSQL refuses as "empty password returned by client".
std::optional<std::string_view> decode_password(std::string_view body);

struct SaslInitialResponse {
  std::string_view mechanism;
  std::optional<std::string_view> data;
};
std::optional<SaslInitialResponse> decode_sasl_initial_response(std::string_view body);

}  // namespace bezel::protocol
