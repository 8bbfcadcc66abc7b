#pragma once

#include <functional>
#include <memory>
#include <mutex>
#include <vector>

#include "src/net/socket_options.h"

namespace bezel::net {

/// What other threads have for one loop: tasks, work that is finished, and the wish that it stops. Whatever comes wakes
/// the loop. Threads may still hold it when the loop is gone.
///
/// libuv's uv_async_t and uv_queue_work() do the same, but a loop that is woken in the middle of uv_async_send() spins
/// until the sender goes on; on a busy machine it has to yield its core for that, and all its clients wait.
class Mailbox {
 public:
  using Task = std::function<void()>;
  /// `work` done by another thread; `done` is what the loop has to do about it.
  struct Offload {
    Task work, done;
  };
  struct Letters {
    std::vector<Task> tasks;
    std::vector<std::unique_ptr<Offload>> finished;
    bool stop = false;
  };

  /// Throws std::runtime_error when the process has no descriptors left for it.
  Mailbox();
  Mailbox(const Mailbox&) = delete;
  Mailbox& operator=(const Mailbox&) = delete;

  // Any thread.
  /// Dropped after close_to_tasks().
  void post(Task task);
  void finished(std::unique_ptr<Offload> offload);
  void request_stop();

  // The loop's thread.
  /// To be polled with EPOLLIN | EPOLLET: an event for each time something comes into the empty box. It need not be
  /// read.
  int descriptor() const { return event_.get(); }
  /// All that has come since the last call.
  Letters take();
  void close_to_tasks();

 private:
  /// Wakes the loop unless it has been woken already since take().
  void wake(std::unique_lock<std::mutex> lock);

  Descriptor event_;
  std::mutex mutex_;  ///< guards what follows
  Letters letters_;
  bool is_woken_ = false;
  bool takes_tasks_ = true;
};

}  // namespace bezel::net
