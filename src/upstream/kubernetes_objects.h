#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

// What Kubernetes' interface says of the objects in which Patroni keeps its state. Any thread may call this; nothing
// throws.
namespace bezel::upstream {

/// An address of an Endpoints object.
struct EndpointAddress {
  std::string host;
  std::string pod;    ///< whose it is; empty: it does not tell
  uint16_t port = 0;  ///< PostgreSQL's; 0: it has none
  bool operator==(const EndpointAddress&) const = default;
};

/// What Patroni writes on its pod, as far as it is used.
struct PatroniPodStatus {
  std::string state, role;
  std::optional<uint32_t> timeline;
  std::optional<uint64_t> xlog_location;
  bool no_load_balance = false;
  bool operator==(const PatroniPodStatus&) const = default;
};

/// An Endpoints, a ConfigMap or a Pod. What the others have is empty.
struct KubernetesObject {
  std::string name;
  // The leader lock: Endpoints and ConfigMap.
  std::string leader;              ///< the pod that holds it; empty: none
  std::optional<uint64_t> optime;  ///< how far the leader's log was, some seconds ago
  std::vector<EndpointAddress> addresses;
  // A pod.
  std::string pod_ip;  ///< empty: it has none yet
  bool runs = false;   ///< it runs, and is not about to be deleted
  std::optional<PatroniPodStatus> patroni;
};

/// An answer to a list request.
struct KubernetesList {
  std::string resource_version;  ///< where a watch goes on
  std::vector<KubernetesObject> objects;
};

/// One line of a watch.
struct KubernetesEvent {
  enum class Kind : uint8_t { put, removed, bookmark, error };
  Kind kind = Kind::put;
  std::string resource_version;  ///< empty in an error
  KubernetesObject object;
  int error_code = 0;  ///< of an error: HTTP's
  std::string error_text;
};

/// At most that many objects are taken from a list.
inline constexpr size_t kKubernetesObjectsMax = 64;

/// Nothing if it is not one; then `problem` says why, without any of its text. An annotation `status` that is nonsense
/// is as none: it must not hide the leader.
std::optional<KubernetesList> parse_kubernetes_list(std::string_view body, std::string& problem);
std::optional<KubernetesEvent> parse_kubernetes_event(std::string_view line, std::string& problem);

/// What a refusal says to people ("endpoints \"x\" is forbidden"); empty: nothing.
std::string kubernetes_status_text(std::string_view body);

}  // namespace bezel::upstream
