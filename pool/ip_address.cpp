#include "pool/ip_address.h"

#include <arpa/inet.h>

#include <algorithm>

namespace bezel::pool {

std::optional<IpAddress> IpAddress::parse(std::string_view text) {
  std::array<char, INET6_ADDRSTRLEN> terminated{};
  if (text.size() >= terminated.size() || text.find('\0') != std::string_view::npos) return std::nullopt;
  std::copy(text.begin(), text.end(), terminated.begin());
  IpAddress address;
  if (::inet_pton(AF_INET, terminated.data(), address.bytes.data()) == 1) return address;
  address = {.is_v6 = true, .bytes = {}};
  if (::inet_pton(AF_INET6, terminated.data(), address.bytes.data()) == 1) return address;
  return std::nullopt;
}

IpAddress IpAddress::prefix(int bits) const {
  IpAddress result = *this;
  for (size_t i = 0; i < result.bytes.size(); i++) {
    const int kept = std::clamp(bits - static_cast<int>(i) * 8, 0, 8);
    result.bytes[i] &= static_cast<uint8_t>(0xff00 >> kept);
  }
  return result;
}

IpNetwork IpNetwork::of_prefix(const IpAddress& address, int bits) {
  IpNetwork network{address, {.is_v6 = address.is_v6, .bytes = {}}};
  network.mask.bytes.fill(0xff);
  network.mask = network.mask.prefix(bits);
  return network;
}

bool IpNetwork::contains(const IpAddress& other) const {
  if (other.is_v6 != address.is_v6) return false;
  const size_t count = other.is_v6 ? 16 : 4;
  for (size_t i = 0; i < count; i++) {
    if (((other.bytes[i] ^ address.bytes[i]) & mask.bytes[i]) != 0) return false;
  }
  return true;
}

}  // namespace bezel::pool
