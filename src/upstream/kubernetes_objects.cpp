#include "src/upstream/kubernetes_objects.h"

#include <algorithm>
#include <charconv>
#include <limits>

#include "pool/printable.h"
#include "src/upstream/base_url.h"
#include "src/upstream/json_fields.h"

namespace bezel::upstream {

namespace {

constexpr size_t kNameBytesMax = 253;
constexpr size_t kVersionBytesMax = 64;
constexpr size_t kStatusBytesMax = 16UL * 1024;
constexpr size_t kAddressesMax = 256;

const Json kNothing = Json::object();

/// A member that is an object; one without members if there is none. Null if it is something else.
const Json* object_in(const Json& object, const char* name) {
  const Json* const found = find_member(object, name);
  if (found == nullptr) return &kNothing;
  return found->is_object() ? found : nullptr;
}

/// A member that is an array; null if there is none.
const Json* array_in(const Json& object, const char* name) {
  const Json* const found = find_member(object, name);
  return found != nullptr && found->is_array() ? found : nullptr;
}

/// Text that is put into URLs again.
bool read_version(const Json& metadata, std::string& version) {
  return read_text(metadata, "resourceVersion", kVersionBytesMax, version) &&
         std::all_of(version.begin(), version.end(), [](char c) {
           return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '-' || c == '.';
         });
}

/// The port named "postgresql", else the first. False: it is none.
bool read_port(const Json& subset, uint16_t& port) {
  const Json* const ports = array_in(subset, "ports");
  if (ports == nullptr) return true;
  for (const Json& one : *ports) {
    std::optional<uint64_t> number;
    std::string name;
    if (!read_number(one, "port", 65535, number) || !number || *number == 0) return false;
    if (!read_text(one, "name", kNameBytesMax, name)) return false;
    if (port == 0 || name == "postgresql") port = static_cast<uint16_t>(*number);
    if (name == "postgresql") break;
  }
  return true;
}

bool read_address(const Json& from, uint16_t port, EndpointAddress& address) {
  const Json* const target = object_in(from, "targetRef");
  address.port = port;
  return target != nullptr && read_text(from, "ip", kNameBytesMax, address.host) && is_network_host(address.host) &&
         read_text(*target, "name", kNameBytesMax, address.pod);
}

bool read_subsets(const Json& object, std::vector<EndpointAddress>& addresses) {
  const Json* const subsets = array_in(object, "subsets");
  if (subsets == nullptr) return true;
  for (const Json& subset : *subsets) {
    uint16_t port = 0;
    if (!read_port(subset, port)) return false;
    const Json* const found = array_in(subset, "addresses");
    if (found == nullptr) continue;
    if (found->size() > kAddressesMax - addresses.size()) return false;
    for (const Json& one : *found) {
      if (!read_address(one, port, addresses.emplace_back())) return false;
    }
  }
  return true;
}

/// Patroni's JSON in an annotation.
std::optional<PatroniPodStatus> read_status(const std::string& text) {
  const std::optional<Json> json = parse_object(text);
  PatroniPodStatus status;
  std::optional<uint64_t> timeline;
  if (!json || !read_text(*json, "state", kNameBytesMax, status.state) ||
      !read_text(*json, "role", kNameBytesMax, status.role) ||
      !read_number(*json, "timeline", std::numeric_limits<uint32_t>::max(), timeline) ||
      !read_number(*json, "xlog_location", std::numeric_limits<uint64_t>::max(), status.xlog_location)) {
    return std::nullopt;
  }
  if (timeline) status.timeline = static_cast<uint32_t>(*timeline);
  const Json* const tags = find_member(*json, "tags");
  const Json* const tag = tags != nullptr ? find_member(*tags, "noloadbalance") : nullptr;
  status.no_load_balance = tag != nullptr && is_true_in_python(*tag);
  return status;
}

bool read_annotations(const Json& metadata, KubernetesObject& object) {
  const Json* const annotations = object_in(metadata, "annotations");
  if (annotations == nullptr) return false;
  std::string optime, status;
  if (!read_text(*annotations, "leader", kNameBytesMax, object.leader)) return false;
  if (read_text(*annotations, "optime", kVersionBytesMax, optime) && !optime.empty()) {
    uint64_t number = 0;
    const auto [end, error] = std::from_chars(optime.data(), optime.data() + optime.size(), number);
    if (error == std::errc() && end == optime.data() + optime.size()) object.optime = number;
  }
  if (read_text(*annotations, "status", kStatusBytesMax, status) && !status.empty()) {
    object.patroni = read_status(status);
  }
  return true;
}

bool read_pod(const Json& from, const Json& metadata, KubernetesObject& object) {
  const Json* const status = object_in(from, "status");
  if (status == nullptr) return false;
  std::string phase;
  if (!read_text(*status, "phase", kNameBytesMax, phase)) return false;
  if (!read_text(*status, "podIP", kNameBytesMax, object.pod_ip)) return false;
  object.runs = phase == "Running" && find_member(metadata, "deletionTimestamp") == nullptr;
  return object.pod_ip.empty() || is_network_host(object.pod_ip);
}

/// Returns what is wrong with it, or null.
const char* read_object(const Json& from, KubernetesObject& object, std::string& version) {
  const Json* const metadata = object_in(from, "metadata");
  if (metadata == nullptr || !read_version(*metadata, version)) return "an object's metadata";
  if (!read_text(*metadata, "name", kNameBytesMax, object.name)) return "an object's name";
  if (!read_annotations(*metadata, object)) return "an object's annotations";
  if (!read_subsets(from, object.addresses)) return "an object's subsets";
  if (!read_pod(from, *metadata, object)) return "an object's status";
  return nullptr;
}

const char* read_list(const Json& from, KubernetesList& list) {
  const Json* const metadata = object_in(from, "metadata");
  if (metadata == nullptr || !read_version(*metadata, list.resource_version) || list.resource_version.empty()) {
    return "its metadata";
  }
  if (find_member(from, "items") == nullptr) return nullptr;  // an empty list of Go's
  const Json* const items = array_in(from, "items");
  if (items == nullptr) return "its items";
  if (items->size() > kKubernetesObjectsMax) return "too many items";
  for (const Json& one : *items) {
    std::string version;
    KubernetesObject& object = list.objects.emplace_back();
    if (const char* const wrong = read_object(one, object, version)) return wrong;
    if (object.name.empty()) return "an object's name";
  }
  return nullptr;
}

/// An event's object is a Status if it is an error.
const char* read_error(const Json& status, KubernetesEvent& event) {
  event.kind = KubernetesEvent::Kind::error;
  std::optional<uint64_t> code;
  std::string text;
  if (!read_number(status, "code", 999, code)) return "an error's code";
  (void)read_text(status, "message", kStatusBytesMax, text);
  event.error_code = static_cast<int>(code.value_or(0));
  event.error_text = pool::printable(text);
  return nullptr;
}

const char* read_event(const Json& from, KubernetesEvent& event) {
  std::string type;
  if (!read_text(from, "type", kNameBytesMax, type)) return "an event's type";
  const Json* const object = object_in(from, "object");
  if (object == nullptr) return "an event's object";
  if (type == "ERROR") return read_error(*object, event);
  if (type == "ADDED" || type == "MODIFIED") {
    event.kind = KubernetesEvent::Kind::put;
  } else if (type == "DELETED") {
    event.kind = KubernetesEvent::Kind::removed;
  } else if (type == "BOOKMARK") {
    event.kind = KubernetesEvent::Kind::bookmark;
  } else {
    return "an event's type";
  }
  if (const char* const wrong = read_object(*object, event.object, event.resource_version)) return wrong;
  if (event.resource_version.empty()) return "an object's metadata";
  if (event.kind != KubernetesEvent::Kind::bookmark && event.object.name.empty()) return "an object's name";
  return nullptr;
}

/// Reads a whole text by `read`.
template <typename Value>
std::optional<Value> parse(std::string_view text, const char* (*read)(const Json&, Value&), std::string& problem) {
  const std::optional<Json> json = parse_object(text);
  Value value;
  const char* const wrong = json ? read(*json, value) : "not a JSON object";
  if (wrong == nullptr) return value;
  problem = std::string("not an answer of Kubernetes: ") + wrong;
  return std::nullopt;
}

}  // namespace

std::optional<KubernetesList> parse_kubernetes_list(std::string_view body, std::string& problem) {
  return parse<KubernetesList>(body, read_list, problem);
}

std::optional<KubernetesEvent> parse_kubernetes_event(std::string_view line, std::string& problem) {
  return parse<KubernetesEvent>(line, read_event, problem);
}

std::string kubernetes_status_text(std::string_view body) {
  const std::optional<Json> json = parse_object(body);
  std::string text;
  if (json) (void)read_text(*json, "message", kStatusBytesMax, text);
  return pool::printable(text);
}

}  // namespace bezel::upstream
