#include "src/net/socket_address.h"

#include <arpa/inet.h>
#include <fmt/format.h>
#include <net/if.h>

#include <algorithm>
#include <cstring>

namespace bezel::net {

SocketAddress::SocketAddress(const sockaddr* address, socklen_t size) : size_(std::min(size, kSizeMax)) {
  std::memcpy(static_cast<void*>(&unix_), address, size_);
}

std::optional<SocketAddress> SocketAddress::from_literal(std::string_view text, uint16_t port) {
  std::string host(text);
  if (host.size() >= 2 && host.front() == '[' && host.back() == ']') host = host.substr(1, host.size() - 2);
  SocketAddress address;
  if (::inet_pton(AF_INET, host.c_str(), &address.v4_.sin_addr) == 1) {
    address.v4_.sin_family = AF_INET;
    address.size_ = sizeof(sockaddr_in);
    address.set_port(port);
    return address;
  }
  address.v6_ = sockaddr_in6{};
  const size_t percent = host.find('%');
  if (percent != std::string::npos) {
    address.v6_.sin6_scope_id = ::if_nametoindex(host.c_str() + percent + 1);
    if (address.v6_.sin6_scope_id == 0) return std::nullopt;
    host.resize(percent);
  }
  if (::inet_pton(AF_INET6, host.c_str(), &address.v6_.sin6_addr) != 1) return std::nullopt;
  address.v6_.sin6_family = AF_INET6;
  address.size_ = sizeof(sockaddr_in6);
  address.set_port(port);
  return address;
}

std::optional<SocketAddress> SocketAddress::from_socket_directory(std::string_view directory, uint16_t port) {
  const std::string path = fmt::format("{}/.s.PGSQL.{}", directory, port);
  SocketAddress address;
  if (path.size() >= sizeof address.unix_.sun_path) return std::nullopt;
  address.unix_ = sockaddr_un{};
  address.unix_.sun_family = AF_UNIX;
  std::memcpy(address.unix_.sun_path, path.data(), path.size());
  address.size_ = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + path.size() + 1);
  return address;
}

uint16_t SocketAddress::port() const {
  if (family() == AF_INET) return ntohs(v4_.sin_port);
  if (family() == AF_INET6) return ntohs(v6_.sin6_port);
  return 0;
}

void SocketAddress::set_port(uint16_t port) {
  if (family() == AF_INET) v4_.sin_port = htons(port);
  if (family() == AF_INET6) v6_.sin6_port = htons(port);
}

std::string SocketAddress::host_text() const {
  char text[INET6_ADDRSTRLEN] = "";
  if (family() == AF_INET) ::inet_ntop(AF_INET, &v4_.sin_addr, text, sizeof text);
  if (family() == AF_INET6) ::inet_ntop(AF_INET6, &v6_.sin6_addr, text, sizeof text);
  if (family() == AF_UNIX) return unix_.sun_path;
  return text;
}

std::string SocketAddress::text() const {
  if (is_unix()) return host_text();
  return family() == AF_INET6 ? fmt::format("[{}]:{}", host_text(), port()) : fmt::format("{}:{}", host_text(), port());
}

PeerAddress PeerAddress::of(const SocketAddress& address) {
  PeerAddress peer;
  peer.family = static_cast<uint16_t>(address.family());
  peer.port = address.port();
  if (address.family() == AF_INET) {
    std::memcpy(peer.bytes, &reinterpret_cast<const sockaddr_in*>(address.get())->sin_addr, 4);
  } else if (address.family() == AF_INET6) {
    std::memcpy(peer.bytes, &reinterpret_cast<const sockaddr_in6*>(address.get())->sin6_addr, 16);
  }
  return peer;
}

PeerAddress PeerAddress::of_unix(uint16_t port) {
  PeerAddress peer;
  peer.family = AF_UNIX;
  peer.port = port;
  return peer;
}

std::string PeerAddress::text() const {
  if (family == AF_UNIX) return "unix";
  char text[INET6_ADDRSTRLEN] = "";
  if (family == AF_INET || family == AF_INET6) ::inet_ntop(family, bytes, text, sizeof text);
  return text;
}

std::optional<pool::IpAddress> PeerAddress::ip() const {
  if (family != AF_INET && family != AF_INET6) return std::nullopt;
  pool::IpAddress address{.is_v6 = family == AF_INET6};
  std::copy(std::begin(bytes), std::end(bytes), address.bytes.begin());
  return address;
}

}  // namespace bezel::net
