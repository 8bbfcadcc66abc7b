#pragma once

#include <cstdint>
#include <string_view>

namespace bezel::tls {

/// How far a client's first message of a handshake has come.
enum class HelloProgress : uint8_t { incomplete, whole, invalid };

/// No client's is nearly as long, with key shares, tickets and all.
inline constexpr size_t kHelloBytesMax = 16384;

/// Looks at what a client has sent so far, from its first byte on. As soon as it has bytes, OpenSSL takes 45 KB for a
/// connection; so those that send a little of a ClientHello, and then nothing, wait without one. What is in the message
/// is OpenSSL's business.
HelloProgress look_at_hello(std::string_view received);

}  // namespace bezel::tls
