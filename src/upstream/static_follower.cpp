#include "src/upstream/static_follower.h"

#include <fmt/format.h>

namespace bezel::upstream {

StaticFollower::StaticFollower(uv_loop_t* loop, const pool::UpstreamSettings& settings, Observer& observer)
    : timer_(new uv_timer_t), observer_(observer) {
  uv_timer_init(loop, timer_);
  timer_->data = this;
  for (const pool::HostAddress& host : settings.hosts) {
    membership_.members.push_back({fmt::format("{}:{}", host.host, host.port), host});
  }
}

StaticFollower::~StaticFollower() {
  uv_close(reinterpret_cast<uv_handle_t*>(timer_),
           [](uv_handle_t* handle) { delete reinterpret_cast<uv_timer_t*>(handle); });
}

void StaticFollower::start() {
  uv_timer_start(timer_, tell, 0, 0);
}

void StaticFollower::tell(uv_timer_t* timer) {
  auto& follower = *static_cast<StaticFollower*>(timer->data);
  follower.observer_.on_membership(follower.membership_);
}

void StaticFollower::switch_over(const std::string&, const std::string&, std::function<void(std::string)> done) {
  done(kSwitchoverNeedsPatroni);
}

}  // namespace bezel::upstream
