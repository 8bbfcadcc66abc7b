#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <limits>

namespace bezel::pool {

/// Something that wants to be called at a time. Part of its owner; leaves the wheel when it is destroyed.
class Timer {
 public:
  using Callback = void (*)(void* owner);

  Timer(Callback callback, void* owner) : callback_(callback), owner_(owner) {}
  Timer(const Timer&) = delete;
  Timer& operator=(const Timer&) = delete;
  ~Timer() { unlink(); }

  bool scheduled() const { return next_ != nullptr; }
  int64_t deadline_us() const { return deadline_us_; }

 private:
  friend class TimerWheel;
  void unlink();

  Callback callback_;
  void* owner_;
  Timer* next_ = nullptr;
  Timer* previous_ = nullptr;
  int64_t deadline_us_ = 0;
};

/// All timers of one worker: constant-time scheduling, a resolution of kTickUs. A timer fires once, never early, at
/// most a tick late. Deadlines further away than one round stay in their slot and are passed over until they are due.
class TimerWheel {
 public:
  static constexpr int64_t kTickUs = 4096;
  static constexpr size_t kSlots = 512;
  static constexpr int64_t kNever = std::numeric_limits<int64_t>::max();

  explicit TimerWheel(int64_t now_us);

  /// Fires at `deadline_us` instead of any earlier appointment.
  void schedule(Timer& timer, int64_t deadline_us);
  /// Fires at `deadline_us` or at its appointment, whatever comes first. For owners that look again when they are
  /// called: most timeouts of a busy connection are never reached, so re-scheduling each time would be waste.
  void schedule_no_later(Timer& timer, int64_t deadline_us);
  void cancel(Timer& timer) { timer.unlink(); }

  /// Fires what is due. Callbacks may schedule and destroy any timers.
  void advance(int64_t now_us);
  /// When advance() should be called next; kNever if no timer is scheduled. May be too early, never too late.
  int64_t next_deadline_us() const { return earliest_us_; }

 private:
  static size_t slot_of(int64_t tick) { return static_cast<size_t>(tick) % kSlots; }
  void fire_slot(size_t slot, int64_t now_us);
  int64_t find_earliest_us() const;

  struct Head : Timer {
    Head() : Timer(nullptr, nullptr) {}
  };
  static void insert(Timer& head, Timer& timer);

  std::array<Head, kSlots> slots_;
  int64_t current_tick_;
  int64_t earliest_us_ = kNever;  // a lower bound, so that cancelling need not search
};

}  // namespace bezel::pool
