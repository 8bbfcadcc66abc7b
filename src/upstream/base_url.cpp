#include "src/upstream/base_url.h"

#include <algorithm>
#include <cctype>
#include <charconv>
#include <cstdint>

namespace bezel::upstream {

namespace {

constexpr size_t kHostBytesMax = 255;
constexpr size_t kUrlBytesMax = 512;

bool is_alphanumeric(char c) {
  return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

}  // namespace

std::optional<std::string> base_url_of(std::string_view url) {
  if (url.size() > kUrlBytesMax) return std::nullopt;
  const size_t after_scheme = url.find("://");
  if (after_scheme == std::string_view::npos) return std::nullopt;
  std::string scheme(url.substr(0, after_scheme));
  std::transform(scheme.begin(), scheme.end(), scheme.begin(), [](unsigned char c) { return std::tolower(c); });
  if (scheme != "http" && scheme != "https") return std::nullopt;
  const std::string_view rest = url.substr(after_scheme + 3);
  const std::string_view authority = rest.substr(0, rest.find_first_of("/?#"));

  const bool is_bracketed = authority.starts_with('[');
  const size_t host_end = is_bracketed ? authority.find(']') : authority.find(':');
  const std::string_view host = authority.substr(is_bracketed ? 1 : 0, host_end - (is_bracketed ? 1 : 0));
  if (is_bracketed && (host_end == std::string_view::npos || host.find(':') == std::string_view::npos)) {
    return std::nullopt;
  }
  if (!is_network_host(host)) return std::nullopt;
  std::string_view port;
  if (host_end != std::string_view::npos) port = authority.substr(is_bracketed ? host_end + 1 : host_end);
  if (!port.empty()) {
    uint16_t number = 0;
    const auto [end, error] = std::from_chars(port.data() + 1, port.data() + port.size(), number);
    if (port[0] != ':' || error != std::errc() || end != port.data() + port.size() || number == 0) return std::nullopt;
  }
  return scheme + "://" + std::string(authority);
}

bool is_network_host(std::string_view host) {
  return !host.empty() && host.size() <= kHostBytesMax && (is_alphanumeric(host[0]) || host[0] == ':') &&
         std::all_of(host.begin(), host.end(), [](char c) {
           return is_alphanumeric(c) || c == '.' || c == '-' || c == '_' || c == ':' || c == '%';
         });
}

}  // namespace bezel::upstream
