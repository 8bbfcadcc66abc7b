#pragma once

#include <doctest/doctest.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstring>
#include <functional>
#include <future>
#include <limits>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "src/net/event_loop.h"
#include "src/net/worker_threads.h"

namespace bezel::net {

/// How long a test waits for something that must happen before it gives up.
inline constexpr std::chrono::seconds kPatience{30};

/// One end of a stream in a worker: records what happens. Everything but the constructor runs on the worker's thread.
class RecordedStream final : public pool::ByteStream::Events {
 public:
  pool::StreamPtr stream;
  std::string received;
  std::string reason;
  bool connected = false;
  bool closed = false;
  int congested = 0;
  int drained = 0;
  std::function<void(std::string_view)> bytes_hook;
  std::function<void()> connected_hook, congested_hook, drained_hook, closed_hook;

  void on_connected() override {
    connected = true;
    if (connected_hook) connected_hook();
  }
  void on_bytes(std::string_view bytes) override {
    received += bytes;
    if (bytes_hook) bytes_hook(bytes);
  }
  void on_congested() override {
    congested++;
    if (congested_hook) congested_hook();
  }
  void on_drained() override {
    drained++;
    if (drained_hook) drained_hook();
  }
  void on_closed(std::string_view why) override {
    CHECK_FALSE(closed);
    closed = true;
    reason = why;
    if (closed_hook) closed_hook();
  }
};

/// The client of a loop under test: keeps every accepted stream, unless told otherwise.
class RecordingClient final : public LoopClient {
 public:
  std::vector<std::shared_ptr<RecordedStream>> accepted_streams;
  std::vector<std::shared_ptr<RecordedStream>> own_streams;
  std::function<void(RecordedStream&)> accepted_hook;
  std::function<void()> timers_hook, end_of_turn_hook;
  int64_t timer_at_us = std::numeric_limits<int64_t>::max();

  pool::ByteStream::Events* accepted(pool::StreamPtr stream) override {
    auto recorded = std::make_shared<RecordedStream>();
    recorded->stream = std::move(stream);
    accepted_streams.push_back(recorded);
    if (accepted_hook) accepted_hook(*recorded);
    return recorded.get();
  }
  void run_timers() override {
    timer_at_us = std::numeric_limits<int64_t>::max();
    if (timers_hook) timers_hook();
  }
  int64_t next_timer_us() const override { return timer_at_us; }
  void end_of_turn() override {
    if (end_of_turn_hook) end_of_turn_hook();
  }
  void stopping() override {
    for (auto& one : accepted_streams) one->stream.reset();
    for (auto& one : own_streams) one->stream.reset();
  }
};

/// Worker threads with recording clients; stopped at the end of the test.
class TestLoops {
 public:
  explicit TestLoops(int workers, pool::BatchedSends mode = pool::BatchedSends::off,
                     const ListenSockets* sockets = nullptr)
      : threads_(workers, Log{[this](pool::LogLevel, std::string_view line) { take_line(line); },
                              [](pool::LogLevel) { return true; }}) {
    for (int i = 0; i < workers; i++) {
      clients_.push_back(std::make_unique<RecordingClient>());
      threads_.runtime(i).set_client(*clients_.back());
    }
    const std::string error = threads_.start(mode, sockets);
    CHECK(error == "");
  }
  ~TestLoops() { threads_.stop(); }

  WorkerThreads& threads() { return threads_; }
  RecordingClient& client(int i = 0) { return *clients_[static_cast<size_t>(i)]; }
  LoopRuntime& runtime(int i = 0) { return threads_.runtime(i); }

  /// Runs `task` on a worker's thread and waits for it.
  void on(int worker, const std::function<void()>& task) {
    auto done = std::make_shared<std::promise<void>>();
    auto waiting = done->get_future();
    runtime(worker).post(worker, [task, done] {
      task();
      done->set_value();
    });
    REQUIRE(waiting.wait_for(kPatience) == std::future_status::ready);
  }
  /// Waits until a condition, asked on a worker's thread, holds.
  void until(int worker, const std::function<bool()>& condition) {
    const auto give_up = std::chrono::steady_clock::now() + kPatience;
    for (;;) {
      bool holds = false;
      on(worker, [&] { holds = condition(); });
      if (holds) return;
      REQUIRE(std::chrono::steady_clock::now() < give_up);
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
  }
  /// Takes one end of a new pair of Unix sockets into a worker; the other end is returned (blocking).
  int pair(int worker, const std::shared_ptr<RecordedStream>& recorded, int send_buffer_bytes = 0) {
    int ends[2];
    REQUIRE(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) == 0);
    take_in(worker, recorded, ends[0], send_buffer_bytes);
    return ends[1];
  }
  /// The same over TCP on loopback.
  int tcp_pair(int worker, const std::shared_ptr<RecordedStream>& recorded, int send_buffer_bytes = 0);
  void take_in(int worker, const std::shared_ptr<RecordedStream>& recorded, int descriptor, int send_buffer_bytes);
  std::string log() {
    const std::lock_guard lock(mutex_);
    return log_;
  }

 private:
  void take_line(std::string_view line) {
    const std::lock_guard lock(mutex_);
    log_.append(line).append("\n");
  }

  std::mutex mutex_;
  std::string log_;
  std::vector<std::unique_ptr<RecordingClient>> clients_;
  WorkerThreads threads_;
};

/// Connects a blocking TCP socket to a port on loopback.
int connect_tcp(uint16_t port, int receive_buffer_bytes = 0);
int connect_unix(const std::string& path);
/// Blocking helpers of the test's side; false / fewer bytes when the other side has closed.
bool send_all(int descriptor, std::string_view bytes);
std::string receive_exactly(int descriptor, size_t bytes);
std::string receive_to_end(int descriptor);
/// Bytes that differ everywhere, so that a lost or doubled one shows.
std::string pattern(size_t bytes, uint32_t seed);
/// Closes with a reset.
void reset_connection(int descriptor);

/// The ways of sending that this machine has.
std::vector<pool::BatchedSends> sending_modes();

}  // namespace bezel::net
