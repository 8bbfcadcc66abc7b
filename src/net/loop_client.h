#pragma once

#include <cstdint>

#include "pool/byte_stream.h"

namespace bezel::net {

/// The one that an event loop works for. All calls come from the loop's thread.
///
/// A turn: the streams that are ready deliver, posted tasks run, run_timers() if it is time, then everything written
/// leaves, streams tell on_congested() and on_drained(), then end_of_turn(). Received bytes and write_copy()'s copies
/// are valid until end_of_turn() has returned. A turn may end early, between two events, when its memory is used up.
class LoopClient {
 public:
  /// A client has connected. Its events go to the object returned from now on (and none has happened yet). Whoever does
  /// not want the stream releases it and returns null.
  virtual pool::ByteStream::Events* accepted(pool::StreamPtr stream) = 0;
  /// Called in a turn when next_timer_us() has come.
  virtual void run_timers() = 0;
  /// When run_timers() is due: monotonic microseconds; INT64_MAX: never. Asked once or twice a turn.
  virtual int64_t next_timer_us() const = 0;
  /// Last thing in a turn. What it writes is sent at once.
  virtual void end_of_turn() = 0;
  /// The loop ends: release every stream now. The last call; tasks and offloaded work's `done` are dropped from here
  /// on.
  virtual void stopping() = 0;

 protected:
  ~LoopClient() = default;
};

}  // namespace bezel::net
