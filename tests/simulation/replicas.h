#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>

#include "pool/membership.h"
#include "pool/settings.h"

namespace bezel::simulation {

class World;

/// What max_replica_lag is wherever it is set.
constexpr int64_t kReplicaLagBytesMax = 1000;

/// Whether reads may go to the member by the source's word.
bool may_read_from(const pool::Member& member, int64_t lag_bytes_max);

/// What the source has told of replicas, and until when: a client who reads must be given none that is further behind
/// than its database allows, once all workers have heard of it.
class Replicas {
 public:
  explicit Replicas(World& world) : world_(world) {}

  /// The source tells something else.
  void told(const pool::Membership& membership);
  /// Whether some worker may still take the member for one that a database with that limit may read from.
  bool may_be_read(const std::string& name, int64_t lag_bytes_max) const;
  /// And whether it may by what was told last.
  bool is_told(const std::string& name, int64_t lag_bytes_max) const;

 private:
  const pool::Member* find(const std::string& name) const;

  World& world_;
  std::optional<pool::Membership> told_;
  /// By name and limit.
  std::map<std::pair<std::string, int64_t>, int64_t> readable_until_us_;
};

}  // namespace bezel::simulation
