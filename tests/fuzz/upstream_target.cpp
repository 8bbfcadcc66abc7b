// What Patroni and Kubernetes answer, and the addresses that stand in it.

#include <set>
#include <string>

#include "src/upstream/base_url.h"
#include "src/upstream/kubernetes_objects.h"
#include "src/upstream/patroni_answer.h"
#include "tests/fuzz/target.h"

namespace {

using namespace bezel::upstream;
using bezel::fuzz::must;

bool is_printable(std::string_view text) {
  for (const char c : text) {
    if (static_cast<unsigned char>(c) < 32 || c == 127) return false;
  }
  return true;
}

void check_patroni(std::string_view body) {
  std::string problem;
  const auto cluster = parse_patroni_cluster(body, problem);
  must(cluster.has_value() == problem.empty(), "a cluster or a problem");
  if (!cluster) return;
  must(cluster->membership.members.size() <= kMembersMax, "a bounded number of members");
  std::set<std::string> names;
  for (const auto& member : cluster->membership.members) {
    must(names.insert(member.name).second, "names of members are their own");
    must(is_network_host(member.address.host) && member.address.port != 0, "a member can be reached");
    must(is_printable(member.name) && is_printable(member.state), "texts that a log may have");
  }
  for (const PatroniApi& api : cluster->apis) must(base_url_of(api.base_url) == api.base_url, "an address that is one");
}

void check_object(const KubernetesObject& object) {
  must(is_printable(object.name) && is_printable(object.leader), "texts that a log may have");
  for (const EndpointAddress& address : object.addresses) {
    must(address.host.empty() || is_network_host(address.host), "an address that is one");
  }
}

void check_kubernetes(std::string_view body) {
  std::string problem;
  const auto list = parse_kubernetes_list(body, problem);
  must(list.has_value() == problem.empty(), "a list or a problem");
  if (list) {
    must(list->objects.size() <= kKubernetesObjectsMax, "a bounded number of objects");
    for (const KubernetesObject& object : list->objects) check_object(object);
  }
  std::string event_problem;
  const auto event = parse_kubernetes_event(body, event_problem);
  must(event.has_value() == event_problem.empty(), "an event or a problem");
  if (event) {
    check_object(event->object);
    must(is_printable(event->error_text) && is_printable(event->resource_version), "texts that a log may have");
  }
  must(is_printable(kubernetes_status_text(body)), "a text that a log may have");
}

void check_texts(std::string_view text) {
  if (const auto url = base_url_of(text)) must(base_url_of(*url) == *url, "an address of an address is the same");
  parse_patroni_time(text);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view text = bezel::fuzz::as_text(data, size);
  check_patroni(text);
  check_kubernetes(text);
  check_texts(text);
  return 0;
}
