#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace bezel::protocol {

/// Base64 of RFC 4648 section 4, with padding, without line breaks.
std::string base64_encode(std::string_view bytes);

/// The bytes; nothing when `text` has a character outside the alphabet (white space too), wrong padding, or a length
/// that is no multiple of four. The empty text is no bytes.
std::optional<std::string> base64_decode(std::string_view text);

}  // namespace bezel::protocol
