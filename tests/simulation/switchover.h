#pragma once

#include <cstdint>
#include <functional>
#include <string>

#include "pool/upstream.h"

namespace bezel::simulation {

class World;

/// What SWITCHOVER on the console does, see src/upstream/switchover.h: clients are given no server, those who have one
/// come to the end of their transactions, the cluster is asked, and all go on with the new primary. What must hold:
/// nobody loses a server by it.
class ConsoleSwitchover {
 public:
  explicit ConsoleSwitchover(World& world) : world_(world) {}

  /// `ask` is called when nobody has a server any more, and has the cluster change its primary; false: it cannot.
  void begin(pool::Upstream& upstream, std::function<bool()> ask);
  /// Whether clients are held; also for a moment after it, until all workers have heard.
  bool holds() const;
  void check();
  size_t finished() const { return finished_; }

 private:
  void step();
  void end();
  size_t busy() const;
  uint64_t lost() const;

  World& world_;
  pool::Upstream* upstream_ = nullptr;
  std::function<bool()> ask_;
  std::string leader_;
  int64_t deadline_us_ = 0, released_at_us_ = 0;
  bool drained_ = false;
  uint64_t lost_before_ = 0;
  size_t finished_ = 0;
};

}  // namespace bezel::simulation
