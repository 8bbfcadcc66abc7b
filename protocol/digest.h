#pragma once

#include <openssl/types.h>

#include <cstddef>
#include <string_view>

namespace bezel::protocol {

/// A hash function of OpenSSL's, looked up once: OpenSSL 3 otherwise looks it up by name each time, which takes longer
/// than a hash of a login's few bytes. For one thread at a time.
class Digest {
 public:
  explicit Digest(const char* name);
  Digest(const Digest&) = delete;
  Digest& operator=(const Digest&) = delete;
  ~Digest();

  /// False: it is not offered (MD5, under FIPS), or its result has not `size` bytes. Keeps nothing of the text.
  bool run(std::string_view text, unsigned char* result, size_t size);

 private:
  EVP_MD* algorithm_;
  EVP_MD_CTX* context_;
};

}  // namespace bezel::protocol
