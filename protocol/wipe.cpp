#include "protocol/wipe.h"

#include <openssl/crypto.h>

#include <algorithm>

namespace bezel::protocol {

void wipe(std::string& text) {
  OPENSSL_cleanse(text.data(), text.size());
  text.clear();
}

void append_wiping(std::string& text, std::string_view more) {
  if (text.capacity() - text.size() < more.size()) {
    std::string moved;
    moved.reserve(std::max(text.size() + more.size(), text.capacity() * 2));
    moved = text;
    wipe(text);
    text.swap(moved);
  }
  text.append(more);
}

SharedPassword share_password(std::string_view password) {
  return SharedPassword(new std::string(password), [](std::string* text) {
    wipe(*text);
    delete text;
  });
}

}  // namespace bezel::protocol
