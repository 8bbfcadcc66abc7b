#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "pool/runtime.h"
#include "src/net/blocking_threads.h"
#include "src/net/listen_sockets.h"
#include "src/net/log.h"
#include "src/net/loop_client.h"
#include "src/net/name_cache.h"

namespace bezel::net {

class EventLoop;
class LoopRuntime;

/// What the loops of a process share.
struct LoopGroup {
  Log log;
  NameCache names;
  /// For handshakes, derived keys and names of users: enough that one that hangs does not hold up the others. They take
  /// long and nobody waits for one as for a query, so they give way to the loops. A loop bounds what it hands over by
  /// the logins that it lets begin.
  BlockingThreads offloads{"bezel-offload", {.threads_max = 4, .waiting_max = SIZE_MAX, .nice = 5}};
  std::vector<LoopRuntime*> members;   ///< by worker's index
  std::atomic<uint32_t> next_unix{0};  ///< whose turn it is to get a Unix socket's connection
};

/// What a loop has done since it began; for tests and benchmarks. Read by its thread, or after its end.
struct LoopFigures {
  uint64_t turns = 0, receives = 0, sends = 0, batches = 0;
};

/// pool::Runtime of one worker, on an event loop of its own.
class LoopRuntime final : public pool::Runtime {
 public:
  LoopRuntime(LoopGroup& group, int index);
  LoopRuntime(const LoopRuntime&) = delete;
  LoopRuntime& operator=(const LoopRuntime&) = delete;
  /// REQUIRES: the loop does not run. Streams that were not released by then stay usable only for being released.
  ~LoopRuntime() override;

  // pool::Runtime
  int64_t now_us() const override;
  int64_t wall_clock_us() const override;
  pool::StreamPtr dial(const pool::HostAddress& address, const pool::Settings& settings,
                       pool::ByteStream::Events& events) override;
  pool::StreamPtr attach(std::unique_ptr<pool::DetachedStream> detached, pool::ByteStream::Events& events) override;
  void offload(std::function<void()> work, std::function<void()> done) override;
  void post(int index, std::function<void()> task) override;
  void find_system_user(uint32_t user_id, std::function<void(std::string)> done) override;
  void random_bytes(void* to, size_t size) override;
  void log(pool::LogLevel level, std::string_view line) override;
  bool log_enabled(pool::LogLevel level) const override;

  int index() const { return index_; }
  /// Before run(): who gets events, and what the loop accepts from (worker 0 also from the Unix socket).
  void set_client(LoopClient& client);
  void listen(const ListenSockets& sockets);

  /// Prepares sending, on the thread that will run the loop. "" or an error (the kernel refuses
  /// what `wanted` insists on).
  std::string start_sending(pool::BatchedSends wanted);
  /// Runs the loop until request_stop(). Then the client's stopping() is called, and what released streams have not
  /// sent is still tried for at most kStopDrainUs.
  void run();
  /// Any thread.
  void request_stop();
  static constexpr int64_t kStopDrainUs = 1'000'000;

  /// Stops taking new connections; they wait in the kernel's queue. This worker's thread.
  void pause_accepting();
  void resume_accepting();
  /// Stops for good and refuses: closes nothing itself, see ListenSockets::close(). This worker's thread.
  void stop_accepting();

  /// Number of connections of this loop, released ones that still send among them. This worker's thread.
  size_t connection_count() const;
  /// How sends are batched now; never `automatic`.
  pool::BatchedSends batched_sends() const;
  const LoopFigures& figures() const;
  EventLoop& loop() { return *loop_; }

 private:
  /// A connection of the Unix socket: to the worker whose turn it is.
  void spread(int descriptor, const PeerAddress& peer);

  LoopGroup& group_;
  int index_;
  std::unique_ptr<EventLoop> loop_;
};

}  // namespace bezel::net
