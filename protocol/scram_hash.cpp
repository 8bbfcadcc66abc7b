#include "protocol/scram_hash.h"

#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/params.h>

#include <stdexcept>

#include "protocol/digest.h"

namespace bezel::protocol {

namespace {

/// A thread's own HMAC-SHA-256, made once: OpenSSL 3 looks its algorithms up by name each time, which takes longer than
/// a hash of a login's few bytes.
class Hmac {
 public:
  Hmac() {
    EVP_MAC* const algorithm = EVP_MAC_fetch(nullptr, OSSL_MAC_NAME_HMAC, nullptr);
    context_ = algorithm != nullptr ? EVP_MAC_CTX_new(algorithm) : nullptr;
    EVP_MAC_free(algorithm);
    char digest[] = "SHA256";
    const OSSL_PARAM parameters[] = {OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, digest, 0),
                                     OSSL_PARAM_construct_end()};
    if (context_ == nullptr || EVP_MAC_CTX_set_params(context_, parameters) != 1) {
      EVP_MAC_CTX_free(context_);
      throw std::runtime_error("HMAC-SHA-256 is not available");
    }
  }
  Hmac(const Hmac&) = delete;
  Hmac& operator=(const Hmac&) = delete;
  ~Hmac() { EVP_MAC_CTX_free(context_); }

  bool run(std::string_view key, std::string_view text, ScramKey& result) {
    size_t size = 0;
    return begin(key) &&
           EVP_MAC_update(context_, reinterpret_cast<const unsigned char*>(text.data()), text.size()) == 1 &&
           EVP_MAC_final(context_, result.data(), &size, result.size()) == 1 && size == result.size();
  }

  /// With another key, nothing is left of the one before and of what it was made into.
  bool begin(std::string_view key) {
    // A null key means "the key of before" to OpenSSL, which an empty view must not say.
    const char* const data = key.empty() ? "" : key.data();
    return EVP_MAC_init(context_, reinterpret_cast<const unsigned char*>(data), key.size(), nullptr) == 1;
  }

 private:
  EVP_MAC_CTX* context_ = nullptr;
};

}  // namespace

ScramKey scram_hmac(std::string_view key, std::string_view text) {
  thread_local Hmac hmac;
  ScramKey result;
  if (!hmac.run(key, text, result)) throw std::runtime_error("HMAC-SHA-256 failed");
  hmac.begin({});
  return result;
}

ScramKey scram_h(const ScramKey& key) {
  thread_local Digest sha256("SHA256");
  ScramKey result;
  if (!sha256.run(as_bytes(key), result.data(), result.size())) throw std::runtime_error("SHA-256 failed");
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
