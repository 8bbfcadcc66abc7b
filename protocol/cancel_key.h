#pragma once

#include <openssl/types.h>

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace bezel::protocol {

/// Makes the secrets of clients' cancel keys, so that none has to be kept. For one thread at a time.
class CancelSecrets {
 public:
  /// Throws std::runtime_error when OpenSSL does not offer AES.
  explicit CancelSecrets(std::string_view process_secret);
  CancelSecrets(const CancelSecrets&) = delete;
  CancelSecrets& operator=(const CancelSecrets&) = delete;
  ~CancelSecrets();

  /// `bytes` (at most 32) bytes that nobody without the process's secret can tell from random ones, always the same for
  /// the same connection and secret.
  std::string of(uint64_t connection_id, size_t bytes);

 private:
  EVP_CIPHER_CTX* context_;
};

}  // namespace bezel::protocol
