#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "protocol/error_response.h"

namespace bezel::protocol {

/// The most bytes a first packet may declare after its length word, as PostgreSQL has it (MAX_STARTUP_PACKET_LENGTH).
inline constexpr size_t kStartupPacketBytesMax = 10000;
/// The same with the length word: a buffer of this size holds any first packet that is not refused.
inline constexpr size_t kFirstPacketBytesMax = kStartupPacketBytesMax + 4;

/// Request codes that stand where a startup packet has its protocol version.
inline constexpr uint32_t kCancelRequestCode = 80877102;
inline constexpr uint32_t kSslRequestCode = 80877103;
inline constexpr uint32_t kGssencRequestCode = 80877104;

/// A cancel key's secret: 4 bytes in protocol 3.0, up to 256 in 3.2.
inline constexpr size_t kCancelSecretBytesMin = 4;
inline constexpr size_t kCancelSecretBytesMax = 256;

/// The newest minor version of protocol 3 spoken here (PostgreSQL 18's).
inline constexpr uint16_t kProtocolMinorMax = 2;

/// Startup parameters in the order they were sent.
using Parameters = std::vector<std::pair<std::string, std::string>>;

/// A StartupMessage of protocol 3.x.
struct StartupPacket {
  uint16_t protocol_major = 3;
  uint16_t protocol_minor = 0;
  std::string user;             ///< never empty
  std::string database;         ///< the user's name when the client gave none or an empty one
  Parameters parameters;        ///< all but the `_pq_.` ones, in order, repeated ones too (the last counts)
  Parameters protocol_options;  ///< those whose name begins with `_pq_.`, in order
};

/// Whom a CancelRequest is for. The secret points into the bytes that were decoded.
struct CancelRequest {
  int32_t process_id = 0;
  std::string_view secret;
};

/// What the first bytes of a connection are.
struct FirstPacketResult {
  enum class Kind { need_more, ssl_request, gssenc_request, cancel_request, startup, error };

  Kind kind = Kind::need_more;
  size_t bytes_needed = 0;    ///< need_more: how many bytes must be there before it makes sense to ask again
  size_t bytes_consumed = 0;  ///< the packet's size for all kinds but need_more and error; further bytes may follow it
  CancelRequest cancel;       ///< cancel_request
  StartupPacket startup;      ///< startup
  ProtocolError error;        ///< error: as PostgreSQL words it, to be sent as FATAL (or only logged), then close
};

/// Decodes the first packet of a connection (and the one after a refused SSLRequest) from all bytes received so far.
/// Pure; call it again with more bytes after need_more. Nothing is allocated before the declared length is checked,
/// and bytes_needed never exceeds kFirstPacketBytesMax. A length or version that cannot be served is refused as soon as
/// it is seen. Source: documentation, "Message Formats"; PostgreSQL's own wording of the errors.
FirstPacketResult decode_first_packet(std::string_view buffered);

/// The settings named by an `options` startup parameter, or why it is refused.
struct StartupOptionsResult {
  Parameters options;  ///< in order; a setting named twice is there once, with its last value
  std::optional<ProtocolError> error;
};

/// Reads an `options` startup parameter as PostgreSQL splits it: arguments separated by white space, a backslash takes
/// the next byte literally. Accepted: `-c name=value`, `-cname=value`, `--name=value`; dashes in a name become
/// underscores. Every other argument is an error (42601), so that none is dropped silently.
StartupOptionsResult parse_startup_options(std::string_view options);

/// Appends a StartupMessage for protocol 3.`minor`. REQUIRES: no name in `parameters` is empty (it would end the list).
void append_startup_message(std::string& out, uint16_t minor,
                            std::span<const std::pair<std::string, std::string>> parameters);

/// Appends a CancelRequest. REQUIRES: the secret has kCancelSecretBytesMin..kCancelSecretBytesMax bytes.
void append_cancel_request(std::string& out, int32_t process_id, std::string_view secret);

void append_ssl_request(std::string& out);

/// What is answered to the version and the protocol options that a client asked for.
struct Negotiation {
  uint16_t minor_to_speak = 0;           ///< 0 or 2; 3.1 is reserved and never spoken
  bool needs_message = false;            ///< whether one NegotiateProtocolVersion goes out, before authentication
  std::vector<std::string> unsupported;  ///< the `_pq_.` options to list in it
};

/// PostgreSQL 18's rule: the message is due when the minor version asked for is above kProtocolMinorMax or any `_pq_.`
/// option was given (none is known yet). A client that asks for 3.1 gets 3.0's behaviour, without a message of its own.
Negotiation negotiate(const StartupPacket& packet);

/// A NegotiateProtocolVersion as a server sends it. The views point into the decoded body.
struct NegotiateProtocolVersion {
  uint16_t newest_minor = 0;
  std::vector<std::string_view> unsupported;
};

/// Appends NegotiateProtocolVersion ('v'). PostgreSQL and libpq put the whole version (3.newest_minor) where the
/// documentation says "newest minor protocol version"; so does this.
void append_negotiate_protocol_version(std::string& out, uint16_t newest_minor,
                                       std::span<const std::string> unsupported);

/// Decodes its body; nothing when it is malformed or of another major version. A bare minor number, as the
/// documentation's wording suggests, is understood too. Safe on any bytes: memory used is bounded by the body's size.
std::optional<NegotiateProtocolVersion> decode_negotiate_protocol_version(std::string_view body);

/// Checks a server's answer against what was asked (`requested_minor`, no `_pq_.` options), as libpq does. Nothing when
/// it is acceptable, else what is wrong with it.
std::optional<std::string> negotiation_fault(uint16_t requested_minor, const NegotiateProtocolVersion& answer);

}  // namespace bezel::protocol
