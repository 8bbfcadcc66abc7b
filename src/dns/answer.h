#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "src/net/socket_address.h"

namespace bezel::dns {

/// One SRV record: where a service is.
struct Service {
  std::string target;  ///< a name, to be looked up in its turn
  uint16_t port = 0, priority = 0, weight = 0;
  bool operator==(const Service&) const = default;
};

/// What a lookup has come to.
struct Answer {
  enum class Failure : uint8_t {
    none,
    final,    ///< the name does not exist, or has nothing of what was asked for
    passing,  ///< nobody could say: time-outs, servers that fail or refuse, answers that make no sense
  };

  /// Of a lookup of addresses: ports are 0; IPv4 before IPv6, then by value; each once.
  std::vector<net::SocketAddress> addresses;
  /// Of a lookup of services: by priority, then the heavier first, then by name and port; each once.
  std::vector<Service> services;
  /// How long the answer may be kept: the least of its records' times to live.
  uint32_t ttl_s = kNoTtl;
  Failure failure = Failure::none;
  std::string error;  ///< for people; empty: it did not fail

  /// The answer has no time to live of its own (/etc/hosts).
  static constexpr uint32_t kNoTtl = UINT32_MAX;
  /// Each list is cut off there. An answer over TCP has room for thousands.
  static constexpr size_t kRecordsMax = 64;

  static Answer failed(Failure failure, std::string error) {
    Answer answer;
    answer.failure = failure;
    answer.error = std::move(error);
    return answer;
  }
};

}  // namespace bezel::dns
