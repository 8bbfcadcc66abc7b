#include "protocol/scram_hash.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/sha.h>

#include <stdexcept>

namespace bezel::protocol {

ScramKey scram_hmac(std::string_view key, std::string_view text) {
  ScramKey result;
  unsigned int size = 0;
  // A null key means "the key of before" to OpenSSL, which an empty view must not say.
  const char* key_data = key.empty() ? "" : key.data();
  const unsigned char* done =
      HMAC(EVP_sha256(), key_data, static_cast<int>(key.size()), reinterpret_cast<const unsigned char*>(text.data()),
           text.size(), result.data(), &size);
  if (done == nullptr || size != result.size()) throw std::runtime_error("HMAC-SHA-256 failed");
  return result;
}

ScramKey scram_h(const ScramKey& key) {
  ScramKey result;
  if (SHA256(key.data(), key.size(), result.data()) == nullptr) throw std::runtime_error("SHA-256 failed");
  return result;
}

ScramKey scram_xor(const ScramKey& a, const ScramKey& b) {
  ScramKey result;
  for (size_t i = 0; i < result.size(); ++i) result[i] = static_cast<unsigned char>(a[i] ^ b[i]);
  return result;
}

bool scram_equal(const ScramKey& a, const ScramKey& b) {
  return CRYPTO_memcmp(a.data(), b.data(), a.size()) == 0;
}

}  // namespace bezel::protocol
