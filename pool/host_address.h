#pragma once

#include <cstdint>
#include <string>

namespace bezel::pool {

/// One place where a PostgreSQL server may be reached. A host that begins with '/' is a directory of Unix sockets.
struct HostAddress {
  std::string host;
  uint16_t port = 5432;
  bool operator==(const HostAddress&) const = default;
  auto operator<=>(const HostAddress&) const = default;
};

}  // namespace bezel::pool
