#pragma once

#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "src/net/listen_sockets.h"
#include "src/net/loop_runtime.h"

namespace bezel::net {

/// The workers' threads: one event loop each, named "bezel-worker-0" and so on.
///
/// Make it, give each runtime() its client, start(), and at the end stop(). All by one thread that is no worker.
class WorkerThreads {
 public:
  /// Throws std::runtime_error when the process has no descriptors left for so many.
  WorkerThreads(int workers, Log log);
  WorkerThreads(const WorkerThreads&) = delete;
  WorkerThreads& operator=(const WorkerThreads&) = delete;
  ~WorkerThreads();

  int size() const { return static_cast<int>(runtimes_.size()); }
  LoopRuntime& runtime(int index) { return *runtimes_[static_cast<size_t>(index)]; }
  /// What all loops know of host names. Any thread may use it.
  NameCache& names() { return group_.names; }

  /// Starts all threads, which accept from `sockets` (null: none) as soon as they run. REQUIRES: every runtime has its
  /// client; `sockets` outlives stop(). Returns "" or why not; then nothing runs.
  std::string start(pool::BatchedSends sends, const ListenSockets* sockets);
  /// Asks all loops to stop and waits for them. Bounded by LoopRuntime::kStopDrainUs and by what offloaded work takes.
  void stop();

 private:
  LoopGroup group_;
  std::vector<std::unique_ptr<LoopRuntime>> runtimes_;
  std::vector<std::thread> threads_;
};

}  // namespace bezel::net
