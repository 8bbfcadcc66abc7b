#pragma once

#include <uv.h>

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "pool/settings.h"
#include "pool/upstream.h"
#include "src/upstream/follower.h"
#include "src/upstream/switchover.h"

namespace bezel::upstream {

/// The followers of all upstreams of the configuration. Everything is called by the thread that runs the loop.
class Followers {
 public:
  Followers(uv_loop_t* loop, pool::UpstreamTable& table, Switchover::BusyServers busy, LogFunction log);
  /// Stops all; the loop must run once more for their handles to close.
  ~Followers();
  Followers(const Followers&) = delete;
  Followers& operator=(const Followers&) = delete;

  /// Follows the upstreams that the settings name, and no others.
  void apply(const pool::Settings& settings);
  /// Makes `candidate` (empty: whichever) the primary of the cluster that it is a member of. `done` gets an empty text,
  /// or an error.
  void switch_over(const std::string& candidate, Switchover::Done done);

  /// How often a change under way is looked after.
  static constexpr uint64_t kTickMs = 50;

 private:
  struct Following;

  void tick();
  Following* find(const pool::Upstream& upstream);
  void begin(Following& following, const std::string& candidate, int64_t at_us, Switchover::Done done);
  void begin_announced(Following& following);

  uv_loop_t* loop_;
  pool::UpstreamTable& table_;
  Switchover::BusyServers busy_;
  LogFunction log_;
  uv_timer_t* timer_;  // outlives this object until it is closed
  std::vector<std::unique_ptr<Following>> following_;
};

}  // namespace bezel::upstream
