#include "src/net/name_cache.h"

#include <utility>

namespace bezel::net {

std::shared_ptr<const NameAnswer> NameCache::find(const std::string& host, int64_t now_us) {
  const std::lock_guard lock(mutex_);
  const auto found = entries_.find(host);
  if (found == entries_.end() || now_us >= found->second.expires_at_us) return nullptr;
  return found->second.answer;
}

std::shared_ptr<const NameAnswer> NameCache::store(const std::string& host, NameAnswer answer, int64_t now_us,
                                                   int64_t max_ttl_us, int64_t nxdomain_ttl_us) {
  const std::lock_guard lock(mutex_);
  if (entries_.size() >= kEntriesMax && !entries_.contains(host)) entries_.clear();
  Entry& entry = entries_[host];
  const bool failed = answer.addresses.empty();
  entry.expires_at_us = now_us + (failed ? nxdomain_ttl_us : max_ttl_us);
  const bool older_is_better =
      failed && !answer.is_final_failure && entry.answer != nullptr && !entry.answer->addresses.empty();
  if (!older_is_better) entry.answer = std::make_shared<const NameAnswer>(std::move(answer));
  return entry.answer;
}

uint32_t NameCache::next_turn(const std::string& host) {
  const std::lock_guard lock(mutex_);
  const auto found = entries_.find(host);
  return found == entries_.end() ? 0 : found->second.turn++;
}

void NameCache::clear() {
  const std::lock_guard lock(mutex_);
  entries_.clear();
}

}  // namespace bezel::net
