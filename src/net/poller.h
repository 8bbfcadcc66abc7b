#pragma once

#include <sys/epoll.h>

#include <array>
#include <cstdint>

#include "src/net/socket_options.h"

namespace bezel::net {

/// Throws std::runtime_error: the process has not got what an event loop needs. `error`: as errno.
[[noreturn]] void fail_to_make_loop(int error);

/// Which descriptors of one loop are ready: an epoll, level-triggered. Used by the loop's thread only.
///
/// libuv's uv_poll_t would do the same with four system calls more for each connection, and 160 bytes.
class Poller {
 public:
  /// Whoever has a descriptor in a poller.
  class Watcher {
   public:
    /// `events`: EPOLLIN, EPOLLOUT, EPOLLPRI as asked for; EPOLLERR and EPOLLHUP without being asked for.
    /// A watcher is told of the turn's readiness even when it has been removed since: it must know that, and live until
    /// wait() has returned.
    virtual void on_ready(uint32_t events) = 0;

   protected:
    ~Watcher() = default;
  };

  /// Throws std::runtime_error when the process has no descriptors left for it.
  Poller();
  Poller(const Poller&) = delete;
  Poller& operator=(const Poller&) = delete;

  /// These return 0 or errno. A descriptor that nothing else refers to is removed by being closed.
  int add(int descriptor, uint32_t events, Watcher& watcher);
  int modify(int descriptor, uint32_t events, Watcher& watcher);
  void remove(int descriptor);

  /// Waits until something is ready, for at most `timeout_ms` (-1: for ever), and tells the watchers.
  void wait(int timeout_ms);

 private:
  /// Those who are ready beyond this many come first in the next turn.
  static constexpr int kReadyMax = 1024;

  int control(int operation, int descriptor, uint32_t events, Watcher* watcher);

  Descriptor epoll_;
  std::array<epoll_event, kReadyMax> ready_{};
};

}  // namespace bezel::net
