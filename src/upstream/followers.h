#pragma once

#include <uv.h>

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "pool/settings.h"
#include "pool/upstream.h"
#include "src/upstream/follower.h"

namespace bezel::upstream {

/// The followers of all upstreams of the configuration. Everything is called by the thread that runs the loop.
class Followers {
 public:
  Followers(uv_loop_t* loop, pool::UpstreamTable& table, LogFunction log);
  /// Stops all; the loop must run once more for their handles to close.
  ~Followers();
  Followers(const Followers&) = delete;
  Followers& operator=(const Followers&) = delete;

  /// Follows the upstreams that the settings name, and no others.
  void apply(const pool::Settings& settings);
  /// The follower of that upstream; nullptr: there is none (any more).
  Follower* find(const pool::Upstream& upstream);

  /// How often a change under way is looked after.
  static constexpr uint64_t kTickMs = 50;

 private:
  struct Following;

  void tick();

  uv_loop_t* loop_;
  pool::UpstreamTable& table_;
  LogFunction log_;
  uv_timer_t* timer_;  // outlives this object until it is closed
  std::vector<std::unique_ptr<Following>> following_;
};

/// The names of the databases that lead to the upstream, with commas between them: what people know it by.
std::string databases_of(const pool::Settings& settings, const pool::UpstreamSettings& upstream);

}  // namespace bezel::upstream
