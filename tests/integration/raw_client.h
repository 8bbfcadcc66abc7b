#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace bezel::integration {

/// A message: its type and body.
struct Frame {
  char type = 0;
  std::string body;
  bool operator==(const Frame&) const = default;
};

/// A frame for people: an error's severity, SQLSTATE and message, else the type and the body with its bytes printable.
std::string readable(const Frame& frame);
std::string readable(const std::vector<Frame>& frames);

/// The fields of an error or notice.
std::string sqlstate_of(const Frame& frame);
std::string message_of(const Frame& frame);

using Parameters = std::vector<std::pair<std::string, std::string>>;

/// A connection that sends whatever bytes a test likes, and reads frames. Blocking, with kPatience as the limit.
class RawClient {
 public:
  RawClient(const std::string& address, uint16_t port);
  /// Takes a connected descriptor.
  explicit RawClient(int fd) : fd_(fd) {}
  ~RawClient();
  RawClient(RawClient&& other) noexcept
      : fd_(std::exchange(other.fd_, -1)), input_(std::move(other.input_)), key_(std::move(other.key_)) {}
  RawClient(const RawClient&) = delete;
  RawClient& operator=(const RawClient&) = delete;

  /// Sends all of it; false if the peer has closed the connection.
  bool send(std::string_view bytes);
  bool send_bytewise(std::string_view bytes);
  /// The next message; nothing at the end of the stream. Throws when neither comes.
  std::optional<Frame> read_frame();
  /// Messages up to and including the first of that type, or up to the end of the stream.
  std::vector<Frame> read_until(char type);
  std::vector<Frame> read_to_end() { return read_until('\0'); }
  /// One byte, e.g. the answer to an SSLRequest; nothing at the end of the stream.
  std::optional<char> read_byte();
  /// Whether anything comes within that time (a message, or the end).
  bool readable_within(std::chrono::milliseconds time);

  /// Sends a startup packet and goes through the login, by whatever method the server asks for. The frames after
  /// the authentication, up to ReadyForQuery, or those that end with the refusal.
  std::vector<Frame> log_in(const std::string& user, const std::string& password, const std::string& database,
                            uint16_t minor = 0, Parameters further = {});
  /// The same when the startup packet was sent already.
  std::vector<Frame> authenticate(const std::string& password, const std::string& user);
  /// The BackendKeyData of the login: process id (4 bytes) and secret, as they came.
  const std::string& cancel_key() const { return key_; }

  void shut_down_sending();
  /// Closes with a reset rather than an orderly end.
  void reset();
  void close();
  int fd() const { return fd_; }

 private:
  bool fill();

  int fd_ = -1;
  std::string input_;
  std::string key_;
};

/// The packet of a startup message whose length word is right.
std::string startup_packet(const std::string& user, const std::string& database, uint16_t minor = 0,
                           const Parameters& further = {});
/// Four bytes in network order.
std::string int32_bytes(uint32_t value);
/// A message of that type around a body.
std::string frame_bytes(char type, std::string_view body);

}  // namespace bezel::integration
