#pragma once

#include <uv.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "src/net/acceptor.h"
#include "src/net/blocking_threads.h"
#include "src/net/connection.h"
#include "src/net/deadline.h"
#include "src/net/loop_client.h"
#include "src/net/loop_runtime.h"
#include "src/net/mailbox.h"
#include "src/net/poller.h"
#include "src/net/resolver.h"
#include "src/net/submitter.h"
#include "src/net/turn_memory.h"

namespace bezel::net {

/// The event loop of one worker, by turns (see LoopClient): a turn destroys what is gone, waits, receives from all that
/// is ready, and ends with failures, timers, the flush and the client's end of turn.
///
/// Sockets and the mailbox are in a poller. So is a libuv loop, for look-ups of names.
/// Used by its own thread only, but for post() and request_stop().
class EventLoop {
 public:
  /// Throws std::runtime_error when the process has no descriptors left for it.
  /// `threads`: for offloaded work.
  EventLoop(const Log& log, NameCache& names, BlockingThreads& threads);
  EventLoop(const EventLoop&) = delete;
  EventLoop& operator=(const EventLoop&) = delete;
  ~EventLoop();

  void set_client(LoopClient& client) { client_ = &client; }
  /// "" or why sends are not batched though `wanted` says so; sending works all the same.
  std::string start_sending(pool::BatchedSends wanted);
  void run();
  void request_stop() { mailbox_->request_stop(); }
  void post(std::function<void()> task) { mailbox_->post(std::move(task)); }

  int64_t now_us() const { return now_us_; }
  pool::StreamPtr dial(const pool::HostAddress& address, const pool::Settings& settings,
                       pool::ByteStream::Events& events);
  pool::StreamPtr attach(DetachedDescriptor& detached, pool::ByteStream::Events& events);
  /// A connection that was just accepted, here or by another worker.
  void adopt(int descriptor, const PeerAddress& peer);
  void offload(std::function<void()> work, std::function<void()> done);
  std::vector<std::unique_ptr<Acceptor>>& acceptors() { return acceptors_; }
  size_t connection_count() const { return connections_.size(); }
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
  Poller& poller() { return poller_; }
  const Log& log() const { return log_; }
  Resolver& resolver() { return resolver_; }
  DeadlineQueue& deadlines() { return deadlines_; }
  /// Each event and each callback from libuv begins with this: the clock is read by the first of a turn, and by few
  /// others.
  void enter_callback() {
    if (callbacks_++ % kCallbacksPerClock == 0) read_clock();
  }

 private:
  friend class Connection;
  friend class Dial;
  /// Something in the poller that is no connection.
  struct Part final : Poller::Watcher {
    EventLoop& loop;
    void (EventLoop::*const run)();
    Part(EventLoop& its_loop, void (EventLoop::*its_run)()) : loop(its_loop), run(its_run) {}
    void on_ready(uint32_t) override { (loop.*run)(); }
  };
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

  void poll_part(int descriptor, uint32_t events, Part& part);
  void turn();
  /// How long libuv would wait: -1 for ever, 0 not at all.
  int uv_wait_ms();
  /// How long the loop may wait, libuv put aside.
  int64_t wait_us() const;
  void run_uv();
  void finish_turn();
  void end_turn();
  void flush();
  void flush_round();
  void take_dirty();
  void gather_sends();
  void tell_failures();
  void bury_the_dead();
  void read_mail();
  void begin_stop();
  void close_everything();
  void await_offloads();

  uv_loop_t uv_;
  Poller poller_;
  Part uv_part_{*this, &EventLoop::run_uv};
  Part mail_part_{*this, &EventLoop::read_mail};
  const std::shared_ptr<Mailbox> mailbox_ = std::make_shared<Mailbox>();
  BlockingThreads& threads_;
  const Log& log_;
  LoopClient* client_ = nullptr;
  std::unique_ptr<Submitter> submitter_;
  Resolver resolver_;
  DeadlineQueue deadlines_;
  std::vector<std::unique_ptr<Acceptor>> acceptors_;

  int64_t now_us_ = 0;
  int64_t linger_us_ = 5'000'000;
  uint32_t callbacks_ = 0;
  pool::BatchedSends batched_sends_ = pool::BatchedSends::off;
  bool stopping_ = false;
  bool stopped_ = false;
  bool closed_ = false;
  bool abandoned_ = false;
  int64_t stop_until_us_ = 0;
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
  pool::IntrusiveList<Connection, &Connection::in_loop_> connections_;
  std::vector<Connection*> failures_;
  std::vector<Connection*> graveyard_;
};

}  // namespace bezel::net
