#include <doctest/doctest.h>

#include <algorithm>
#include <memory>
#include <utility>
#include <vector>

#include "pool/timer_wheel.h"

using bezel::pool::Timer;
using bezel::pool::TimerWheel;

namespace {

struct Alarm {
  explicit Alarm(TimerWheel& wheel_used) : wheel(wheel_used) {}
  static void ring(void* self) {
    auto* alarm = static_cast<Alarm*>(self);
    alarm->rung++;
    if (alarm->again_at_us > 0) alarm->wheel.schedule(alarm->timer, std::exchange(alarm->again_at_us, 0));
    alarm->doomed.reset();
  }

  TimerWheel& wheel;
  int rung = 0;
  int64_t again_at_us = 0;
  std::unique_ptr<Alarm> doomed;
  Timer timer{&Alarm::ring, this};
};

constexpr int64_t kStartUs = 5'000'000'000;
constexpr int64_t kRoundUs = TimerWheel::kTickUs * static_cast<int64_t>(TimerWheel::kSlots);

}  // namespace

TEST_CASE("a timer fires once, never early, at most a tick late") {
  for (const int64_t delay_us : {int64_t{0}, int64_t{1}, TimerWheel::kTickUs - 1, TimerWheel::kTickUs, int64_t{100'000},
                                 kRoundUs - 1, kRoundUs, kRoundUs + 1, 5 * kRoundUs + 77}) {
    CAPTURE(delay_us);
    TimerWheel wheel(kStartUs);
    Alarm alarm(wheel);
    const int64_t deadline_us = kStartUs + delay_us;
    wheel.schedule(alarm.timer, deadline_us);
    int64_t fired_at_us = 0;
    for (int64_t now = kStartUs; now <= deadline_us + 3 * TimerWheel::kTickUs && fired_at_us == 0; now += 500) {
      wheel.advance(now);
      if (alarm.rung > 0) fired_at_us = now;
    }
    CHECK(alarm.rung == 1);
    CHECK(fired_at_us >= deadline_us);
    CHECK(fired_at_us <= deadline_us + TimerWheel::kTickUs + 500);
    CHECK_FALSE(alarm.timer.scheduled());
    wheel.advance(deadline_us + 3 * kRoundUs);
    CHECK(alarm.rung == 1);
  }
}

TEST_CASE("whoever sleeps until next_deadline_us misses nothing") {
  TimerWheel wheel(kStartUs);
  CHECK(wheel.next_deadline_us() == TimerWheel::kNever);
  std::vector<std::unique_ptr<Alarm>> alarms;
  for (int64_t i = 0; i < 200; i++) {
    alarms.push_back(std::make_unique<Alarm>(wheel));
    wheel.schedule(alarms.back()->timer, kStartUs + (i * 7919 % 200) * 50'000);
  }
  int64_t now = kStartUs;
  int wakes = 0;
  while (wheel.next_deadline_us() != TimerWheel::kNever) {
    now = std::max(now, wheel.next_deadline_us());
    wheel.advance(now);
    REQUIRE(++wakes < 2000);
    for (const auto& alarm : alarms) {
      if (alarm->rung == 0) REQUIRE(alarm->timer.deadline_us() + TimerWheel::kTickUs > now);
    }
  }
  for (const auto& alarm : alarms) CHECK(alarm->rung == 1);
}

TEST_CASE("a long sleep fires all that has become due") {
  TimerWheel wheel(kStartUs);
  Alarm soon(wheel), later(wheel), far(wheel);
  wheel.schedule(soon.timer, kStartUs + 10'000);
  wheel.schedule(later.timer, kStartUs + 3 * kRoundUs);
  wheel.schedule(far.timer, kStartUs + 100 * kRoundUs);
  wheel.advance(kStartUs + 10 * kRoundUs);
  CHECK(soon.rung == 1);
  CHECK(later.rung == 1);
  CHECK(far.rung == 0);
  CHECK(far.timer.scheduled());
}

TEST_CASE("schedule replaces an appointment, schedule_no_later keeps the earlier one") {
  TimerWheel wheel(kStartUs);
  Alarm alarm(wheel);
  wheel.schedule(alarm.timer, kStartUs + 100'000);
  wheel.schedule_no_later(alarm.timer, kStartUs + 200'000);
  CHECK(alarm.timer.deadline_us() == kStartUs + 100'000);
  wheel.schedule_no_later(alarm.timer, kStartUs + 50'000);
  CHECK(alarm.timer.deadline_us() == kStartUs + 50'000);
  wheel.schedule(alarm.timer, kStartUs + 300'000);
  wheel.advance(kStartUs + 250'000);
  CHECK(alarm.rung == 0);
  wheel.cancel(alarm.timer);
  wheel.cancel(alarm.timer);
  wheel.advance(kStartUs + 400'000);
  CHECK(alarm.rung == 0);
}

TEST_CASE("callbacks may schedule themselves again and destroy others that are due") {
  TimerWheel wheel(kStartUs);
  Alarm first(wheel);
  first.again_at_us = kStartUs + 60'000;
  first.doomed = std::make_unique<Alarm>(wheel);
  wheel.schedule(first.timer, kStartUs + 20'000);
  wheel.schedule(first.doomed->timer, kStartUs + 20'000);
  wheel.advance(kStartUs + 30'000);
  CHECK(first.rung == 1);
  CHECK(first.doomed == nullptr);
  CHECK(first.timer.scheduled());
  wheel.advance(kStartUs + 70'000);
  CHECK(first.rung == 2);
}
