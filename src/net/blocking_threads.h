#pragma once

#include <chrono>
#include <cstddef>
#include <functional>
#include <memory>
#include <string>

namespace bezel::net {

/// Runs work that takes long or blocks and cannot be interrupted, on threads of its own. Threads begin with the first
/// work, and there are never more than needed. Thread-safe.
class BlockingThreads {
 public:
  struct Job {
    std::function<void()> work;
    /// Follows work on the same thread, unless stop() was called meanwhile; must not block, nor call run() or stop().
    /// May be empty.
    std::function<void()> done;
    /// Whether it need not begin any more. Must not block. Empty: it must.
    std::function<bool()> is_unwanted;
  };

  struct Limits {
    size_t threads_max, waiting_max;
    /// How much the threads give way to others, as of nice(1).
    int nice = 0;
  };

  /// `name`: of each thread, at most 15 bytes.
  BlockingThreads(std::string name, const Limits& limits);
  BlockingThreads(const BlockingThreads&) = delete;
  BlockingThreads& operator=(const BlockingThreads&) = delete;
  ~BlockingThreads();

  /// Jobs begin in order. False, and nothing is done: `waiting_max` wanted ones wait already, or there is no thread to
  /// be had, or stop() was called.
  bool run(Job job);
  /// Drops what waits; from here on no `done` is called. Waits for work under way, but not longer than that. True: the
  /// threads have ended. False: some of it goes on; then the process must end without running the destructors of
  /// anything that it may use.
  bool stop(std::chrono::milliseconds patience);

 private:
  struct State;
  static void serve(const std::shared_ptr<State>& state);

  /// Shared with the threads, which outlive this if their work hangs: it must not keep the process from ending.
  std::shared_ptr<State> state_;
};

}  // namespace bezel::net
