#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "pool/byte_stream.h"
#include "pool/settings.h"

namespace bezel::pool {

enum class LogLevel : uint8_t { error, warning, info, debug, trace };

/// The outside world of one worker. Called by that worker's thread only, unless said otherwise.
class Runtime {
 public:
  virtual ~Runtime() = default;

  /// Monotonic microseconds, read once or so a turn: cheap, and constant while a handler runs.
  virtual int64_t now_us() const = 0;
  /// Microseconds since 1970, for people.
  virtual int64_t wall_clock_us() const = 0;

  /// Begins to connect (names are resolved on the way). The events end in on_connected() or on_closed(reason), never
  /// before dial() has returned. Never fails by itself. `settings` gives keepalive and time-outs of the socket.
  virtual StreamPtr dial(const HostAddress& address, const Settings& settings, ByteStream::Events& events) = 0;
  /// Takes in a stream that another worker detached.
  virtual StreamPtr attach(std::unique_ptr<DetachedStream> detached, ByteStream::Events& events) = 0;

  /// Runs `work` on a thread that is not an event loop, then `done` on this worker's thread.
  virtual void offload(std::function<void()> work, std::function<void()> done) = 0;
  /// Runs `task` on the thread of the worker `index` (also one's own), in a later turn, in order of posting.
  /// Any thread may call this.
  virtual void post(int index, std::function<void()> task) = 0;

  /// Asks the operating system for a user's name, on another thread; then `done` on this worker's thread, with an empty
  /// name if there is none.
  virtual void find_system_user(uint32_t user_id, std::function<void(std::string)> done) = 0;

  /// Cryptographically strong random bytes.
  virtual void random_bytes(void* to, size_t size) = 0;
  /// One line, without its end. Any thread may call these.
  virtual void log(LogLevel level, std::string_view line) = 0;
  virtual bool log_enabled(LogLevel level) const = 0;
};

}  // namespace bezel::pool
