#include "pool/login_throttle.h"

#include <algorithm>

namespace bezel::pool {

namespace {

constexpr int kSitePrefixBits = 64;

}  // namespace

IpAddress LoginThrottle::key_of(const IpAddress& address) {
  return address.is_v6 ? address.prefix(kSitePrefixBits) : address;
}

bool LoginThrottle::allows(const IpAddress& address, int limit, int64_t now_us) const {
  if (limit <= 0) return true;
  const int64_t cost_us = kPeriodUs / limit;
  const std::lock_guard lock(mutex_);
  const auto found = entries_.find(key_of(address));
  // One more failure must fit: `limit` of them at once, each for its share of the period.
  return found == entries_.end() || found->second.clear_at_us - now_us <= (limit - 1) * cost_us;
}

void LoginThrottle::failed(const IpAddress& address, int limit, int64_t now_us) {
  if (limit <= 0) return;
  const int64_t cost_us = kPeriodUs / limit;
  const IpAddress key = key_of(address);
  const std::lock_guard lock(mutex_);
  const auto [found, is_new] = entries_.try_emplace(key);
  Entry& entry = found->second;
  if (is_new) {
    entry.age = by_age_.insert(by_age_.end(), key);
  } else {
    by_age_.splice(by_age_.end(), by_age_, entry.age);
  }
  // Failures that were under way at the same time do not add up to more than a full period.
  entry.clear_at_us = std::min(std::max(entry.clear_at_us, now_us) + cost_us, now_us + limit * cost_us);
  if (entries_.size() <= kAddressesMax) return;
  entries_.erase(by_age_.front());
  by_age_.pop_front();
}

size_t LoginThrottle::addresses() const {
  const std::lock_guard lock(mutex_);
  return entries_.size();
}

}  // namespace bezel::pool
