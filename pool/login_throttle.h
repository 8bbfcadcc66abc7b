#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <list>
#include <map>
#include <mutex>

#include "pool/ip_address.h"

namespace bezel::pool {

/// Slows down those who guess passwords: an address may fail `limit` times at once, and from then on once in a
/// minute / `limit`. Counts by address only, never by user, so that nobody can lock a user out from elsewhere. IPv6
/// addresses count by /64, as one customer has at least that many. Thread-safe; the caller brings the clock (any
/// monotonic one; small differences between threads do no harm).
class LoginThrottle {
 public:
  /// Beyond so many addresses the one whose last failure is longest ago is forgotten.
  static constexpr size_t kAddressesMax = 8192;
  static constexpr int64_t kPeriodUs = 60'000'000;
  static constexpr int kLimitMax = 1'000'000;

  /// Whether a login from that address may be checked. A limit of 0 is none. Changes nothing.
  bool allows(const IpAddress& address, int limit, int64_t now_us) const;
  /// A login from that address has failed.
  void failed(const IpAddress& address, int limit, int64_t now_us);
  size_t addresses() const;

 private:
  struct Entry {
    /// When its failures are forgotten: each puts this off by kPeriodUs / limit.
    int64_t clear_at_us = 0;
    std::list<IpAddress>::iterator age;
  };
  static IpAddress key_of(const IpAddress& address);

  mutable std::mutex mutex_;
  std::map<IpAddress, Entry> entries_;
  std::list<IpAddress> by_age_;  // the oldest failure first
};

}  // namespace bezel::pool
