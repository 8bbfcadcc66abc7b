#include "protocol/cancel_key.h"

#include <openssl/evp.h>
#include <openssl/hmac.h>

#include <algorithm>

namespace bezel::protocol {

std::string derive_cancel_secret(std::string_view process_secret, uint64_t connection_id, size_t bytes) {
  unsigned char digest[EVP_MAX_MD_SIZE];
  unsigned int size = 0;
  HMAC(EVP_sha256(), process_secret.data(), static_cast<int>(process_secret.size()),
       reinterpret_cast<const unsigned char*>(&connection_id), sizeof connection_id, digest, &size);
  return {reinterpret_cast<const char*>(digest), std::min<size_t>(bytes, size)};
}

}  // namespace bezel::protocol
