#pragma once

#include <functional>
#include <memory>
#include <string>

#include "pool/upstream.h"
#include "src/upstream/follower.h"

namespace bezel::upstream {

/// A planned change of the primary that no client sees: no new transaction begins, those under way end, then the
/// cluster is told to change (or does so by itself at its own time), and transactions begin again on the new primary.
/// Driven by step(), on the control thread.
class Switchover {
 public:
  /// How many server connections of that upstream are with clients.
  using BusyServers = std::function<size_t(const pool::UpstreamSettings&)>;
  using Done = std::function<void(std::string error)>;

  /// `done` is called once, also when this ends early. `at_us`: when the cluster carries it out by itself, as it has
  /// announced (monotonic); 0: it is to be asked.
  Switchover(std::shared_ptr<pool::Upstream> upstream, Follower& follower, BusyServers busy, std::string candidate,
             int64_t at_us, Done done);
  /// Lets the clients go on.
  ~Switchover();
  Switchover(const Switchover&) = delete;
  Switchover& operator=(const Switchover&) = delete;

  /// The cluster has announced one of its own for `at_us`, and will not wait: while nothing has been asked of it yet,
  /// that one is prepared for. False: the cluster has been asked already, and its answer is to be waited for.
  bool join(int64_t at_us);
  /// Looks how far it has come; true when it is over.
  bool step(int64_t now_us);

  /// How long transactions that are under way may take before the switchover is given up: nobody else may begin one
  /// meanwhile.
  static constexpr int64_t kDrainUs = 10'000'000;
  /// How long the cluster may take from its answer to another leader's name.
  static constexpr int64_t kFollowUs = 20'000'000;
  /// How long before its time an announced switchover is prepared.
  static constexpr int64_t kLeadUs = 1'000'000;

 private:
  enum class Stage : uint8_t { draining, asked, following, over };

  bool drain(int64_t now_us);
  void ask();
  bool follow(int64_t now_us);
  bool another_leads() const;
  bool end_led_by_another();
  bool end(std::string error);

  std::shared_ptr<pool::Upstream> upstream_;
  Follower& follower_;
  BusyServers busy_;
  std::string candidate_, leader_;
  Done done_;
  Stage stage_ = Stage::draining;
  int64_t announced_at_us_ = 0;  // 0: the cluster is asked
  int64_t deadline_us_ = 0;
  std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);
};

}  // namespace bezel::upstream
