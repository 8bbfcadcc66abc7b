#pragma once

#include <uv.h>

#include "src/upstream/follower.h"

namespace bezel::upstream {

/// The hosts of the configuration, which never change. Which of them is the primary, each says itself.
class StaticFollower final : public Follower {
 public:
  StaticFollower(uv_loop_t* loop, const pool::UpstreamSettings& settings, Observer& observer);
  ~StaticFollower() override;

  void start() override;
  void set_changing(bool) override {}
  void switch_over(const std::string& leader, const std::string& candidate,
                   std::function<void(std::string error)> done) override;

 private:
  static void tell(uv_timer_t* timer);

  uv_timer_t* timer_;  // outlives this object until it is closed
  Observer& observer_;
  pool::Membership membership_;
};

}  // namespace bezel::upstream
