#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "pool/membership.h"

// What Patroni says, as values. Versions 3 and 4. Any thread may call this; nothing throws.
namespace bezel::upstream {

/// Where a member's REST interface is.
struct PatroniApi {
  std::string member;
  std::string base_url;  ///< "http://10.0.0.1:8008"
  bool operator==(const PatroniApi&) const = default;
};

/// An answer to GET /cluster.
struct PatroniCluster {
  /// Without members whose address is not known yet.
  pool::Membership membership;
  std::vector<PatroniApi> apis;
  std::string scope;  ///< the cluster's name; empty: it says none (before 4.0)
};

/// At most that many members are believed.
inline constexpr size_t kMembersMax = 64;

/// Reads an answer to GET /cluster. Nothing if it is not one: then `problem` says why, without any of its text. A
/// member that holds the leader lock is primary or standby_leader, whatever its state is.
std::optional<PatroniCluster> parse_patroni_cluster(std::string_view body, std::string& problem);

/// A member in one of these states answers queries.
bool patroni_state_takes_reads(std::string_view state);

/// Microseconds since 1970 of "2026-11-22T19:30:00.5+01:00". Nothing if it is not of that form.
std::optional<int64_t> parse_patroni_time(std::string_view text);

}  // namespace bezel::upstream
