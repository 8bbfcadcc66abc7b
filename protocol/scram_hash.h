#pragma once

#include <optional>
#include <string_view>

#include "protocol/scram.h"

/// The functions of RFC 5802 section 2.2, shared by scram.cpp and scram_keys.cpp.
namespace bezel::protocol {

inline std::string_view as_bytes(const ScramKey& key) {
  return {reinterpret_cast<const char*>(key.data()), key.size()};
}

/// HMAC-SHA-256. Throws std::runtime_error when OpenSSL cannot (out of memory): no key may be left half made.
ScramKey scram_hmac(std::string_view key, std::string_view text);
inline ScramKey scram_hmac(const ScramKey& key, std::string_view text) {
  return scram_hmac(as_bytes(key), text);
}

/// SHA-256 of a key. Throws as scram_hmac().
ScramKey scram_h(const ScramKey& key);

ScramKey scram_xor(const ScramKey& a, const ScramKey& b);

/// In constant time.
bool scram_equal(const ScramKey& a, const ScramKey& b);

/// A decimal number from 1 to 2^31-1, digits only.
std::optional<int> parse_scram_iterations(std::string_view text);

}  // namespace bezel::protocol
