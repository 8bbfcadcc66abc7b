#pragma once

#include <algorithm>
#include <string_view>

namespace bezel::config {

constexpr std::string_view kPamServiceExpected = "the name of a PAM service (lower-case letters, digits, - and _)";

/// Whether it is the name of a PAM service: of a file in /etc/pam.d, and nowhere else.
inline bool is_pam_service(std::string_view name) {
  constexpr size_t kBytesMax = 64;
  return !name.empty() && name.size() <= kBytesMax && std::all_of(name.begin(), name.end(), [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '_';
  });
}

}  // namespace bezel::config
