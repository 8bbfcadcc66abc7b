#include "src/upstream/followers.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <utility>

namespace bezel::upstream {

namespace {

using pool::LogLevel;

template <typename Clock>
int64_t now_us() {
  return std::chrono::duration_cast<std::chrono::microseconds>(Clock::now().time_since_epoch()).count();
}

bool names(const pool::Settings& settings, const pool::UpstreamSettings& upstream) {
  return !pool::databases_of(settings, upstream).empty();
}

}  // namespace

/// One upstream, whoever follows it, and what is said about it in the log.
struct Followers::Following final : Observer {
  Following(std::shared_ptr<pool::Upstream> followed, const LogFunction& logger)
      : upstream(std::move(followed)), log(logger) {}

  void on_membership(const pool::Membership& membership) override {
    if (std::exchange(silent, false)) log(LogLevel::info, fmt::format("upstream {}: the source answers again", name));
    upstream->on_membership(membership, now_us<std::chrono::steady_clock>(), now_us<std::chrono::system_clock>());
    tell();
  }

  void on_silence(std::string_view why) override {
    if (!std::exchange(silent, true)) {
      log(LogLevel::warning, fmt::format("upstream {}: the source does not answer: {}", name, why));
    }
    upstream->on_silence(why);
  }

  /// Follows the state of the upstream, and logs what has become of it.
  void tell() {
    upstream->tick(now_us<std::chrono::steady_clock>());
    if (follower) follower->set_changing(upstream->changing());
    for (const pool::Failover& failover : unseen()) {
      if (failover.number > begun) {
        begun = failover.number;
        log(LogLevel::warning, fmt::format("upstream {}: looking for the primary: {}", name, failover.reason));
      }
      if (failover.ended_us == 0 || failover.number <= ended) continue;
      ended = failover.number;
      log(LogLevel::info,
          fmt::format("upstream {}: {} is the primary{}, after {} ms", name, failover.to,
                      failover.timeline ? fmt::format(" on timeline {}", *failover.timeline) : std::string(),
                      (failover.ended_us - failover.began_us) / 1000));
    }
  }

  /// The oldest first.
  std::vector<pool::Failover> unseen() const {
    if (upstream->last_failover() <= ended) return {};
    std::vector<pool::Failover> failovers = upstream->row().failovers;
    std::reverse(failovers.begin(), failovers.end());
    return failovers;
  }

  std::shared_ptr<pool::Upstream> upstream;
  const LogFunction& log;
  std::unique_ptr<Follower> follower;
  std::unique_ptr<Switchover> switchover;  // under way; it uses the follower
  std::optional<pool::ScheduledSwitchover> prepared;
  std::string name;
  bool silent = false;
  uint64_t begun = 0, ended = 0;  // numbers of failovers that the log has told of
};

Followers::Followers(uv_loop_t* loop, pool::UpstreamTable& table, Switchover::BusyServers busy, LogFunction log)
    : loop_(loop), table_(table), busy_(std::move(busy)), log_(std::move(log)), timer_(new uv_timer_t) {
  uv_timer_init(loop, timer_);
  timer_->data = this;
}

Followers::~Followers() {
  uv_close(reinterpret_cast<uv_handle_t*>(timer_),
           [](uv_handle_t* handle) { delete reinterpret_cast<uv_timer_t*>(handle); });
}

void Followers::apply(const pool::Settings& settings) {
  std::erase_if(following_, [&](const auto& one) { return !names(settings, one->upstream->settings()); });
  table_.forget_unless([&](const pool::UpstreamSettings& upstream) { return names(settings, upstream); });
  for (const auto& [name, database] : settings.databases) {
    if (!database.upstream) continue;
    const std::shared_ptr<pool::Upstream> upstream = table_.of(*database.upstream);
    if (find(*upstream) != nullptr) continue;
    Following& following = *following_.emplace_back(std::make_unique<Following>(upstream, log_));
    following.follower = make_follower(loop_, *database.upstream, following, log_);
    following.follower->start();
  }
  for (const auto& following : following_)
    following->name = pool::databases_of(settings, following->upstream->settings());
  if (following_.empty()) {
    uv_timer_stop(timer_);
  } else if (uv_is_active(reinterpret_cast<uv_handle_t*>(timer_)) == 0) {
    uv_timer_start(
        timer_, [](uv_timer_t* timer) { static_cast<Followers*>(timer->data)->tick(); }, kTickMs, kTickMs);
  }
}

void Followers::tick() {
  const int64_t now = now_us<std::chrono::steady_clock>();
  for (const auto& following : following_) {
    following->tell();
    begin_announced(*following);
    if (following->switchover && following->switchover->step(now)) following->switchover.reset();
  }
}

Followers::Following* Followers::find(const pool::Upstream& upstream) {
  const auto at = std::find_if(following_.begin(), following_.end(),
                               [&](const auto& one) { return one->upstream.get() == &upstream; });
  return at == following_.end() ? nullptr : at->get();
}

// ---- Switchovers
// -------------------------------------------------------------------------------------------------------

/// REQUIRES: none is under way.
void Followers::begin(Following& following, const std::string& candidate, int64_t at_us, Switchover::Done done) {
  following.switchover = std::make_unique<Switchover>(
      following.upstream, *following.follower, busy_, candidate, at_us,
      [this, name = following.name, done = std::move(done)](const std::string& error) {
        log_(error.empty() ? LogLevel::info : LogLevel::warning,
             fmt::format("upstream {}: switchover {}", name, error.empty() ? "done" : "failed: " + error));
        if (done) done(error);
      });
  log_(LogLevel::info, fmt::format("upstream {}: switchover begins: transactions are drained", following.name));
}

/// What the cluster has said that it will do is prepared as if it had been asked for here. One that is under way
/// already has its own word first: it takes the cluster's time over, or asks, which takes the place of what was
/// announced.
void Followers::begin_announced(Following& following) {
  const std::optional<pool::ScheduledSwitchover> scheduled = following.upstream->scheduled();
  if (!scheduled || scheduled == following.prepared) return;
  const int64_t left_us = scheduled->at_wall_us - now_us<std::chrono::system_clock>();
  if (left_us > Switchover::kLeadUs) return;
  const int64_t at_us = now_us<std::chrono::steady_clock>() + left_us;
  // What has been asked may be refused: then there may be time yet.
  if (left_us >= 0 && following.switchover && !following.switchover->join(at_us)) return;
  following.prepared = scheduled;
  if (left_us < 0) return;  // it should have happened: too late to prepare anything
  if (!following.switchover) return begin(following, scheduled->to, at_us, nullptr);
  log_(LogLevel::info, fmt::format("upstream {}: the cluster's scheduled switchover is waited for", following.name));
}

void Followers::switch_over(const std::string& candidate, Switchover::Done done) {
  Following* chosen = nullptr;
  size_t able = 0;
  for (const auto& following : following_) {
    if (following->upstream->settings().source != pool::UpstreamSource::patroni) continue;
    const std::vector<pool::MemberRow> members = following->upstream->row().members;
    const bool has_it = candidate.empty() || std::any_of(members.begin(), members.end(),
                                                         [&](const auto& row) { return row.member.name == candidate; });
    if (!has_it) continue;
    chosen = following.get();
    able++;
  }
  if (chosen == nullptr && candidate.empty()) return done("there is no upstream whose source is patroni");
  if (chosen == nullptr) return done(fmt::format("no cluster has a member \"{}\"", candidate));
  if (able > 1) return done("there are several clusters: name the member that is to be the primary");
  if (chosen->switchover) return done("a switchover is under way already");
  const std::string leader = chosen->upstream->leader_name();
  if (leader.empty()) return done("the cluster has no leader now");
  if (leader == candidate) return done(fmt::format("{} is the primary already", candidate));
  begin(*chosen, candidate, 0, std::move(done));
}

}  // namespace bezel::upstream
