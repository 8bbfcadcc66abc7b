#pragma once

#include <uv.h>

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "src/net/acceptor.h"
#include "src/net/connection.h"
#include "src/net/deadline.h"
#include "src/net/loop_client.h"
#include "src/net/loop_runtime.h"
#include "src/net/resolver.h"
#include "src/net/submitter.h"
#include "src/net/turn_memory.h"

namespace bezel::net {

/// The event loop of one worker: libuv for readiness, everything else by turns (see LoopClient).
///
/// In libuv's order: timers (only wake up), idle (keeps awake while work is left over), prepare (arms the timer,
/// destroys what is gone), poll (all receiving and all tasks), check (failures, timers, flush, end of turn), closing.
/// Used by its own thread only, but for post() and request_stop().
class EventLoop {
 public:
  /// Throws std::runtime_error when the process has no descriptors left for it.
  EventLoop(const Log& log, NameCache& names);
  EventLoop(const EventLoop&) = delete;
  EventLoop& operator=(const EventLoop&) = delete;
  ~EventLoop();

  void set_client(LoopClient& client) { client_ = &client; }
  /// "" or why sends are not batched though `wanted` says so; sending works all the same.
  std::string start_sending(pool::BatchedSends wanted);
  void run();
  void request_stop();
  void post(std::function<void()> task);

  int64_t now_us() const { return now_us_; }
  pool::StreamPtr dial(const pool::HostAddress& address, const pool::Settings& settings,
                       pool::ByteStream::Events& events);
  pool::StreamPtr attach(DetachedDescriptor& detached, pool::ByteStream::Events& events);
  /// A connection that was just accepted, here or by another worker.
  void adopt(int descriptor, const PeerAddress& peer);
  void offload(std::function<void()> work, std::function<void()> done);
  std::vector<std::unique_ptr<Acceptor>>& acceptors() { return acceptors_; }
  size_t connection_count() const { return connections_; }
  /// How sends are batched now; never `automatic`.
  pool::BatchedSends batched_sends() const { return batched_sends_; }
  const LoopFigures& figures() const { return figures_; }
  /// How long a released stream may take to send what was written, and its peer to close. 5 s unless set.
  void set_linger_us(int64_t linger_us) { linger_us_ = linger_us; }
  /// After run(): something still refers to this loop (a stream that was not released), so that it must never be
  /// destroyed.
  bool is_abandoned() const { return abandoned_; }

  // For the parts of this layer.
  uv_loop_t* uv() { return &uv_; }
  const Log& log() const { return log_; }
  Resolver& resolver() { return resolver_; }
  DeadlineQueue& deadlines() { return deadlines_; }
  /// Each callback from libuv begins with this: the clock is read by the first of a turn, and by few others.
  void enter_callback() {
    if (callbacks_++ % kCallbacksPerClock == 0) read_clock();
  }

 private:
  friend class Connection;
  friend class Dial;
  struct Offload;
  /// Connections to flush, in the order of their first write.
  struct DirtyList {
    Connection* first = nullptr;
    Connection* last = nullptr;
    void push(Connection& connection);
  };

  static constexpr uint32_t kCallbacksPerClock = 128;
  static constexpr int kFlushRoundsMax = 8;
  static constexpr size_t kLingeringMax = 1024;

  void read_clock();
  /// Ends the turn early when the arena is used up. Any connection may be gone afterwards.
  void make_room() {
    if (arena_.is_full()) end_turn();
  }
  void mark_dirty(Connection& connection);
  bool has_dirty() const { return dirty_dialled_.first != nullptr || dirty_accepted_.first != nullptr; }
  void tell_failure_later(Connection& connection);
  void bury(Connection& connection) { graveyard_.push_back(&connection); }

  void prepare();
  void check();
  void end_turn();
  void flush();
  void flush_round();
  void take_dirty();
  void gather_sends();
  void tell_failures();
  void bury_the_dead();
  void arm_timer();
  void run_tasks();
  void begin_stop();
  void close_everything();
  void finish_requests();

  uv_loop_t uv_;
  uv_prepare_t prepare_;
  uv_check_t check_;
  uv_idle_t idle_;
  uv_timer_t timer_;
  uv_async_t async_;
  const Log& log_;
  LoopClient* client_ = nullptr;
  std::unique_ptr<Submitter> submitter_;
  Resolver resolver_;
  DeadlineQueue deadlines_;
  std::vector<std::unique_ptr<Acceptor>> acceptors_;

  int64_t now_us_ = 0;
  int64_t linger_us_ = 5'000'000;
  int64_t timer_at_us_ = 0;
  uint32_t callbacks_ = 0;
  bool timer_armed_ = false;
  bool idle_armed_ = false;
  pool::BatchedSends batched_sends_ = pool::BatchedSends::off;
  bool stopping_ = false;
  bool closed_ = false;
  bool abandoned_ = false;
  int64_t stop_until_us_ = 0;
  size_t connections_ = 0;
  size_t lingering_ = 0;
  size_t offloads_ = 0;
  LoopFigures figures_;

  ReceiveArena arena_;
  CopyArena copies_;
  SliceLists slices_;
  // Those we dialled (servers) leave first: they begin to work at once, and the answers to an application that has many
  // connections then leave one right after the other, so that it is woken once and not once for each.
  DirtyList dirty_dialled_;
  DirtyList dirty_accepted_;
  // Scratch of a flush; their memory is kept.
  std::vector<Connection*> round_;
  std::vector<Send> sends_;
  std::vector<iovec> pieces_;
  std::vector<Connection*> failures_;
  std::vector<Connection*> graveyard_;

  std::mutex mutex_;  ///< guards what follows
  std::vector<std::function<void()>> tasks_;
  bool stop_requested_ = false;
  bool is_open_ = true;  ///< async_ may be used
};

}  // namespace bezel::net
