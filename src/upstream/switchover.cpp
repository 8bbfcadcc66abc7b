#include "src/upstream/switchover.h"

#include <fmt/format.h>

#include <chrono>
#include <utility>

namespace bezel::upstream {

namespace {

int64_t wall_clock_us() {
  const auto now = std::chrono::system_clock::now().time_since_epoch();
  return std::chrono::duration_cast<std::chrono::microseconds>(now).count();
}

}  // namespace

Switchover::Switchover(std::shared_ptr<pool::Upstream> upstream, Follower& follower, BusyServers busy,
                       std::string candidate, int64_t at_us, Done done)
    : upstream_(std::move(upstream)),
      follower_(follower),
      busy_(std::move(busy)),
      candidate_(std::move(candidate)),
      leader_(upstream_->leader_name()),
      done_(std::move(done)),
      announced_at_us_(at_us) {
  upstream_->hold(fmt::format("switchover from {}{}", leader_, candidate_.empty() ? "" : " to " + candidate_),
                  wall_clock_us());
}

Switchover::~Switchover() {
  *alive_ = false;
  if (stage_ != Stage::over) end("the switchover was broken off");
}

bool Switchover::join(int64_t at_us) {
  if (stage_ != Stage::draining) return false;
  announced_at_us_ = at_us;
  return true;
}

bool Switchover::step(int64_t now_us) {
  switch (stage_) {
    case Stage::draining:
      return drain(now_us);
    case Stage::asked:
      return false;
    case Stage::following:
      return follow(now_us);
    case Stage::over:
      return true;
  }
  return true;
}

bool Switchover::drain(int64_t now_us) {
  if (another_leads()) return end_led_by_another();
  if (announced_at_us_ != 0) {
    // The cluster does not wait for us: what is not over by then is lost with the old primary.
    deadline_us_ = announced_at_us_ + kFollowUs;
    stage_ = Stage::following;
    return false;
  }
  if (deadline_us_ == 0) deadline_us_ = now_us + kDrainUs;
  const size_t busy = busy_(upstream_->settings());
  if (busy == 0) {
    ask();
    return stage_ == Stage::over;
  }
  if (now_us < deadline_us_) return false;
  return end(fmt::format("given up, and nothing is changed: {} transaction{} still under way after {} s", busy,
                         busy == 1 ? " is" : "s are", kDrainUs / 1'000'000));
}

void Switchover::ask() {
  stage_ = Stage::asked;
  deadline_us_ = 0;
  follower_.switch_over(leader_, candidate_, [this, alive = alive_](std::string error) {
    if (!*alive || stage_ != Stage::asked) return;
    if (!error.empty()) {
      end(std::move(error));
      return;
    }
    stage_ = Stage::following;
  });
}

/// Once another one holds the lock, connections to the old one are closed, and who waits is served as at any failover.
bool Switchover::follow(int64_t now_us) {
  if (another_leads()) return end_led_by_another();
  if (deadline_us_ == 0) deadline_us_ = now_us + kFollowUs;
  if (now_us < deadline_us_) return false;
  return end(fmt::format("no other primary than {} after {} s", leader_, kFollowUs / 1'000'000));
}

bool Switchover::another_leads() const {
  const std::string leader = upstream_->leader_name();
  return !leader.empty() && leader != leader_;
}

bool Switchover::end_led_by_another() {
  const std::string leader = upstream_->leader_name();
  if (candidate_.empty() || leader == candidate_) return end("");
  return end(fmt::format("{} has become the primary instead of {}", leader, candidate_));
}

bool Switchover::end(std::string error) {
  stage_ = Stage::over;
  upstream_->release();
  std::exchange(done_, nullptr)(std::move(error));
  return true;
}

}  // namespace bezel::upstream
