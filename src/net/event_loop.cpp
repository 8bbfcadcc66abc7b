#include "src/net/event_loop.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cassert>
#include <limits>
#include <utility>

#include "src/net/aio_submitter.h"
#include "src/net/dial.h"
#include "src/net/plain_submitter.h"
#include "src/net/uring_submitter.h"

namespace bezel::net {
namespace {

/// With nothing to wait for, the loop looks up once an hour.
constexpr int64_t kWaitMsMax = 3'600'000;

int64_t monotonic_us() {
  return static_cast<int64_t>(uv_hrtime() / 1000);
}

}  // namespace

EventLoop::EventLoop(const Log& log, NameCache& names, BlockingThreads& threads)
    : threads_(threads), log_(log), submitter_(std::make_unique<PlainSubmitter>()), resolver_(*this, names) {
  const int status = uv_loop_init(&uv_);
  // At the start of the program, where nothing else could be done about it.
  if (status != 0) fail_to_make_loop(-status);
  poll_part(uv_backend_fd(&uv_), EPOLLIN, uv_part_);
  poll_part(mailbox_->descriptor(), EPOLLIN | EPOLLET, mail_part_);
  read_clock();
}

void EventLoop::poll_part(int descriptor, uint32_t events, Part& part) {
  const int error = poller_.add(descriptor, events, part);
  if (error != 0) fail_to_make_loop(error);
}

EventLoop::~EventLoop() {
  if (!closed_) close_everything();
  assert(!abandoned_);
  uv_loop_close(&uv_);
}

void EventLoop::read_clock() {
  now_us_ = monotonic_us();
}

// ---------------------------------------------------------------------------------------------------------------------
// Connections.

pool::StreamPtr EventLoop::dial(const pool::HostAddress& address, const pool::Settings& settings,
                                pool::ByteStream::Events& events) {
  auto* const connection = new Connection(*this, &events);
  connection->dial_ = std::make_unique<Dial>(*connection, address, settings);
  connection->dial_->start();
  return pool::StreamPtr(connection);
}

pool::StreamPtr EventLoop::attach(DetachedDescriptor& detached, pool::ByteStream::Events& events) {
  auto* const connection = new Connection(*this, &events, detached);
  if (!connection->poll_for(EPOLLIN)) tell_failure_later(*connection);
  return pool::StreamPtr(connection);
}

void EventLoop::adopt(int descriptor, const PeerAddress& peer) {
  if (stopping_) {
    ::close(descriptor);
    return;
  }
  auto* const connection = new Connection(*this, nullptr, descriptor, peer);
  pool::StreamPtr stream(connection);
  if (!connection->poll_for(EPOLLIN)) {
    log_.write(pool::LogLevel::warning, "could not take in a connection: the kernel does not poll it");
    return;
  }
  pool::ByteStream::Events* const events = client_->accepted(std::move(stream));
  if (connection->released_) return;
  assert(events != nullptr);
  connection->events_ = events;
  // With TCP_DEFER_ACCEPT, the first bytes are already here.
  if (!connection->is_local()) connection->receive();
}

void EventLoop::mark_dirty(Connection& connection) {
  if (connection.dirty_) return;
  connection.dirty_ = true;
  (connection.dialled_ ? dirty_dialled_ : dirty_accepted_).push(connection);
}

void EventLoop::DirtyList::push(Connection& connection) {
  connection.next_dirty_ = nullptr;
  if (last != nullptr) {
    last->next_dirty_ = &connection;
  } else {
    first = &connection;
  }
  last = &connection;
}

void EventLoop::tell_failure_later(Connection& connection) {
  if (connection.failing_) return;
  connection.failing_ = true;
  failures_.push_back(&connection);
}

void EventLoop::tell_failures() {
  if (failures_.empty()) return;
  const std::vector<Connection*> failures = std::exchange(failures_, {});
  for (Connection* connection : failures) {
    connection->failing_ = false;
    if (!connection->released_) connection->tell_failure();
  }
}

void EventLoop::bury_the_dead() {
  std::erase_if(graveyard_, [](Connection* connection) {
    if (connection->dirty_ || connection->failing_) return false;
    delete connection;
    return true;
  });
}

// ---------------------------------------------------------------------------------------------------------------------
// Turns.

void EventLoop::turn() {
  if (!graveyard_.empty()) bury_the_dead();
  const int uv_ms = uv_wait_ms();
  const auto own_ms = static_cast<int>(std::min<int64_t>((wait_us() + 999) / 1000, kWaitMsMax));
  poller_.wait(uv_ms < 0 ? own_ms : std::min(uv_ms, own_ms));
  // It has timers, or has changed what it polls for.
  if (uv_ms >= 0) run_uv();
  finish_turn();
}

int EventLoop::uv_wait_ms() {
  if (uv_loop_alive(&uv_) == 0) return -1;
  // Its timers count from a clock that it reads when it runs.
  if (uv_backend_timeout(&uv_) > 0) uv_update_time(&uv_);
  return uv_backend_timeout(&uv_);
}

int64_t EventLoop::wait_us() const {
  if (has_dirty() || !failures_.empty() || !graveyard_.empty()) return 0;
  const int64_t other_us = stopping_ ? stop_until_us_ : client_->next_timer_us();
  const int64_t next_us = std::min(deadlines_.next_us(), other_us);
  return next_us == std::numeric_limits<int64_t>::max() ? kWaitMsMax * 1000
                                                        : std::max<int64_t>(0, next_us - monotonic_us());
}

void EventLoop::run_uv() {
  uv_run(&uv_, UV_RUN_NOWAIT);
}

void EventLoop::finish_turn() {
  enter_callback();
  tell_failures();
  if (deadlines_.next_us() <= now_us_) deadlines_.run(now_us_);
  if (!stopping_ && client_->next_timer_us() <= now_us_) client_->run_timers();
  end_turn();
  if (stopping_ && (lingering_ == 0 || now_us_ >= stop_until_us_)) stopped_ = true;
}

void EventLoop::end_turn() {
  figures_.turns++;
  flush();
  if (!stopping_) client_->end_of_turn();
  if (has_dirty()) {
    flush();
    // What is still there was written by the events of the last sends. It must not point into memory that is used anew.
    for (const DirtyList* list : {&dirty_dialled_, &dirty_accepted_}) {
      for (Connection* one = list->first; one != nullptr; one = one->next_dirty_) one->keep_slices();
    }
    slices_.clear();
  }
  arena_.reset();
  copies_.reset();
  callbacks_ = 0;
}

void EventLoop::flush() {
  for (int round = 0; round < kFlushRoundsMax && has_dirty(); round++) flush_round();
}

void EventLoop::take_dirty() {
  round_.clear();
  for (DirtyList* list : {&dirty_dialled_, &dirty_accepted_}) {
    for (Connection* one = list->first; one != nullptr; one = one->next_dirty_) {
      one->dirty_ = false;
      round_.push_back(one);
    }
    *list = {};
  }
}

void EventLoop::gather_sends() {
  // Each slice becomes a piece, and each connection may add what it still has unsent. Reserved, so that none moves.
  const size_t pieces_max = slices_.size() + round_.size();
  if (pieces_.size() < pieces_max) pieces_.resize(pieces_max);
  sends_.clear();
  iovec* pieces = pieces_.data();
  for (Connection* connection : round_) {
    Send send;
    if (!connection->gather(send, pieces)) continue;
    pieces += send.piece_count;
    sends_.push_back(send);
  }
}

void EventLoop::flush_round() {
  take_dirty();
  gather_sends();
  slices_.clear();
  if (!sends_.empty()) {
    if (sends_.size() == 1) {
      sends_[0].result = PlainSubmitter::send_one(sends_[0]);
    } else {
      submitter_->submit(sends_);
      figures_.batches++;
    }
    figures_.sends += sends_.size();
    for (const Send& send : sends_) send.connection->account(send);
  }
  // Only now events: they may write to any connection, and release any; none is destroyed within a turn.
  for (Connection* connection : round_) connection->settle();
}

// ---------------------------------------------------------------------------------------------------------------------
// Tasks, and the loop's own life.

std::string EventLoop::start_sending(pool::BatchedSends wanted) {
  using pool::BatchedSends;
  std::string all_reasons;
  const auto use = [&](auto submitter, BatchedSends way, const std::string& why_not) {
    if (submitter == nullptr) {
      all_reasons += (all_reasons.empty() ? "" : "; ") + why_not;
      return false;
    }
    submitter_ = std::move(submitter);
    batched_sends_ = way;
    return true;
  };
  std::string why_not;
  const bool any = wanted == BatchedSends::automatic;
  if (any || wanted == BatchedSends::io_uring) {
    if (use(UringSubmitter::make(why_not), BatchedSends::io_uring, why_not)) return {};
  }
  if (any || wanted == BatchedSends::aio) {
    if (use(AioSubmitter::make(why_not), BatchedSends::aio, why_not)) return {};
  }
  return all_reasons;
}

void EventLoop::read_mail() {
  enter_callback();
  Mailbox::Letters letters = mailbox_->take();
  for (const auto& offload : letters.finished) {
    offloads_--;
    if (!stopping_) offload->done();
  }
  for (auto& task : letters.tasks) {
    if (!stopping_) task();
  }
  if (letters.stop && !stopping_) begin_stop();
}

void EventLoop::offload(std::function<void()> work, std::function<void()> done) {
  offloads_++;
  // Both are destroyed by this thread: what they own may be used by it.
  auto* const offload = new Mailbox::Offload{std::move(work), std::move(done)};
  BlockingThreads::Job job;
  job.work = [offload, mailbox = mailbox_] {
    offload->work();
    mailbox->finished(std::unique_ptr<Mailbox::Offload>(offload));
  };
  // Without any thread, it holds up this one, which is better than not being done.
  if (!threads_.run(job)) job.work();
}

void EventLoop::run() {
  read_clock();
  while (!stopped_) turn();
  close_everything();
}

void EventLoop::begin_stop() {
  stop_until_us_ = now_us_ + LoopRuntime::kStopDrainUs;
  for (auto& acceptor : acceptors_) acceptor->close();
  client_->stopping();
  stopping_ = true;
}

void EventLoop::close_everything() {
  closed_ = true;
  stopping_ = true;
  mailbox_->close_to_tasks();
  for (auto& acceptor : acceptors_) acceptor->close();
  resolver_.close();  // no dial can be told of an answer any more
  for (Connection* one = connections_.front(); one != nullptr; one = connections_.next(*one)) {
    if (one->released_) {
      one->close_now();
    } else {
      one->told_closed_ = true;
      one->end({});
    }
  }
  tell_failures();
  take_dirty();
  await_offloads();
  bury_the_dead();
  submitter_ = std::make_unique<PlainSubmitter>();
  if (!connections_.empty()) {
    log_.write(pool::LogLevel::error,
               fmt::format("{} streams were not released at the end of a worker", connections_.size()));
    abandoned_ = true;
  }
}

void EventLoop::await_offloads() {
  while (offloads_ > 0) poller_.wait(-1);
  // What the resolver had in libuv closes in the next iterations.
  for (int i = 0; i < 3; i++) run_uv();
}

}  // namespace bezel::net
