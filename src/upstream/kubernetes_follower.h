#pragma once

#include <uv.h>

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "src/upstream/follower.h"
#include "src/upstream/http_client.h"
#include "src/upstream/kubernetes_watch.h"

namespace bezel::upstream {

/// Follows the object in Kubernetes that is Patroni's leader lock, and the cluster's pods. Members are pods: their
/// names, and their own addresses, never a Service's.
///
/// Endpoints: the lock says the leader's address itself. That is enough to follow it; pods that may not be listed
/// (status 403) only cost the replicas. ConfigMap: the lock says a name, the address is the pod's.
///
/// Watches tell changes at once. While a change is under way both are listed again in addition, every
/// `poll_interval_us` (Kubernetes is not Patroni: many follow it): a connection may be dead without a word.
class KubernetesFollower final : public Follower, public KubernetesWatch::Events {
 public:
  KubernetesFollower(uv_loop_t* loop, const pool::UpstreamSettings& settings, Observer& observer, LogFunction log);
  ~KubernetesFollower() override;
  KubernetesFollower(const KubernetesFollower&) = delete;
  KubernetesFollower& operator=(const KubernetesFollower&) = delete;

  void start() override;
  void set_changing(bool changing) override;
  void switch_over(const std::string& leader, const std::string& candidate,
                   std::function<void(std::string error)> done) override;

  void on_list(const KubernetesWatch& watch, const std::vector<KubernetesObject>& objects) override;
  void on_events(const KubernetesWatch& watch, const std::vector<KubernetesEvent>& events) override;
  void on_failure(const KubernetesWatch& watch, int status, std::string_view why) override;

 private:
  void on_timer();
  /// Finds the way to the interface and begins to watch; again later if there is none.
  void begin();
  void take_lock(const KubernetesObject& object);
  void on_pods_failure(std::string_view why);
  /// Tells what is known, if that is enough.
  void tell();
  /// Where the leader is; nothing: there is none, or nobody says where.
  std::optional<pool::HostAddress> leader_address() const;
  pool::Member member_of(const KubernetesObject& pod) const;

  uv_loop_t* loop_;
  pool::UpstreamSettings settings_;
  Observer& observer_;
  LogFunction log_;
  HttpClient http_;
  KubernetesAccess access_;
  std::unique_ptr<KubernetesWatch> lock_watch_, pods_watch_;
  uv_timer_t* timer_;  ///< outlives this object until it is closed
  bool is_changing_ = false;

  std::string lock_name_;
  std::optional<KubernetesObject> lock_;  ///< nothing: it does not exist
  bool is_lock_known_ = false, are_pods_known_ = false;
  std::map<std::string, KubernetesObject> pods_;
  std::string pods_failure_;  ///< the last that was logged
};

}  // namespace bezel::upstream
