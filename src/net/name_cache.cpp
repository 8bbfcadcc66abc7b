#include "src/net/name_cache.h"

#include <algorithm>
#include <utility>

namespace bezel::net {

std::shared_ptr<const NameAnswer> NameCache::find(const std::string& host, int64_t now_us) {
  const std::lock_guard lock(mutex_);
  const auto found = entries_.find(host);
  if (found == entries_.end() || now_us >= found->second.expires_at_us) return nullptr;
  return found->second.answer;
}

std::shared_ptr<const NameAnswer> NameCache::find_stale(const std::string& host) {
  const std::lock_guard lock(mutex_);
  const auto found = entries_.find(host);
  if (found == entries_.end() || found->second.answer->addresses.empty()) return nullptr;
  return found->second.answer;
}

std::shared_ptr<const NameAnswer> NameCache::store(const std::string& host, NameAnswer answer, int64_t now_us,
                                                   const NameTtls& ttls) {
  const std::lock_guard lock(mutex_);
  if (entries_.size() >= kEntriesMax && !entries_.contains(host)) entries_.clear();
  Entry& entry = entries_[host];
  const bool failed = answer.addresses.empty();
  const bool older_is_better =
      failed && !answer.is_final_failure && entry.answer != nullptr && !entry.answer->addresses.empty();
  if (older_is_better) {
    // Another loop may have had more luck meanwhile: its answer stays as fresh as it is.
    if (now_us >= entry.expires_at_us) entry.expires_at_us = now_us + ttls.nxdomain_us;
    return entry.answer;
  }
  entry.expires_at_us =
      now_us + (failed ? ttls.nxdomain_us : std::min(std::max(answer.ttl_us, kTtlUsMin), ttls.max_us));
  entry.answer = std::make_shared<const NameAnswer>(std::move(answer));
  return entry.answer;
}

uint32_t NameCache::next_turn(const std::string& host) {
  const std::lock_guard lock(mutex_);
  const auto found = entries_.find(host);
  return found == entries_.end() ? 0 : found->second.turn++;
}

std::vector<NameCache::Listed> NameCache::list(int64_t now_us) {
  std::vector<Listed> all;
  {
    const std::lock_guard lock(mutex_);
    for (const auto& [host, entry] : entries_) {
      all.push_back({host, std::max<int64_t>(0, entry.expires_at_us - now_us), entry.answer});
    }
  }
  std::sort(all.begin(), all.end(), [](const Listed& a, const Listed& b) { return a.host < b.host; });
  return all;
}

void NameCache::clear() {
  const std::lock_guard lock(mutex_);
  entries_.clear();
}

}  // namespace bezel::net
