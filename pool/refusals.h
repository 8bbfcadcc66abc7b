#pragma once

#include <algorithm>
#include <cstdint>
#include <string_view>
#include <vector>

#include "pool/host_address.h"

namespace bezel::pool {

/// Whether an error of that SQLSTATE at a login is about the server that refuses it, which may be full or in disorder,
/// and not about who logs in, which every server of a cluster would say.
bool is_refusal_of_one_server(std::string_view sqlstate);

/// The servers that have refused a pool's logins, and have let none in since. Each is left alone for a while if another
/// one will do.
class Refusals {
 public:
  struct Refusal {
    HostAddress host;
    int64_t until_us;
  };

  /// It has refused one, and is not to be asked before `until_us`.
  void add(const HostAddress& host, int64_t until_us) {
    remove(host);
    if (refusals_.size() == kRefusalsMax) refusals_.erase(refusals_.begin());
    refusals_.push_back({host, until_us});
  }
  /// It lets in again. Returns whether it was one of them.
  bool remove(const HostAddress& host) {
    return std::erase_if(refusals_, [&](const Refusal& refusal) { return refusal.host == host; }) > 0;
  }

  /// Whether it is one of them, also where it may be asked again.
  bool has(const HostAddress& host) const { return find(host) != refusals_.end(); }
  /// Whether it is not to be asked yet.
  bool bars(const HostAddress& host, int64_t now_us) const {
    const auto at = find(host);
    return at != refusals_.end() && now_us < at->until_us;
  }
  /// The one that may be asked first, or may be already; nullptr: there is none.
  const Refusal* next() const {
    const auto at = std::min_element(refusals_.begin(), refusals_.end(), [](const Refusal& one, const Refusal& other) {
      return one.until_us < other.until_us;
    });
    return at == refusals_.end() ? nullptr : &*at;
  }

  /// Names in DNS may come and go; the one that refused longest ago is forgotten.
  static constexpr size_t kRefusalsMax = 64;

 private:
  std::vector<Refusal>::const_iterator find(const HostAddress& host) const {
    return std::find_if(refusals_.begin(), refusals_.end(),
                        [&](const Refusal& refusal) { return refusal.host == host; });
  }

  std::vector<Refusal> refusals_;
};

}  // namespace bezel::pool
