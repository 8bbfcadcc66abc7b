#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace bezel::protocol {

/// The secret of a client's cancel key: `bytes` (at most 32) bytes that nobody without `process_secret` can tell from
/// random ones, always the same for the same connection. HMAC-SHA-256.
std::string derive_cancel_secret(std::string_view process_secret, uint64_t connection_id, size_t bytes);

}  // namespace bezel::protocol
