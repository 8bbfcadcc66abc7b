#pragma once

#include <string>
#include <string_view>

#include "protocol/frames.h"

// Bytes of the protocol as lines of text, so that seeds can be read and written, and pieces of them mixed.
namespace bezel::fuzz {

/// The bytes that a line stands for: `\0`, `\n`, `\\` and `\xhh` are one byte each; `\(TEXT\)` is TEXT behind its
/// length as Int32; everything else is itself.
std::string bytes_of(std::string_view line);

/// The message that a line stands for: its type, then its body. The length is the right one. Empty for an empty line.
std::string message_of(std::string_view line);

/// What stands behind a message's type and length. REQUIRES: it has both.
inline std::string_view body_of(std::string_view message) {
  return message.substr(protocol::kFrameHeaderBytes);
}

}  // namespace bezel::fuzz
