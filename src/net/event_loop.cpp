#include "src/net/event_loop.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cassert>
#include <limits>
#include <stdexcept>
#include <utility>

#include "src/net/aio_submitter.h"
#include "src/net/dial.h"
#include "src/net/plain_submitter.h"
#include "src/net/uring_submitter.h"

namespace bezel::net {
namespace {

template <typename Handle>
EventLoop& loop_of(Handle* handle) {
  return *static_cast<EventLoop*>(handle->data);
}

template <typename Handle>
void close_plain(Handle& handle) {
  uv_close(reinterpret_cast<uv_handle_t*>(&handle), nullptr);
}

int64_t monotonic_us() {
  return static_cast<int64_t>(uv_hrtime() / 1000);
}

}  // namespace

struct EventLoop::Offload {
  EventLoop& loop;
  std::function<void()> work, done;
  uv_work_t request{};

  static void on_work(uv_work_t* request) { static_cast<Offload*>(request->data)->work(); }
  static void on_done(uv_work_t* request, int) {
    const std::unique_ptr<Offload> self(static_cast<Offload*>(request->data));
    self->loop.enter_callback();
    self->loop.offloads_--;
    if (!self->loop.stopping_) self->done();
  }
};

EventLoop::EventLoop(const Log& log, NameCache& names)
    : log_(log), submitter_(std::make_unique<PlainSubmitter>()), resolver_(*this, names) {
  const int status = uv_loop_init(&uv_);
  // At the start of the program, where nothing else could be done about it.
  if (status != 0) throw std::runtime_error(fmt::format("could not make an event loop: {}", uv_strerror(status)));
  uv_prepare_init(&uv_, &prepare_);
  uv_check_init(&uv_, &check_);
  uv_idle_init(&uv_, &idle_);
  uv_timer_init(&uv_, &timer_);
  const int async_status = uv_async_init(&uv_, &async_, [](uv_async_t* handle) { loop_of(handle).run_tasks(); });
  if (async_status != 0) {
    throw std::runtime_error(fmt::format("could not make an event loop: {}", uv_strerror(async_status)));
  }
  prepare_.data = check_.data = idle_.data = timer_.data = async_.data = this;
  read_clock();
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
  if (!connection->start_polling(UV_READABLE)) tell_failure_later(*connection);
  return pool::StreamPtr(connection);
}

void EventLoop::adopt(int descriptor, const PeerAddress& peer) {
  if (stopping_) {
    ::close(descriptor);
    return;
  }
  auto* const connection = new Connection(*this, nullptr, descriptor, peer);
  pool::StreamPtr stream(connection);
  if (!connection->start_polling(UV_READABLE)) {
    log_.write(pool::LogLevel::warning, "could not take in a connection: the event loop refused it");
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

void EventLoop::prepare() {
  if (!graveyard_.empty()) bury_the_dead();
  const bool has_work = has_dirty() || !failures_.empty() || !graveyard_.empty();
  if (has_work != idle_armed_) {
    idle_armed_ = has_work;
    if (has_work) {
      uv_idle_start(&idle_, [](uv_idle_t*) {});
    } else {
      uv_idle_stop(&idle_);
    }
  }
  arm_timer();
}

void EventLoop::arm_timer() {
  int64_t next_us = deadlines_.next_us();
  if (stopping_) {
    next_us = std::min(next_us, stop_until_us_);
  } else {
    next_us = std::min(next_us, client_->next_timer_us());
  }
  // A timer that comes too early does no harm; arming it anew in each turn would.
  if (next_us == std::numeric_limits<int64_t>::max() || (timer_armed_ && timer_at_us_ <= next_us)) return;
  timer_armed_ = true;
  timer_at_us_ = next_us;
  const int64_t delay_us = std::max<int64_t>(0, next_us - monotonic_us());
  uv_timer_start(
      &timer_, [](uv_timer_t* timer) { loop_of(timer).timer_armed_ = false; },
      static_cast<uint64_t>((delay_us + 999) / 1000), 0);
}

void EventLoop::check() {
  enter_callback();
  tell_failures();
  if (deadlines_.next_us() <= now_us_) deadlines_.run(now_us_);
  if (!stopping_ && client_->next_timer_us() <= now_us_) client_->run_timers();
  end_turn();
  if (stopping_ && (lingering_ == 0 || now_us_ >= stop_until_us_)) uv_stop(&uv_);
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

void EventLoop::post(std::function<void()> task) {
  const std::lock_guard lock(mutex_);
  tasks_.push_back(std::move(task));
  if (tasks_.size() == 1 && is_open_) uv_async_send(&async_);
}

void EventLoop::request_stop() {
  const std::lock_guard lock(mutex_);
  stop_requested_ = true;
  if (is_open_) uv_async_send(&async_);
}

void EventLoop::run_tasks() {
  enter_callback();
  std::vector<std::function<void()>> tasks;
  bool stop = false;
  {
    const std::lock_guard lock(mutex_);
    tasks.swap(tasks_);
    stop = stop_requested_;
  }
  for (auto& task : tasks) {
    if (!stopping_) task();
  }
  if (stop && !stopping_) begin_stop();
}

void EventLoop::offload(std::function<void()> work, std::function<void()> done) {
  auto* const offload = new Offload{*this, std::move(work), std::move(done)};
  offload->request.data = offload;
  offloads_++;
  uv_queue_work(&uv_, &offload->request, Offload::on_work, Offload::on_done);
}

void EventLoop::run() {
  uv_prepare_start(&prepare_, [](uv_prepare_t* handle) { loop_of(handle).prepare(); });
  uv_check_start(&check_, [](uv_check_t* handle) { loop_of(handle).check(); });
  read_clock();
  uv_run(&uv_, UV_RUN_DEFAULT);
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
  std::vector<std::function<void()>> dropped;
  {
    const std::lock_guard lock(mutex_);
    is_open_ = false;
    dropped.swap(tasks_);
  }
  dropped.clear();
  for (auto& acceptor : acceptors_) acceptor->close();
  // From here on there are no UV_POLL handles but those of connections, and no dial can be told of an answer.
  resolver_.close();
  uv_walk(
      &uv_,
      [](uv_handle_t* handle, void*) {
        if (handle->type != UV_POLL || uv_is_closing(handle)) return;
        auto* const connection = static_cast<Connection*>(handle->data);
        if (connection->released_) {
          connection->close_now();
        } else {
          connection->told_closed_ = true;
          connection->end({});
        }
      },
      nullptr);
  uv_prepare_stop(&prepare_);
  uv_check_stop(&check_);
  uv_idle_stop(&idle_);
  uv_timer_stop(&timer_);
  tell_failures();
  take_dirty();
  close_plain(prepare_);
  close_plain(check_);
  close_plain(idle_);
  close_plain(async_);
  finish_requests();
  bury_the_dead();
  submitter_ = std::make_unique<PlainSubmitter>();
  if (connections_ > 0) {
    log_.write(pool::LogLevel::error, fmt::format("{} streams were not released at the end of a worker", connections_));
    abandoned_ = true;
  }
}

void EventLoop::finish_requests() {
  // The timer only makes the loop look up now and then.
  uv_timer_start(
      &timer_, [](uv_timer_t*) {}, 0, 20);
  while (offloads_ > 0) uv_run(&uv_, UV_RUN_ONCE);
  uv_timer_stop(&timer_);
  close_plain(timer_);
  // Now only closing handles are left: their callbacks come in the next iterations.
  for (int i = 0; i < 3; i++) uv_run(&uv_, UV_RUN_NOWAIT);
}

}  // namespace bezel::net
