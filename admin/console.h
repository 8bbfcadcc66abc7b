#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <vector>

#include "admin/program.h"
#include "admin/stats_sampler.h"
#include "pool/console.h"
#include "pool/fleet.h"

namespace bezel::admin {

/// The names under which clients reach the console. PgBouncer's comes first: it is the one that is listed.
inline constexpr std::string_view kConsoleDatabases[] = {"pgbouncer", "bezel"};
bool is_console_database(std::string_view name);

/// Monotonic microseconds.
using MonotonicClock = int64_t (*)();
inline int64_t steady_clock_us() {
  const auto now = std::chrono::steady_clock::now().time_since_epoch();
  return std::chrono::duration_cast<std::chrono::microseconds>(now).count();
}

/// The SQL console: PgBouncer's commands, over the simple and the extended protocol. docs/console.md says what each
/// command answers. The constructor does not use the fleet or the program yet; both must outlive the console, and the
/// console must outlive its sessions and every operation of the fleet that a session began.
class Console final : public pool::ConsoleFactory {
 public:
  Console(pool::Fleet& fleet, Program& program, MonotonicClock clock = steady_clock_us);
  ~Console() override;

  /// Any worker's thread.
  std::unique_ptr<pool::ConsoleSession> open(const std::string& user, pool::ConsoleRole role,
                                             pool::ConsoleClient& client) override;
  std::string greeting() const override;

  /// The averages behind SHOW STATS: sample() must be called every stats_period.
  StatsSampler& sampler() { return sampler_; }

  // For sessions and commands.
  pool::Fleet& fleet() { return fleet_; }
  Program& program() { return program_; }
  int64_t now_us() const { return clock_(); }
  /// The console's own "pool" on a worker: it is listed and counted as one. Called by that worker's thread.
  pool::PoolStatistics& statistics_of(int worker);
  /// How many sessions are open, on all workers.
  int sessions() const { return sessions_.load(); }
  void session_closed() { sessions_.fetch_sub(1); }

 private:
  pool::Fleet& fleet_;
  Program& program_;
  MonotonicClock clock_;
  StatsSampler sampler_;
  std::atomic<int> sessions_{0};
  std::mutex mutex_;
  std::vector<std::shared_ptr<pool::PoolStatistics>> statistics_;  ///< by worker
};

}  // namespace bezel::admin
