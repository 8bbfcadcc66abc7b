#pragma once

#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <unordered_map>
#include <vector>

#include "src/net/socket_address.h"

namespace bezel::net {

/// What is known of a host name: its addresses, or why there are none.
struct NameAnswer {
  std::vector<SocketAddress> addresses;  ///< ports are not set; empty: see error
  std::string error;
  bool is_final_failure = false;  ///< the name does not exist; else the failure may pass
};

/// Addresses of host names, shared by all loops of the process. Any thread may call it.
///
/// getaddrinfo(3) tells no time to live; the settings dns_max_ttl and dns_nxdomain_ttl stand for it, as in PgBouncer
/// where it is built without c-ares. When a lookup fails for a passing reason, the addresses known before go on being
/// used.
class NameCache {
 public:
  /// What is known and not yet too old; null: the name must be looked up.
  std::shared_ptr<const NameAnswer> find(const std::string& host, int64_t now_us);
  /// Takes in a lookup's answer and returns what to use from now on (an older one when this is a passing failure).
  std::shared_ptr<const NameAnswer> store(const std::string& host, NameAnswer answer, int64_t now_us,
                                          int64_t max_ttl_us, int64_t nxdomain_ttl_us);
  /// A number that grows with each call: where in a list of addresses the next connection begins.
  uint32_t next_turn(const std::string& host);
  /// Forgets everything.
  void clear();

 private:
  struct Entry {
    std::shared_ptr<const NameAnswer> answer;
    int64_t expires_at_us = 0;
    uint32_t turn = 0;
  };
  static constexpr size_t kEntriesMax = 1024;

  std::mutex mutex_;
  std::unordered_map<std::string, Entry> entries_;
};

}  // namespace bezel::net
