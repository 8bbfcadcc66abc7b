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
  std::vector<SocketAddress> addresses = {};  ///< ports are not set; empty: see error
  std::string error = {};
  bool is_final_failure = false;  ///< the name does not exist; else the failure may pass
  int64_t ttl_us = INT64_MAX;     ///< how long the addresses may be kept; INT64_MAX: nobody says
};

/// How long answers are kept: the settings dns_max_ttl and dns_nxdomain_ttl.
struct NameTtls {
  int64_t max_us = 0;       ///< of addresses, however long their own time to live
  int64_t nxdomain_us = 0;  ///< of a failure
};

/// Addresses of host names, shared by all loops of the process. Any thread may call it.
///
/// Addresses are kept for their time to live, within bounds. When a lookup fails for a passing reason, those known
/// before go on being used, for as long as that lasts.
class NameCache {
 public:
  /// However short a time to live is, a name is not looked up more often than this, unless dns_max_ttl is shorter.
  static constexpr int64_t kTtlUsMin = 1'000'000;

  /// One name of list().
  struct Listed {
    std::string host;
    int64_t ttl_us;  ///< until it is looked up again; 0: at its next use
    std::shared_ptr<const NameAnswer> answer;
  };

  /// What is known and not yet too old; null: the name must be looked up.
  std::shared_ptr<const NameAnswer> find(const std::string& host, int64_t now_us);
  /// The addresses that are known, however old; null: none are.
  std::shared_ptr<const NameAnswer> find_stale(const std::string& host);
  /// Takes in a lookup's answer and returns what to use from now on (an older one when this is a passing failure).
  std::shared_ptr<const NameAnswer> store(const std::string& host, NameAnswer answer, int64_t now_us,
                                          const NameTtls& ttls);
  /// A number that grows with each call: where in a list of addresses the next connection begins.
  uint32_t next_turn(const std::string& host);
  /// All that is known, by name.
  std::vector<Listed> list(int64_t now_us);
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
