#pragma once

#include <atomic>
#include <functional>
#include <mutex>
#include <string>
#include <vector>

#include "pool/fleet.h"
#include "pool/worker.h"

namespace bezel::pool {

/// The workers of this process as one. Keeps them informed by posting tasks to them; never waits for one.
class WorkerFleet final : public Fleet {
 public:
  /// `shared` and the workers named in it outlive the fleet's use. `settings` as they are at start.
  WorkerFleet(Shared& shared, SettingsPtr settings);

  SettingsPtr settings() const override;
  StatisticsRegistry& statistics() override { return shared_.statistics; }
  std::vector<DatabaseState> database_states() override;
  std::vector<UserState> user_states() override;
  void list_connections(int caller, bool servers, std::function<void(std::vector<ConnectionRow>)> done) override;
  void operate(int caller, OperationRequest request, std::function<void(std::string error)> done) override;
  std::string state() const override;
  std::vector<UpstreamRow> upstreams() const override;

  /// Gives all workers new settings. Any thread.
  void apply_settings(SettingsPtr settings);
  /// Carries out an operation for nobody who waits: for signals. Any thread.
  void operate_for_nobody(OperationRequest request);
  /// Runs `task` on each worker's thread. Any thread.
  void on_each_worker(std::function<void(Worker&)> task);

 private:
  std::string change_flags(const OperationRequest& request);
  void send_operation(const OperationRequest& request, std::function<void(std::string)> done);
  void post(int worker, std::function<void()> task);

  Shared& shared_;
  mutable std::mutex mutex_;
  SettingsPtr settings_;
  std::atomic<bool> suspended_{false};
};

}  // namespace bezel::pool
