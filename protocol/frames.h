#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string_view>

namespace bezel::protocol {

/// Bytes in front of the body of every message but a connection's first packet: the type and the length.
inline constexpr size_t kFrameHeaderBytes = 5;

/// A message's header (documentation, "Message Formats"). `declared` counts itself but not the type byte.
struct FrameHeader {
  char type;
  uint32_t declared;

  /// A length below 4 is malformed; whoever decodes a header must check it before anything else.
  bool length_valid(uint32_t declared_max) const { return declared >= 4 && declared <= declared_max; }
  uint32_t body_bytes() const { return declared - 4; }
  uint64_t frame_bytes() const { return uint64_t{declared} + 1; }
};

/// Reads a header. REQUIRES: kFrameHeaderBytes bytes at `at`.
inline FrameHeader read_frame_header(const char* at) {
  uint32_t raw;
  std::memcpy(&raw, at + 1, sizeof raw);
  return {*at, __builtin_bswap32(raw)};
}

}  // namespace bezel::protocol
