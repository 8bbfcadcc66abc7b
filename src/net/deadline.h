#pragma once

#include <cstdint>
#include <limits>
#include <set>

namespace bezel::net {

class DeadlineQueue;

/// Something of this layer that is to happen at a time: a dial's attempt, a release's patience, a pause of accepting.
/// Takes itself off the queue when destroyed.
class Deadline {
 public:
  Deadline() = default;
  Deadline(const Deadline&) = delete;
  Deadline& operator=(const Deadline&) = delete;

 protected:
  virtual ~Deadline() { disarm(); }
  /// The time has come. The deadline is off the queue, and may be armed again or destroyed by this call.
  virtual void expire() = 0;
  void arm(DeadlineQueue& queue, int64_t at_us);
  void disarm();

 private:
  friend class DeadlineQueue;
  DeadlineQueue* queue_ = nullptr;  ///< null: not armed
  int64_t at_us_ = 0;
};

/// The deadlines of one loop, soonest first. They are few: the pool keeps its own time-outs in a timer wheel.
class DeadlineQueue {
 public:
  /// INT64_MAX: none.
  int64_t next_us() const { return next_us_; }
  /// Runs all that are due.
  void run(int64_t now_us);

 private:
  friend class Deadline;
  struct Sooner {
    bool operator()(const Deadline* a, const Deadline* b) const {
      return a->at_us_ != b->at_us_ ? a->at_us_ < b->at_us_ : a < b;
    }
  };
  void update_next() { next_us_ = queue_.empty() ? kNever : (*queue_.begin())->at_us_; }

  static constexpr int64_t kNever = std::numeric_limits<int64_t>::max();
  std::set<Deadline*, Sooner> queue_;
  int64_t next_us_ = kNever;
};

}  // namespace bezel::net
