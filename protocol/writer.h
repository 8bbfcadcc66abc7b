#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace bezel::protocol {

/// The longest message PostgreSQL's length word can declare (it counts itself, not the type byte).
inline constexpr size_t kMessageLengthMax = 0x7fffffff;

/// Appends one message to a string: the type byte, a place for the length, then the fields in call order; finish()
/// fills in the length. What `out` held before stays. Every message builder of this folder goes through here, so that
/// two rules hold everywhere: a zero byte inside a text ends that text there (no text can grow into further fields),
/// and a message that would not fit its length word is never emitted.
class MessageWriter {
 public:
  /// A message with a type byte.
  MessageWriter(std::string& out, char type) : out_(out), start_(out.size()), length_at_(out.size() + 1) {
    out_.push_back(type);
    out_.append(4, '\0');
  }

  /// A packet without one: the first of a connection.
  explicit MessageWriter(std::string& out) : out_(out), start_(out.size()), length_at_(out.size()) {
    out_.append(4, '\0');
  }

  MessageWriter(const MessageWriter&) = delete;
  MessageWriter& operator=(const MessageWriter&) = delete;

  MessageWriter& byte(char value) {
    out_.push_back(value);
    return *this;
  }
  MessageWriter& i16(int16_t value) { return u16(static_cast<uint16_t>(value)); }
  MessageWriter& u16(uint16_t value);
  MessageWriter& i32(int32_t value) { return u32(static_cast<uint32_t>(value)); }
  MessageWriter& u32(uint32_t value);
  MessageWriter& cstring(std::string_view text);
  MessageWriter& bytes(std::string_view raw) {
    out_.append(raw);
    return *this;
  }
  /// The number of elements that follow, as Int16. Throws std::length_error above 65535 and takes the message back.
  MessageWriter& count16(size_t count);
  /// A length as Int32, then the bytes.
  MessageWriter& sized_bytes(std::string_view raw);

  /// Writes the length. Throws std::length_error when it is above kMessageLengthMax, with `out` as it was before.
  void finish();

 private:
  [[noreturn]] void fail_too_long();

  std::string& out_;
  size_t start_;
  size_t length_at_;
};

}  // namespace bezel::protocol
