#include "tests/simulation/switchover.h"

#include <utility>

#include "tests/simulation/world.h"

namespace bezel::simulation {

namespace {

constexpr int64_t kMillisecond = 1000;

/// Shorter than a transaction may take now and then, so that some are given up.
constexpr int64_t kDrainUsMax = 500 * kMillisecond;
constexpr int64_t kFollowUs = 3000 * kMillisecond;

}  // namespace

void ConsoleSwitchover::begin(pool::Upstream& upstream, std::function<bool()> ask) {
  if (upstream.held()) return;
  upstream_ = &upstream;
  ask_ = std::move(ask);
  leader_ = upstream.leader_name();
  drained_ = false;
  deadline_us_ = world_.now_us() + world_.random().between(kMillisecond, kDrainUsMax);
  if (world_.verbose()) world_.note("SWITCHOVER from " + leader_);
  upstream.hold("a switchover of the simulation", world_.now_us() + kWallClockOffsetUs);
  step();
}

void ConsoleSwitchover::step() {
  const bool late = world_.now_us() >= deadline_us_;
  if (drained_) {
    const std::string leader = upstream_->leader_name();
    const bool followed = !leader.empty() && leader != leader_;
    if (followed) finished_++;
    if (followed || late) return end();
  } else if (busy() == 0) {
    drained_ = true;
    lost_before_ = lost();
    deadline_us_ = world_.now_us() + kFollowUs;
    if (!ask_()) return end();
  } else if (late) {
    return end();
  }
  world_.after(world_.random().between(kMillisecond, 20 * kMillisecond), World::kNobody, [this] { step(); });
}

void ConsoleSwitchover::end() {
  check();
  if (world_.verbose()) world_.note("SWITCHOVER is over");
  drained_ = false;
  released_at_us_ = world_.now_us();
  upstream_->release();
}

bool ConsoleSwitchover::holds() const {
  if (upstream_ == nullptr) return false;
  return upstream_->held() || world_.now_us() < released_at_us_ + kHeardWithinUs;
}

void ConsoleSwitchover::check() {
  if (drained_ && lost() != lost_before_)
    world_.fail("a client has lost its server by a switchover that was waited for");
}

/// Servers that clients have.
size_t ConsoleSwitchover::busy() const {
  size_t count = 0;
  for (const auto& worker : world_.workers()) {
    worker->each_pool([&](pool::Pool& pool) {
      if (pool.upstream() == upstream_) count += pool.statistics().sv_active.get();
    });
  }
  return count;
}

uint64_t ConsoleSwitchover::lost() const {
  uint64_t count = 0;
  for (const auto& worker : world_.workers()) {
    worker->each_pool([&](pool::Pool& pool) {
      if (pool.upstream() == upstream_) count += pool.statistics().servers_lost.get();
    });
  }
  return count;
}

}  // namespace bezel::simulation
