#include "src/net/deadline.h"

namespace bezel::net {

void Deadline::arm(DeadlineQueue& queue, int64_t at_us) {
  disarm();
  queue_ = &queue;
  at_us_ = at_us;
  queue.queue_.insert(this);
  queue.update_next();
}

void Deadline::disarm() {
  if (queue_ == nullptr) return;
  queue_->queue_.erase(this);
  queue_->update_next();
  queue_ = nullptr;
}

void DeadlineQueue::run(int64_t now_us) {
  while (next_us_ <= now_us) {
    Deadline* const due = *queue_.begin();
    due->disarm();
    due->expire();
  }
}

}  // namespace bezel::net
