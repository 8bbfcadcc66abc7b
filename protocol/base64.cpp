#include "protocol/base64.h"

#include <openssl/evp.h>

#include <algorithm>

namespace bezel::protocol {

namespace {

bool in_alphabet(char c) {
  return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '+' || c == '/';
}

// OpenSSL's functions count in int; nothing that is encoded here comes near this.
constexpr size_t kTextBytesMax = size_t{1} << 28;

}  // namespace

std::string base64_encode(std::string_view bytes) {
  if (bytes.size() > kTextBytesMax / 2) return {};
  std::string text((bytes.size() + 2) / 3 * 4 + 1, '\0');  // one more: EVP_EncodeBlock ends its output with a zero
  const int size =
      EVP_EncodeBlock(reinterpret_cast<unsigned char*>(text.data()),
                      reinterpret_cast<const unsigned char*>(bytes.data()), static_cast<int>(bytes.size()));
  text.resize(static_cast<size_t>(size));
  return text;
}

std::optional<std::string> base64_decode(std::string_view text) {
  if (text.empty()) return std::string();
  if (text.size() % 4 != 0 || text.size() > kTextBytesMax) return std::nullopt;
  size_t padding = 0;
  while (padding < 2 && text[text.size() - 1 - padding] == '=') ++padding;
  // EVP_DecodeBlock forgives white space and counts padding as zero bytes, hence the check before and the cut after.
  const std::string_view digits = text.substr(0, text.size() - padding);
  if (!std::all_of(digits.begin(), digits.end(), in_alphabet)) return std::nullopt;

  std::string bytes(text.size() / 4 * 3, '\0');
  const int size = EVP_DecodeBlock(reinterpret_cast<unsigned char*>(bytes.data()),
                                   reinterpret_cast<const unsigned char*>(text.data()), static_cast<int>(text.size()));
  if (size < 0 || static_cast<size_t>(size) != bytes.size()) return std::nullopt;
  bytes.resize(bytes.size() - padding);
  return bytes;
}

}  // namespace bezel::protocol
