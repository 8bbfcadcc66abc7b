#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "pool/host_address.h"

namespace bezel::pool {

/// What a source says that a member is.
enum class MemberRole : uint8_t {
  unknown,         ///< it does not tell: each server says it itself
  primary,         ///< it holds the leader lock; not yet writable, maybe
  standby_leader,  ///< the leader of a standby cluster: read-only
  replica,
};

/// One PostgreSQL server that a source knows of.
struct Member {
  std::string name;     ///< Patroni's, or the pod's; where there is none, the address
  HostAddress address;  ///< where it takes connections: an IP address, or a name that is looked up when dialled
  MemberRole role = MemberRole::unknown;
  std::string state = {};  ///< in the source's words ("running", "streaming", "stopping"); empty: it says none
  std::optional<uint32_t> timeline = {};
  std::optional<uint64_t> lag_bytes = {};  ///< of a replica; nothing: unknown
  bool takes_reads = true;                 ///< false: it is not to be used as a replica (noloadbalance, not running)
  bool operator==(const Member&) const = default;
};

/// A switchover that the source announces for later.
struct ScheduledSwitchover {
  int64_t at_wall_us = 0;  ///< since 1970
  std::string from, to;    ///< members' names; `to` may be empty: whichever
  bool operator==(const ScheduledSwitchover&) const = default;
};

/// All that a source knows at one moment.
struct Membership {
  std::vector<Member> members;
  bool paused = false;  ///< Patroni's maintenance mode: there is no automatic failover
  std::optional<ScheduledSwitchover> scheduled = {};
  bool operator==(const Membership&) const = default;
};

}  // namespace bezel::pool
