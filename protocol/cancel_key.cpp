#include "protocol/cancel_key.h"

#include <algorithm>

#include "protocol/scram_hash.h"

namespace bezel::protocol {

std::string derive_cancel_secret(std::string_view process_secret, uint64_t connection_id, size_t bytes) {
  const ScramKey digest =
      scram_hmac(process_secret, {reinterpret_cast<const char*>(&connection_id), sizeof connection_id});
  return std::string(as_bytes(digest).substr(0, std::min(bytes, digest.size())));
}

}  // namespace bezel::protocol
