#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <queue>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "pool/runtime.h"
#include "pool/worker.h"
#include "pool/worker_fleet.h"
#include "tests/simulation/cluster.h"
#include "tests/simulation/connection.h"
#include "tests/simulation/invariants.h"
#include "tests/simulation/random.h"
#include "tests/simulation/scenario.h"

namespace bezel::simulation {

class Backend;
class SimulatedClient;
class World;

/// What the workers take at most to hear of something: posting takes 3 ms, and more when one waits for another.
constexpr int64_t kHeardWithinUs = 10'000;

/// Between the simulation's clock and the one for people.
constexpr int64_t kWallClockOffsetUs = 1'700'000'000'000'000;

/// The outside world of one worker.
class SimulatedRuntime final : public pool::Runtime {
 public:
  SimulatedRuntime(World& world, int index) : world_(world), index_(index) {}
  int64_t now_us() const override;
  int64_t wall_clock_us() const override;
  pool::StreamPtr dial(const pool::HostAddress& address, const pool::Settings& settings,
                       pool::ByteStream::Events& events) override;
  pool::StreamPtr attach(std::unique_ptr<pool::DetachedStream> detached, pool::ByteStream::Events& events) override;
  void offload(std::function<void()> work, std::function<void()> done) override;
  void post(int index, std::function<void()> task) override;
  void find_system_user(uint32_t, std::function<void(std::string)> done) override {
    offload([] {}, [done = std::move(done)] { done(""); });
  }
  void random_bytes(void* to, size_t size) override;
  void log(pool::LogLevel level, std::string_view line) override;
  bool log_enabled(pool::LogLevel) const override { return true; }

 private:
  World& world_;
  int index_;
};

/// One run: the workers of a pooler, the servers behind it, the clients before it, and virtual time. All that is random
/// comes from the seed.
class World {
 public:
  World(uint64_t seed, bool verbose);
  /// One in which only happens what somebody else does to it, by connect(), pass() and others. The seed is for what the
  /// network does. Servers are whatever `dialled` makes of a connection; it may also close it.
  using Dialled = std::function<void(std::shared_ptr<Connection>)>;
  World(uint64_t seed, Scenario scenario, Dialled dialled);
  ~World();
  World(const World&) = delete;
  World& operator=(const World&) = delete;

  static constexpr int kNobody = -1;

  /// Runs to the end, or `steps_max` events far. True if nothing was found wrong.
  bool run(uint64_t steps_max);
  /// Lets so much time pass. True if nothing was found wrong.
  bool pass(int64_t time_us);
  /// After all clients have left, and some time. True if nothing was found wrong.
  bool check_end();
  const std::string& failure() const { return failure_; }
  uint64_t steps() const { return steps_; }
  /// The pooler's log and the simulation's own, the newest last.
  const std::deque<std::string>& log() const { return log_; }
  size_t checked_answers = 0, checked_messages = 0, cancels_hit = 0, logins = 0, lost_connections = 0, losses_seen = 0;

  // ---- For everything that is simulated ----

  Random& random() { return random_; }
  int64_t now_us() const { return now_us_; }
  const Scenario& scenario() const { return scenario_; }
  /// Runs `what` in a turn of that worker, or outside of all (kNobody).
  void after(int64_t delay_us, int worker, std::function<void()> what);
  void post(int worker, std::function<void()> task);
  int current_worker() const { return current_worker_; }
  /// Memory that is overwritten and freed when the turn ends.
  std::string_view keep_for_turn(std::string bytes);
  void mark_dirty(Stream& stream, int worker);
  pool::StreamPtr own_stream(std::shared_ptr<Connection> connection, int worker, pool::ByteStream::Events* events);
  void fail(std::string what);
  bool failed() const { return !failure_.empty(); }
  void note(std::string_view line);
  bool verbose() const { return verbose_; }

  // ---- The pooler ----

  pool::Shared& shared() { return shared_; }
  pool::WorkerFleet& fleet() { return *fleet_; }
  std::vector<std::unique_ptr<pool::Worker>>& workers() { return workers_; }
  /// Whether some workers have not heard yet that a database is paused no more.
  bool resume_under_way() const { return resumes_under_way_ > 0; }

  // ---- Servers and clients ----

  void dialled(std::shared_ptr<Connection> connection, const pool::HostAddress& address);
  Backend* backend_of(int32_t pid, std::string_view secret);
  std::vector<std::unique_ptr<Backend>>& backends() { return backends_; }
  /// Nullptr: the servers are no cluster.
  Cluster* cluster() { return cluster_.get(); }
  SimulatedClient* client(size_t index);
  std::vector<std::unique_ptr<SimulatedClient>>& clients() { return clients_; }
  /// A new connection of a client, at some worker.
  std::shared_ptr<Connection> connect();
  void executed(const std::string& id, Backend& backend);
  bool was_executed(const std::string& id) const { return executed_.contains(id); }
  /// What a server has executed in a transaction that died with it.
  void rolled_back(const std::vector<std::string>& ids) { rolled_back_.insert(ids.begin(), ids.end()); }
  bool was_rolled_back(const std::string& id) const { return rolled_back_.contains(id); }
  int next_pid() { return next_pid_++; }

 private:
  struct Event {
    int64_t at_us;
    uint64_t sequence;
    int worker;
    std::function<void()> what;
    bool operator<(const Event& other) const {
      return at_us != other.at_us ? at_us > other.at_us : sequence > other.sequence;
    }
  };
  struct WorkerState {
    std::vector<Stream*> dirty;
    std::vector<std::unique_ptr<Stream>> streams;
    int64_t wake_at_us = 0;
    int64_t last_post_us = 0;
  };

  World(uint64_t seed, bool verbose, std::optional<Scenario> scenario);
  void step();
  void begin_turn(int worker);
  void end_turn(int worker);
  void flush(int worker);
  void bury_streams(int worker);
  void arm_wake(int worker);
  bool all_clients_done() const;
  void wind_down();
  void plan();
  void plan_operations();
  void operate_randomly();
  void resume_later(pool::OperationRequest request);
  void reconnected(const std::string& database);
  void plan_faults();

  uint64_t seed_;
  bool verbose_;
  Random random_;
  Scenario scenario_;
  int64_t now_us_ = 1'000'000'000;
  uint64_t steps_ = 0, sequence_ = 0;
  std::priority_queue<Event> events_;
  int current_worker_ = kNobody;
  std::string failure_;
  std::deque<std::string> log_;

  std::deque<std::string> turn_memory_;
  std::vector<WorkerState> states_;
  pool::Shared shared_;
  std::vector<std::unique_ptr<SimulatedRuntime>> runtimes_;
  std::vector<std::unique_ptr<pool::Worker>> workers_;
  std::unique_ptr<pool::WorkerFleet> fleet_;
  std::unique_ptr<Cluster> cluster_;
  Invariants invariants_;
  Dialled dialled_;  // not set: to a Backend
  std::vector<std::unique_ptr<Backend>> backends_;
  std::vector<std::unique_ptr<SimulatedClient>> clients_;
  std::map<std::string, int> executed_;
  std::set<std::string> rolled_back_;
  int next_pid_ = 1000;
  int resumes_under_way_ = 0;
};

}  // namespace bezel::simulation
