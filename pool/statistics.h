#pragma once

#include <atomic>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "pool/settings.h"

namespace bezel::pool {

/// A number that one worker changes and any thread may read. A plain load and store: there is one writer.
class Counter {
 public:
  void add(uint64_t n) { value_.store(value_.load(std::memory_order_relaxed) + n, std::memory_order_relaxed); }
  void sub(uint64_t n) { value_.store(value_.load(std::memory_order_relaxed) - n, std::memory_order_relaxed); }
  void set(uint64_t n) { value_.store(n, std::memory_order_relaxed); }
  uint64_t get() const { return value_.load(std::memory_order_relaxed); }

 private:
  std::atomic<uint64_t> value_{0};
};

/// What one pool (database, user) on one worker has done since start, and where its connections stand now.
/// Written by that worker, read by the console and the metrics without stopping it.
struct PoolStatistics {
  // Fixed at birth.
  std::string database, user;
  int worker = 0;

  // Since start. Bytes are those from clients (received) and to clients (sent).
  Counter server_assignments, transactions, queries, received_bytes, sent_bytes;
  Counter transaction_time_us, query_time_us, wait_time_us;
  Counter client_parses, server_parses, binds;
  Counter server_logins, server_login_failures, client_waits, client_wait_timeouts;
  /// Servers that were lost while a client had them; what became of those clients, where it was something.
  Counter servers_lost, replayed, failed_transactions, in_doubt;

  // Now, in PgBouncer's terms (SHOW POOLS).
  Counter cl_active, cl_waiting, cl_active_cancel_req, cl_waiting_cancel_req;
  Counter sv_active, sv_active_cancel, sv_being_canceled, sv_idle, sv_used, sv_tested, sv_login;
  /// Monotonic time (CLOCK_MONOTONIC) since when the oldest waiting client waits; 0: nobody waits.
  Counter oldest_wait_since_us;
  /// The effective mode (PoolMode as a number).
  Counter pool_mode;
};

/// The "since start" part of PoolStatistics as plain numbers, to be summed and compared.
struct Totals {
  uint64_t server_assignments = 0, transactions = 0, queries = 0, received_bytes = 0, sent_bytes = 0;
  uint64_t transaction_time_us = 0, query_time_us = 0, wait_time_us = 0;
  uint64_t client_parses = 0, server_parses = 0, binds = 0;
  uint64_t server_logins = 0, server_login_failures = 0, client_waits = 0, client_wait_timeouts = 0;
  uint64_t servers_lost = 0, replayed = 0, failed_transactions = 0, in_doubt = 0;

  Totals& operator+=(const Totals& other);
  /// What has come on top of `earlier`; 0 where a number is lower than it was.
  Totals since(const Totals& earlier) const;
  bool operator==(const Totals&) const = default;
};

Totals totals_of(const PoolStatistics& pool);

/// Counters of one worker that belong to no pool.
struct WorkerStatistics {
  Counter clients, login_clients, accepted_clients, rejected_clients, failed_logins, throttled_logins, cancel_requests;
  Counter turns;
  /// auth_query: questions that were put, and failed, on this worker; logins here that a cached secret served, and
  /// those among them for which it was outdated, as no server could be asked.
  Counter auth_queries, auth_query_failures, auth_cache_hits, auth_stale_answers;
};

/// All the statistics of the process. Any thread may call these.
class StatisticsRegistry {
 public:
  /// (database, user).
  using PoolName = std::pair<std::string, std::string>;

  /// How many ended (database, user) pairs keep sums of their own. With "*" a client may name any number of databases,
  /// so further pairs share the sums of kOthers.
  static constexpr size_t kRetiredMax = 1000;
  static constexpr const char* kOthers = "(others)";

  explicit StatisticsRegistry(int workers) {
    for (int i = 0; i < workers; i++) workers_.push_back(std::make_unique<WorkerStatistics>());
  }
  std::shared_ptr<PoolStatistics> add_pool(const std::string& database, const std::string& user, int worker);
  /// Takes a pool that has ended off the list; its totals go on in the database's and user's sums. The pool's counters
  /// must not change any more. A pool that is not on the list is ignored.
  void remove_pool(const std::shared_ptr<PoolStatistics>& pool);
  std::vector<std::shared_ptr<PoolStatistics>> pools() const;
  /// The sums over all workers, ended pools included.
  std::map<PoolName, Totals> totals() const;
  WorkerStatistics& worker(int index) { return *workers_[static_cast<size_t>(index)]; }
  int workers() const { return static_cast<int>(workers_.size()); }

 private:
  mutable std::mutex mutex_;
  std::vector<std::shared_ptr<PoolStatistics>> pools_;
  std::map<PoolName, Totals> retired_;
  std::vector<std::unique_ptr<WorkerStatistics>> workers_;
};

}  // namespace bezel::pool
