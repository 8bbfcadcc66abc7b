#include "protocol/digest.h"

#include <openssl/evp.h>

namespace bezel::protocol {

Digest::Digest(const char* name) : algorithm_(EVP_MD_fetch(nullptr, name, nullptr)), context_(EVP_MD_CTX_new()) {}

Digest::~Digest() {
  EVP_MD_CTX_free(context_);
  EVP_MD_free(algorithm_);
}

bool Digest::run(std::string_view text, unsigned char* result, size_t size) {
  if (algorithm_ == nullptr || context_ == nullptr || EVP_MD_get_size(algorithm_) != static_cast<int>(size)) {
    return false;
  }
  const bool ok = EVP_DigestInit_ex2(context_, algorithm_, nullptr) == 1 &&
                  EVP_DigestUpdate(context_, text.data(), text.size()) == 1 &&
                  EVP_DigestFinal_ex(context_, result, nullptr) == 1;
  // It would keep the result until its next use.
  EVP_DigestInit_ex2(context_, algorithm_, nullptr);
  return ok;
}

}  // namespace bezel::protocol
