#pragma once

#include <chrono>
#include <cstddef>
#include <functional>
#include <memory>
#include <string>

namespace bezel::login {

/// Runs work that may block for long and cannot be interrupted, on threads of its own: whoever waits for TLS handshakes
/// or derived keys, which libuv's few threads make, must not wait for a slow directory. Threads begin with the first
/// work, and there are never more than needed. Thread-safe.
class BlockingThreads {
 public:
  struct Job {
    std::function<void()> work;
    /// Follows work on the same thread, unless stop() was called meanwhile; must not block, nor call run() or stop().
    std::function<void()> done;
    /// Whether it need not begin any more. Must not block.
    std::function<bool()> is_unwanted;
  };

  /// `name`: of each thread, at most 15 bytes.
  BlockingThreads(std::string name, size_t threads_max, size_t waiting_max);
  BlockingThreads(const BlockingThreads&) = delete;
  BlockingThreads& operator=(const BlockingThreads&) = delete;
  ~BlockingThreads();

  /// Jobs begin in order. False, and nothing is done: `waiting_max` wanted ones wait already, or there is no thread to
  /// be had, or stop() was called.
  bool run(Job job);
  /// Drops what waits; from here on no `done` is called. Waits for work under way, but not longer than that. False:
  /// some of it goes on; then the process must end without running the destructors of anything that it may use.
  bool stop(std::chrono::milliseconds patience);

 private:
  struct State;
  static void serve(const std::shared_ptr<State>& state);

  /// Shared with the threads, which are detached: work that hangs must not keep the process from ending.
  std::shared_ptr<State> state_;
};

}  // namespace bezel::login
