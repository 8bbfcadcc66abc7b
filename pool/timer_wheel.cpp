#include "pool/timer_wheel.h"

#include <algorithm>

namespace bezel::pool {

void Timer::unlink() {
  if (next_ == nullptr) return;
  next_->previous_ = previous_;
  previous_->next_ = next_;
  next_ = previous_ = nullptr;
}

TimerWheel::TimerWheel(int64_t now_us) : current_tick_(now_us / kTickUs) {
  for (Timer& head : slots_) head.next_ = head.previous_ = &head;
}

void TimerWheel::insert(Timer& head, Timer& timer) {
  timer.previous_ = head.previous_;
  timer.next_ = &head;
  head.previous_->next_ = &timer;
  head.previous_ = &timer;
}

void TimerWheel::schedule(Timer& timer, int64_t deadline_us) {
  timer.unlink();
  timer.deadline_us_ = deadline_us;
  // Rounded up, so that the tick at which the slot is looked at is never before the deadline.
  const int64_t tick = std::max(deadline_us / kTickUs + 1, current_tick_ + 1);
  insert(slots_[slot_of(tick)], timer);
  earliest_us_ = std::min(earliest_us_, tick * kTickUs);
}

void TimerWheel::schedule_no_later(Timer& timer, int64_t deadline_us) {
  if (timer.scheduled() && timer.deadline_us() <= deadline_us) return;
  schedule(timer, deadline_us);
}

void TimerWheel::fire_slot(size_t slot, int64_t now_us) {
  // The due ones are moved aside first: callbacks change the slot's list, and may destroy timers in it.
  Timer& head = slots_[slot];
  Head due;
  due.next_ = due.previous_ = &due;
  for (Timer* timer = head.next_; timer != &head;) {
    Timer* next = timer->next_;
    if (timer->deadline_us_ <= now_us) {
      timer->unlink();
      insert(due, *timer);
    }
    timer = next;
  }
  while (due.next_ != &due) {
    Timer* timer = due.next_;
    timer->unlink();
    timer->callback_(timer->owner_);
  }
  due.next_ = due.previous_ = nullptr;
}

void TimerWheel::advance(int64_t now_us) {
  if (now_us < earliest_us_) return;
  const int64_t target = now_us / kTickUs;
  // After a long sleep each slot need be looked at only once.
  const int64_t first = std::max(current_tick_ + 1, target - static_cast<int64_t>(kSlots) + 1);
  for (int64_t tick = first; tick <= target; tick++) {
    current_tick_ = tick;
    fire_slot(slot_of(tick), now_us);
  }
  earliest_us_ = find_earliest_us();
}

int64_t TimerWheel::find_earliest_us() const {
  for (size_t ahead = 1; ahead <= kSlots; ahead++) {
    const int64_t tick = current_tick_ + static_cast<int64_t>(ahead);
    const Timer& head = slots_[slot_of(tick)];
    for (const Timer* timer = head.next_; timer != &head; timer = timer->next_) {
      if (timer->deadline_us_ < (tick + 1) * kTickUs) return tick * kTickUs;
    }
  }
  // Only timers more than a round away: look again after a round at the latest.
  for (const Timer& head : slots_) {
    if (head.next_ != &head) return (current_tick_ + static_cast<int64_t>(kSlots)) * kTickUs;
  }
  return kNever;
}

}  // namespace bezel::pool
