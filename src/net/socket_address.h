#pragma once

#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "pool/ip_address.h"

namespace bezel::net {

/// An address as the kernel takes it: IPv4, IPv6, or the path of a Unix socket.
class SocketAddress {
 public:
  SocketAddress() = default;
  /// Copies an address that the kernel or the resolver filled in.
  SocketAddress(const sockaddr* address, socklen_t size);

  /// An IPv4 or IPv6 address in figures (brackets and a %scope are allowed); nothing else, no names.
  static std::optional<SocketAddress> from_literal(std::string_view text, uint16_t port);
  /// The Unix socket `<directory>/.s.PGSQL.<port>`. Nothing when the path is too long for the kernel.
  static std::optional<SocketAddress> from_socket_directory(std::string_view directory, uint16_t port);

  const sockaddr* get() const { return &any_; }
  sockaddr* get() { return &any_; }
  socklen_t size() const { return size_; }
  /// Says how much of get() was filled in.
  void set_size(socklen_t size) { size_ = size; }
  static constexpr socklen_t kSizeMax = sizeof(sockaddr_un);

  int family() const { return any_.sa_family; }
  bool is_unix() const { return any_.sa_family == AF_UNIX; }
  uint16_t port() const;
  void set_port(uint16_t port);
  /// The address without its port: "192.0.2.1", "2001:db8::1", or the path.
  std::string host_text() const;
  /// For people: "192.0.2.1:5432", "[2001:db8::1]:5432", or the path.
  std::string text() const;

 private:
  union {
    sockaddr any_{};
    sockaddr_in v4_;
    sockaddr_in6 v6_;
    sockaddr_un unix_;
  };
  socklen_t size_ = 0;
};

/// Who is at the other end, in the few bytes that every connection can afford.
struct PeerAddress {
  uint8_t bytes[16] = {};
  uint16_t port = 0;  ///< for a Unix socket the port of its name
  uint16_t family = AF_UNSPEC;

  static PeerAddress of(const SocketAddress& address);
  static PeerAddress of_unix(uint16_t port);
  /// "unix" for a Unix socket, as PgBouncer shows it.
  std::string text() const;
  /// Nothing for a Unix socket.
  std::optional<pool::IpAddress> ip() const;
};

}  // namespace bezel::net
