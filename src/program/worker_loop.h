#pragma once

#include "pool/worker.h"
#include "protocol/sqlstate.h"
#include "src/net/loop_client.h"
#include "src/net/loop_runtime.h"

namespace bezel::program {

/// Joins a worker of the pool with the event loop that it runs on.
class WorkerLoop final : public net::LoopClient {
 public:
  WorkerLoop(int index, net::LoopRuntime& runtime, pool::Shared& shared, pool::SettingsPtr settings)
      : worker_(index, runtime, shared, std::move(settings)) {
    runtime.set_client(*this);
  }

  pool::Worker& worker() { return worker_; }

  pool::ByteStream::Events* accepted(pool::StreamPtr stream) override { return worker_.accept(std::move(stream)); }
  void run_timers() override { worker_.run_timers(); }
  int64_t next_timer_us() const override { return worker_.next_timer_us(); }
  void end_of_turn() override { worker_.end_turn(); }
  void stopping() override {
    worker_.close_everything({protocol::sqlstate::kAdminShutdown, "the pooler is shutting down", "", ""});
  }

 private:
  pool::Worker worker_;
};

}  // namespace bezel::program
