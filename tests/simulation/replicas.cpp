#include "tests/simulation/replicas.h"

#include <algorithm>

#include "tests/simulation/world.h"

namespace bezel::simulation {

bool may_read_from(const pool::Member& member, int64_t lag_bytes_max) {
  if (!member.takes_reads || member.role == pool::MemberRole::primary) return false;
  if (lag_bytes_max == 0) return true;
  return member.lag_bytes && *member.lag_bytes <= static_cast<uint64_t>(lag_bytes_max);
}

void Replicas::told(const pool::Membership& membership) {
  if (told_) {
    for (const pool::Member& member : told_->members) {
      for (const int64_t limit : {int64_t{0}, kReplicaLagBytesMax}) {
        if (may_read_from(member, limit)) readable_until_us_[{member.name, limit}] = world_.now_us();
      }
    }
  }
  told_ = membership;
}

const pool::Member* Replicas::find(const std::string& name) const {
  if (!told_) return nullptr;
  const auto at = std::find_if(told_->members.begin(), told_->members.end(),
                               [&](const pool::Member& member) { return member.name == name; });
  return at == told_->members.end() ? nullptr : &*at;
}

bool Replicas::is_told(const std::string& name, int64_t lag_bytes_max) const {
  const pool::Member* member = find(name);
  return member != nullptr && may_read_from(*member, lag_bytes_max);
}

bool Replicas::may_be_read(const std::string& name, int64_t lag_bytes_max) const {
  if (is_told(name, lag_bytes_max)) return true;
  const auto until = readable_until_us_.find({name, lag_bytes_max});
  return until != readable_until_us_.end() && world_.now_us() <= until->second + kHeardWithinUs;
}

}  // namespace bezel::simulation
