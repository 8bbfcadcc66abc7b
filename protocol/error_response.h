#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>

namespace bezel::protocol {

/// Five characters of SQLSTATE, by value: a constant of protocol/sqlstate.h, or what a server sent.
class SqlState {
 public:
  /// Anything but five characters becomes XX000 (internal error).
  constexpr SqlState(std::string_view code = "XX000") {
    if (code.size() != sizeof code_) code = "XX000";
    for (size_t i = 0; i < sizeof code_; i++) code_[i] = code[i];
  }
  constexpr operator std::string_view() const { return {code_, sizeof code_}; }
  bool operator==(std::string_view code) const { return std::string_view(*this) == code; }

 private:
  char code_[5] = {};
};

/// An error to be told to the peer, in PostgreSQL's own wording.
struct ProtocolError {
  SqlState sqlstate;
  std::string message;
  std::string detail;
  std::string hint;
};

/// Severities as they go over the wire (documentation, "Error and Notice Message Fields").
namespace severity {
inline constexpr std::string_view kError = "ERROR";
inline constexpr std::string_view kFatal = "FATAL";
inline constexpr std::string_view kPanic = "PANIC";
inline constexpr std::string_view kWarning = "WARNING";
inline constexpr std::string_view kNotice = "NOTICE";
}  // namespace severity

/// The fields of an ErrorResponse or NoticeResponse. What the message does not have is empty. The views point into the
/// body that was decoded.
struct ErrorFields {
  std::string_view severity_localized;  ///< S
  std::string_view severity;            ///< V; S when there is no V (servers before 9.6, other poolers)
  std::string_view sqlstate;            ///< C
  std::string_view message;             ///< M
  std::string_view detail;              ///< D
  std::string_view hint;                ///< H
  std::string_view position;            ///< P
  std::string_view internal_position;   ///< p
  std::string_view internal_query;      ///< q
  std::string_view where;               ///< W
  std::string_view schema;              ///< s
  std::string_view table;               ///< t
  std::string_view column;              ///< c
  std::string_view data_type;           ///< d
  std::string_view constraint;          ///< n
  std::string_view file;                ///< F
  std::string_view line;                ///< L
  std::string_view routine;             ///< R

  /// Whether the server ends the connection with it.
  bool is_fatal() const { return severity == protocol::severity::kFatal || severity == protocol::severity::kPanic; }
};

/// Appends an ErrorResponse ('E') with the fields S, V, C and M, and D and H where given.
void append_error_response(std::string& out, std::string_view severity_name, std::string_view sqlstate_code,
                           std::string_view message, std::string_view detail = {}, std::string_view hint = {});

/// The same from a ProtocolError.
void append_error_response(std::string& out, std::string_view severity_name, const ProtocolError& error);

/// Appends a NoticeResponse ('N') with the same fields.
void append_notice_response(std::string& out, std::string_view severity_name, std::string_view sqlstate_code,
                            std::string_view message, std::string_view detail = {}, std::string_view hint = {});

/// Decodes the body (what follows the length) of an ErrorResponse or NoticeResponse. Safe on any bytes. Fields may be
/// missing, even all of them; unknown ones are skipped; of a repeated one the first counts. Nothing when the body is
/// not a list of zero-ended fields closed by a zero byte that is its last.
std::optional<ErrorFields> decode_error_fields(std::string_view body);

}  // namespace bezel::protocol
