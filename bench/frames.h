#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace bezel::bench {

// The benchmark's own reading of PostgreSQL's protocol 3.0 (PostgreSQL documentation, "Frontend/Backend Protocol").
// It shares no code with the pooler under test, so that an error there cannot hide itself here.

/// One typed message; `body` is what follows the length word and is valid until the reader's next append().
struct Frame {
  char type = 0;
  std::string_view body;
};

/// Cuts a byte stream into messages. Keeps what is incomplete, never more than one message of `kBodyBytesMax`
/// beyond what was appended last.
class FrameReader {
 public:
  static constexpr std::size_t kBodyBytesMax = std::size_t{1} << 20;

  /// Adds what was received; earlier views become invalid.
  void append(std::string_view bytes);

  /// The next typed message, if it is complete.
  std::optional<Frame> next();

  /// The next message without a type byte (startup, SSLRequest, ...): its body starts with the protocol's code.
  std::optional<std::string_view> next_startup();

  /// Whether a message declared a length outside the bounds; the stream cannot be read any further.
  bool broken() const { return broken_; }

  /// Whether a part of a message waits for the rest.
  bool has_partial() const { return offset_ < buffer_.size(); }

 private:
  std::optional<std::string_view> take(std::size_t type_bytes);

  std::string buffer_;
  std::size_t offset_ = 0;
  bool broken_ = false;
};

/// Big-endian numbers; `bytes` must hold at least four.
uint32_t read_be32(std::string_view bytes);
void append_be16(std::string& out, uint16_t value);
void append_be32(std::string& out, uint32_t value);

/// Appends a C string with its closing zero.
void append_text(std::string& out, std::string_view text);

/// Appends a message of `type` with this body.
void append_frame(std::string& out, char type, std::string_view body);

/// Takes a zero-terminated string off the front of `body`; nullopt when there is none.
std::optional<std::string_view> take_text(std::string_view& body);

/// A protocol 3.0 StartupMessage.
std::string startup_message(std::string_view user, std::string_view database, std::string_view application_name);

inline constexpr uint32_t kProtocol3 = 3U << 16;
inline constexpr uint32_t kSslRequest = 80877103;
inline constexpr uint32_t kGssRequest = 80877104;
inline constexpr uint32_t kCancelRequest = 80877102;

}  // namespace bezel::bench
