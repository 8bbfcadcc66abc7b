#pragma once

#include <cstdint>
#include <map>
#include <mutex>
#include <string>

#include "pool/fleet.h"
#include "pool/statistics.h"

namespace bezel::admin {

/// Averages over a stretch of time: events and bytes by second, times by event, as SHOW STATS has them.
struct Averages {
  uint64_t server_assignments = 0, transactions = 0, queries = 0, received_bytes = 0, sent_bytes = 0;  // by second
  uint64_t transaction_time_us = 0, query_time_us = 0;       ///< by transaction, by query
  uint64_t wait_time_us = 0;                                 ///< by server assignment
  uint64_t client_parses = 0, server_parses = 0, binds = 0;  // by second
};

/// The averages of what happened (`added`) in `duration_us`; all 0 when no time has passed.
Averages averages_of(const pool::Totals& added, int64_t duration_us);

/// Totals since start and averages of one database, or of all.
struct DatabaseStats {
  pool::Totals totals;
  Averages averages;
};

/// Keeps what the statistics were at the last two ticks, for averages. As in PgBouncer, what the console shows is the
/// average from the older of the two ticks to now, so that it never covers less than one period. Thread-safe.
class StatsSampler {
 public:
  /// `now_us` and all other times here are monotonic. The fleet is first used by the other methods.
  StatsSampler(pool::Fleet& fleet, int64_t now_us);

  /// A tick; to be called every stats_period.
  void sample(int64_t now_us);

  /// By database, users and workers summed.
  std::map<std::string, DatabaseStats> databases(int64_t now_us) const;
  /// Over all databases.
  DatabaseStats all(int64_t now_us) const;

  /// What happened between the last two ticks, for the log, in PgBouncer's words ("stats: 12 xacts/s, ...").
  std::string log_line() const;

 private:
  using Snapshot = std::map<std::string, pool::Totals>;
  Snapshot take() const;
  static pool::Totals sum(const Snapshot& snapshot);

  pool::Fleet& fleet_;
  mutable std::mutex mutex_;
  Snapshot older_, newer_;
  int64_t older_at_us_, newer_at_us_;
};

}  // namespace bezel::admin
