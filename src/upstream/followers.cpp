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
  return std::any_of(settings.databases.begin(), settings.databases.end(),
                     [&](const auto& database) { return database.second.upstream == upstream; });
}

}  // namespace

std::string databases_of(const pool::Settings& settings, const pool::UpstreamSettings& upstream) {
  std::string list;
  for (const auto& [name, database] : settings.databases) {
    if (database.upstream == upstream) list += (list.empty() ? "" : ",") + name;
  }
  return list;
}

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
    std::vector<pool::Failover> failovers = upstream->failovers();
    std::reverse(failovers.begin(), failovers.end());
    return failovers;
  }

  std::shared_ptr<pool::Upstream> upstream;
  const LogFunction& log;
  std::unique_ptr<Follower> follower;
  std::string name;
  bool silent = false;
  uint64_t begun = 0, ended = 0;  // numbers of failovers that the log has told of
};

Followers::Followers(uv_loop_t* loop, pool::UpstreamTable& table, LogFunction log)
    : loop_(loop), table_(table), log_(std::move(log)), timer_(new uv_timer_t) {
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
  for (const auto& following : following_) following->name = databases_of(settings, following->upstream->settings());
  if (following_.empty()) {
    uv_timer_stop(timer_);
  } else if (uv_is_active(reinterpret_cast<uv_handle_t*>(timer_)) == 0) {
    uv_timer_start(
        timer_, [](uv_timer_t* timer) { static_cast<Followers*>(timer->data)->tick(); }, kTickMs, kTickMs);
  }
}

void Followers::tick() {
  for (const auto& following : following_) following->tell();
}

Follower* Followers::find(const pool::Upstream& upstream) {
  for (const auto& following : following_) {
    if (following->upstream.get() == &upstream) return following->follower.get();
  }
  return nullptr;
}

}  // namespace bezel::upstream
