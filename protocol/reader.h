#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>

namespace bezel::protocol {

/// A bounds-checked cursor over the bytes of one message. Every read either succeeds and moves the cursor, or answers
/// nothing and leaves it where it was, so hostile lengths cannot lead outside the message. Integers are in network
/// byte order (PostgreSQL documentation, "Message Data Types"). Views point into the bytes given to the constructor.
class Reader {
 public:
  explicit Reader(std::string_view bytes) : bytes_(bytes) {}

  /// Bytes not read yet.
  size_t remaining() const { return bytes_.size(); }
  bool at_end() const { return bytes_.empty(); }

  std::optional<uint8_t> u8() {
    if (bytes_.empty()) return std::nullopt;
    const uint8_t value = byte_at(0);
    bytes_.remove_prefix(1);
    return value;
  }

  std::optional<uint16_t> u16() {
    if (bytes_.size() < 2) return std::nullopt;
    const auto value = static_cast<uint16_t>((byte_at(0) << 8) | byte_at(1));
    bytes_.remove_prefix(2);
    return value;
  }

  std::optional<int16_t> i16() {
    const auto value = u16();
    if (!value) return std::nullopt;
    return static_cast<int16_t>(*value);
  }

  std::optional<uint32_t> u32() {
    if (bytes_.size() < 4) return std::nullopt;
    const uint32_t value = (uint32_t{byte_at(0)} << 24) | (uint32_t{byte_at(1)} << 16) | (uint32_t{byte_at(2)} << 8) |
                           uint32_t{byte_at(3)};
    bytes_.remove_prefix(4);
    return value;
  }

  std::optional<int32_t> i32() {
    const auto value = u32();
    if (!value) return std::nullopt;
    return static_cast<int32_t>(*value);
  }

  /// A string ended by a zero byte; the view is without it. Nothing when no zero byte is left.
  std::optional<std::string_view> cstring() {
    const size_t end = bytes_.find('\0');
    if (end == std::string_view::npos) return std::nullopt;
    const std::string_view value = bytes_.substr(0, end);
    bytes_.remove_prefix(end + 1);
    return value;
  }

  std::optional<std::string_view> bytes(size_t count) {
    if (bytes_.size() < count) return std::nullopt;
    const std::string_view value = bytes_.substr(0, count);
    bytes_.remove_prefix(count);
    return value;
  }

  /// All that is left.
  std::string_view rest() {
    const std::string_view value = bytes_;
    bytes_.remove_prefix(bytes_.size());
    return value;
  }

 private:
  uint8_t byte_at(size_t index) const { return static_cast<uint8_t>(bytes_[index]); }

  std::string_view bytes_;
};

}  // namespace bezel::protocol
