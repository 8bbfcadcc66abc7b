#include "src/upstream/kubernetes_follower.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "src/upstream/patroni_answer.h"

namespace bezel::upstream {

namespace {

constexpr uint64_t kRetryMs = 5000;

}  // namespace

KubernetesFollower::KubernetesFollower(uv_loop_t* loop, const pool::UpstreamSettings& settings, Observer& observer,
                                       LogFunction log)
    : loop_(loop), settings_(settings), observer_(observer), log_(std::move(log)), http_(loop), timer_(new uv_timer_t) {
  uv_timer_init(loop, timer_);
  timer_->data = this;
}

KubernetesFollower::~KubernetesFollower() {
  uv_close(reinterpret_cast<uv_handle_t*>(timer_),
           [](uv_handle_t* handle) { delete reinterpret_cast<uv_timer_t*>(handle); });
}

void KubernetesFollower::start() {
  uv_timer_start(
      timer_, [](uv_timer_t* timer) { static_cast<KubernetesFollower*>(timer->data)->on_timer(); }, 0, 0);
}

void KubernetesFollower::on_timer() {
  if (lock_watch_ == nullptr) return begin();
  if (!is_changing_) return;
  lock_watch_->look();
  pods_watch_->look();
  uv_timer_start(timer_, timer_->timer_cb, static_cast<uint64_t>(settings_.poll_interval_us / 1000), 0);
}

void KubernetesFollower::begin() {
  const std::string problem = access_.find(settings_);
  if (!problem.empty()) {
    uv_timer_start(timer_, timer_->timer_cb, kRetryMs, 0);
    return observer_.on_silence(problem);
  }
  const bool is_endpoints = settings_.leader_object == pool::LeaderObject::endpoints;
  lock_name_ = is_endpoints ? settings_.cluster : settings_.cluster + "-leader";
  const std::string in_namespace = "/api/v1/namespaces/" + url_encoded(access_.namespace_name);
  const auto watch = [&](const std::string& selection) {
    return std::make_unique<KubernetesWatch>(loop_, http_, access_, in_namespace + selection, *this);
  };
  // A list of one and not the object itself: it can be watched before it exists.
  lock_watch_ = watch(fmt::format("/{}?fieldSelector={}", is_endpoints ? "endpoints" : "configmaps",
                                  url_encoded("metadata.name=" + lock_name_)));
  pods_watch_ = watch("/pods?labelSelector=" + url_encoded("application=spilo,cluster-name=" + settings_.cluster));
  lock_watch_->look();
  pods_watch_->look();
  if (is_changing_) uv_timer_start(timer_, timer_->timer_cb, 0, 0);
}

void KubernetesFollower::set_changing(bool changing) {
  if (std::exchange(is_changing_, changing) == changing || !changing || lock_watch_ == nullptr) return;
  uv_timer_start(timer_, timer_->timer_cb, 0, 0);
}

void KubernetesFollower::switch_over(const std::string&, const std::string&, std::function<void(std::string)> done) {
  done(kSwitchoverNeedsPatroni);
}

void KubernetesFollower::on_list(const KubernetesWatch& watch, const std::vector<KubernetesObject>& objects) {
  if (&watch == pods_watch_.get()) {
    pods_.clear();
    for (const KubernetesObject& pod : objects) pods_[pod.name] = pod;
    are_pods_known_ = true;
    pods_failure_.clear();
  } else {
    lock_.reset();
    for (const KubernetesObject& object : objects) take_lock(object);
    is_lock_known_ = true;
  }
  tell();
}

void KubernetesFollower::on_events(const KubernetesWatch& watch, const std::vector<KubernetesEvent>& events) {
  for (const KubernetesEvent& event : events) {
    const bool is_put = event.kind == KubernetesEvent::Kind::put;
    if (&watch != pods_watch_.get()) {
      if (is_put) {
        take_lock(event.object);
      } else if (event.object.name == lock_name_) {
        lock_.reset();
      }
    } else if (!is_put) {
      pods_.erase(event.object.name);
    } else if (pods_.size() < kKubernetesObjectsMax || pods_.contains(event.object.name)) {
      pods_[event.object.name] = event.object;
    }
  }
  tell();
}

void KubernetesFollower::take_lock(const KubernetesObject& object) {
  if (object.name == lock_name_) lock_ = object;
}

void KubernetesFollower::on_failure(const KubernetesWatch& watch, int, std::string_view why) {
  if (&watch == pods_watch_.get()) return on_pods_failure(why);
  observer_.on_silence(fmt::format("{} {}: {}", access_.api_url, lock_name_, why));
}

void KubernetesFollower::on_pods_failure(std::string_view why) {
  const std::string text =
      fmt::format("{}: the pods of {} cannot be listed: {}", access_.api_url, settings_.cluster, why);
  if (std::exchange(pods_failure_, text) != text) log_(pool::LogLevel::warning, text);
  // Without them a ConfigMap tells a name only.
  if (settings_.leader_object == pool::LeaderObject::configmap && !are_pods_known_) observer_.on_silence(text);
}

std::optional<pool::HostAddress> KubernetesFollower::leader_address() const {
  if (!lock_ || lock_->leader.empty()) return std::nullopt;
  const auto pod = pods_.find(lock_->leader);
  const std::string pod_ip = pod != pods_.end() ? pod->second.pod_ip : "";
  if (settings_.leader_object == pool::LeaderObject::endpoints) {
    if (lock_->addresses.empty()) return std::nullopt;  // the lock is released
    for (const EndpointAddress& one : lock_->addresses) {
      const bool is_only_one = lock_->addresses.size() == 1 && one.pod.empty();
      if (one.pod == lock_->leader || is_only_one) {
        return pool::HostAddress{one.host, one.port != 0 ? one.port : settings_.port};
      }
    }
  }
  if (pod_ip.empty()) return std::nullopt;
  return pool::HostAddress{pod_ip, settings_.port};
}

pool::Member KubernetesFollower::member_of(const KubernetesObject& pod) const {
  pool::Member member{pod.name, {pod.pod_ip, settings_.port}, pool::MemberRole::replica};
  if (lock_ && !lock_->addresses.empty() && lock_->addresses[0].port != 0) {
    member.address.port = lock_->addresses[0].port;  // all pods of a cluster have one
  }
  member.takes_reads = false;
  if (!pod.patroni) return member;
  member.state = pod.patroni->state;
  member.timeline = pod.patroni->timeline;
  member.takes_reads = pod.runs && patroni_state_takes_reads(member.state) && !pod.patroni->no_load_balance;
  if (lock_ && lock_->optime && pod.patroni->xlog_location && pod.name != lock_->leader) {
    const uint64_t leader_at = *lock_->optime, own = *pod.patroni->xlog_location;
    member.lag_bytes = leader_at > own ? leader_at - own : 0;
  }
  return member;
}

void KubernetesFollower::tell() {
  if (!is_lock_known_) return;
  if (settings_.leader_object == pool::LeaderObject::configmap && !are_pods_known_) return;
  pool::Membership membership;
  for (const auto& [name, pod] : pods_) {
    if (!pod.pod_ip.empty()) membership.members.push_back(member_of(pod));
  }
  if (const auto address = leader_address()) {
    const auto is_leader = [&](const pool::Member& member) { return member.name == lock_->leader; };
    auto leader = std::find_if(membership.members.begin(), membership.members.end(), is_leader);
    if (leader == membership.members.end()) leader = membership.members.insert(leader, {lock_->leader, {}});
    leader->address = *address;
    const auto pod = pods_.find(lock_->leader);
    const bool is_standby = pod != pods_.end() && pod->second.patroni && pod->second.patroni->role == "standby_leader";
    leader->role = is_standby ? pool::MemberRole::standby_leader : pool::MemberRole::primary;
  }
  observer_.on_membership(membership);
}

}  // namespace bezel::upstream
