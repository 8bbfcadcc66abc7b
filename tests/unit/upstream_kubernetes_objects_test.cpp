#include <doctest/doctest.h>

#include "src/upstream/kubernetes_objects.h"

namespace bezel::upstream {
namespace {

KubernetesObject object_of(const std::string& json) {
  std::string problem;
  const auto list =
      parse_kubernetes_list(R"({"metadata": {"resourceVersion": "7"}, "items": [)" + json + "]}", problem);
  CHECK(problem == "");
  REQUIRE(list.has_value());
  return list->objects.at(0);
}

std::string problem_of_list(const std::string& body) {
  std::string problem;
  CHECK_FALSE(parse_kubernetes_list(body, problem).has_value());
  return problem;
}

std::string problem_of_object(const std::string& json) {
  return problem_of_list(R"({"metadata": {"resourceVersion": "7"}, "items": [)" + json + "]}");
}

TEST_CASE("kubernetes: Patroni's Endpoints") {
  const KubernetesObject object = object_of(R"({"metadata": {"name": "acid-demo", "namespace": "default",
    "uid": "0b7f3c2e", "resourceVersion": "71234", "labels": {"application": "spilo", "cluster-name": "acid-demo"},
    "annotations": {"acquireTime": "2026-11-22T19:00:00.1+00:00", "leader": "acid-demo-1", "optime": "50332168",
    "renewTime": "2026-11-22T19:30:00.2+00:00", "transitions": "3", "ttl": "30"},
    "managedFields": [{"manager": "Patroni", "operation": "Update", "fieldsV1": {"f:metadata": {"f:annotations": {".": {}}}}}]},
    "subsets": [{"addresses": [{"ip": "10.2.3.4", "hostname": "acid-demo-1", "nodeName": "worker",
    "targetRef": {"kind": "Pod", "namespace": "default", "name": "acid-demo-1", "uid": "x", "resourceVersion": "5"}}],
    "ports": [{"name": "postgresql", "port": 5432, "protocol": "TCP"}]}]})");
  CHECK(object.name == "acid-demo");
  CHECK(object.leader == "acid-demo-1");
  CHECK(object.optime == 50332168U);
  CHECK(object.addresses == std::vector<EndpointAddress>{{"10.2.3.4", "acid-demo-1", 5432}});
}

TEST_CASE("kubernetes: a lock that is released, and one that was never held") {
  const KubernetesObject released =
      object_of(R"({"metadata": {"name": "a", "annotations": {"optime": "1", "leader": null}}, "subsets": []})");
  CHECK(released.leader == "");
  CHECK(released.addresses.empty());
  CHECK(object_of(R"({"metadata": {"name": "a"}})").leader == "");
  CHECK(object_of(R"({"metadata": {"name": "a", "annotations": null}, "subsets": null})").leader == "");
  CHECK_FALSE(object_of(R"({"metadata": {"name": "a", "annotations": {"optime": "1x"}}})").optime.has_value());
}

TEST_CASE("kubernetes: ports of Endpoints") {
  const auto port_of = [](const std::string& ports) {
    return object_of(R"({"metadata": {"name": "a"}, "subsets": [{"addresses": [{"ip": "10.0.0.1"}])" + ports + "}]}")
        .addresses.at(0)
        .port;
  };
  CHECK(port_of("") == 0);
  CHECK(port_of(R"(, "ports": [])") == 0);
  CHECK(port_of(R"(, "ports": [{"port": 5433}])") == 5433);
  CHECK(port_of(R"(, "ports": [{"name": "a", "port": 1}, {"name": "b", "port": 2}])") == 1);
  CHECK(port_of(
            R"(, "ports": [{"name": "a", "port": 1}, {"name": "postgresql", "port": 2}, {"name": "c", "port": 3}])") ==
        2);
}

TEST_CASE("kubernetes: a pod of Spilo") {
  const std::string status =
      R"({\"conn_url\":\"postgres://10.2.3.5:5432/postgres\",\"api_url\":\"http://10.2.3.5:8008/patroni\",)"
      R"(\"state\":\"running\",\"role\":\"replica\",\"version\":\"4.0.4\",\"xlog_location\":50332000,)"
      R"(\"replication_state\":\"streaming\",\"timeline\":4,\"tags\":{\"noloadbalance\":true}})";
  const auto pod = [&](const std::string& annotation, const std::string& metadata, const std::string& pod_status) {
    return object_of(R"({"metadata": {"name": "p-0", "annotations": {"status": ")" + annotation + "\"}" + metadata +
                     R"(}, "spec": {"containers": []}, "status": )" + pod_status + "}");
  };
  const std::string running = R"({"phase": "Running", "podIP": "10.2.3.5", "podIPs": [{"ip": "10.2.3.5"}]})";
  const KubernetesObject object = pod(status, "", running);
  CHECK(object.pod_ip == "10.2.3.5");
  CHECK(object.runs);
  CHECK(object.patroni == PatroniPodStatus{"running", "replica", 4, 50332000, true});

  CHECK_FALSE(pod(status, R"(, "deletionTimestamp": "2026-11-22T19:00:00Z")", running).runs);
  CHECK_FALSE(pod(status, "", R"({"phase": "Failed", "podIP": "10.2.3.5"})").runs);
  CHECK(pod(status, "", R"({"phase": "Pending"})").pod_ip == "");

  // Nonsense in the annotation is as none: whoever writes it must not hide the leader.
  for (const char* wrong :
       {"", "x", "[]", R"({\"state\":1})", R"({\"timeline\":-1})", R"({\"xlog_location\":\"x\"})"}) {
    CAPTURE(wrong);
    const KubernetesObject without = pod(wrong, "", running);
    CHECK(without.pod_ip == "10.2.3.5");
    CHECK_FALSE(without.patroni.has_value());
  }
}

TEST_CASE("kubernetes: lists") {
  std::string problem;
  const auto empty =
      parse_kubernetes_list(R"({"kind": "PodList", "metadata": {"resourceVersion": "12"}, "items": null})", problem);
  REQUIRE(empty.has_value());
  CHECK(empty->resource_version == "12");
  CHECK(empty->objects.empty());
}

TEST_CASE("kubernetes: hostile lists are refused") {
  for (const std::string& body : std::vector<std::string>{
           "", "[]", "{}", "<html>", R"({"metadata": {}})", R"({"metadata": {"resourceVersion": 5}})",
           R"({"metadata": {"resourceVersion": "1&watch=false"}, "items": []})",
           R"({"metadata": {"resourceVersion": "1"}, "items": {}})",
           R"({"metadata": {"resourceVersion": "1"}, "items": 1})"}) {
    CAPTURE(body);
    CHECK(problem_of_list(body).starts_with("not an answer of Kubernetes: "));
  }
  for (const std::string& object : std::vector<std::string>{
           "1", "null", "{}", R"({"metadata": []})", R"({"metadata": {"name": 1}})", R"({"metadata": {"name": ""}})",
           R"({"metadata": {"name": "a", "annotations": []}})",
           R"({"metadata": {"name": "a", "annotations": {"leader": 1}}})",
           R"({"metadata": {"name": "a", "annotations": {"leader": "x\ny"}}})",
           R"({"metadata": {"name": "a"}, "subsets": [{"addresses": [{}]}]})",
           R"({"metadata": {"name": "a"}, "subsets": [{"addresses": [{"ip": "/tmp"}]}]})",
           R"({"metadata": {"name": "a"}, "subsets": [{"addresses": [{"ip": "h", "targetRef": 1}]}]})",
           R"({"metadata": {"name": "a"}, "subsets": [{"addresses": [], "ports": [{"port": 0}]}]})",
           R"({"metadata": {"name": "a"}, "subsets": [{"addresses": [], "ports": [{"port": "x"}]}]})",
           R"({"metadata": {"name": "a"}, "subsets": [{"addresses": [], "ports": [{}]}]})",
           R"({"metadata": {"name": "a"}, "status": {"podIP": "a b"}})",
           R"({"metadata": {"name": "a"}, "status": {"podIP": 1}})",
           R"({"metadata": {"name": "a"}, "status": "up"})"}) {
    CAPTURE(object);
    CHECK(problem_of_object(object).starts_with("not an answer of Kubernetes: "));
  }
  std::string many = R"({"metadata": {"name": "a"}})";
  for (int i = 0; i < 64; i++) many += R"(, {"metadata": {"name": "a"}})";
  CHECK(problem_of_object(many) == "not an answer of Kubernetes: too many items");
  std::string addresses = R"({"ip": "h"})";
  for (int i = 0; i < 256; i++) addresses += R"(, {"ip": "h"})";
  CHECK(problem_of_object(R"({"metadata": {"name": "a"}, "subsets": [{"addresses": [)" + addresses + "]}]}") ==
        "not an answer of Kubernetes: an object's subsets");
}

TEST_CASE("kubernetes: events") {
  std::string problem;
  const auto parsed = [&](const char* line) {
    auto event = parse_kubernetes_event(line, problem);
    REQUIRE(event.has_value());
    return *event;
  };
  for (const char* type : {"ADDED", "MODIFIED", "DELETED"}) {
    const std::string line =
        std::string(R"({"type": ")") + type +
        R"(", "object": {"metadata": {"name": "a", "resourceVersion": "9", "annotations": {"leader": "b"}}}})";
    const KubernetesEvent event = parsed(line.c_str());
    CHECK((event.kind == KubernetesEvent::Kind::removed) == (std::string(type) == "DELETED"));
    CHECK(event.resource_version == "9");
    CHECK(event.object.leader == "b");
  }
  const KubernetesEvent bookmark = parsed(
      R"({"type":"BOOKMARK","object":{"kind":"Endpoints","apiVersion":"v1","metadata":{"resourceVersion":"72000","creationTimestamp":null},"subsets":null}})");
  CHECK(bookmark.kind == KubernetesEvent::Kind::bookmark);
  CHECK(bookmark.resource_version == "72000");
  const KubernetesEvent error = parsed(
      R"x({"type":"ERROR","object":{"kind":"Status","status":"Failure","message":"too old resource version: 1 (72000)","reason":"Expired","code":410}})x");
  CHECK(error.kind == KubernetesEvent::Kind::error);
  CHECK(error.error_code == 410);
  CHECK(error.error_text == "too old resource version: 1 (72000)");

  for (const char* line :
       {"", "x", "{}", R"({"type": "ADDED"})", R"({"type": "NEW", "object": {}})", R"({"type": 1, "object": {}})",
        R"({"type": "ADDED", "object": 1})", R"({"type": "ADDED", "object": {"metadata": {"name": "a"}}})",
        R"({"type": "ADDED", "object": {"metadata": {"resourceVersion": "1"}}})",
        R"({"type": "BOOKMARK", "object": {"metadata": {}}})", R"({"type": "ERROR", "object": {"code": "x"}})"}) {
    CAPTURE(line);
    problem.clear();
    CHECK_FALSE(parse_kubernetes_event(line, problem).has_value());
    CHECK(problem != "");
  }
}

TEST_CASE("kubernetes: what a refusal says") {
  CHECK(kubernetes_status_text(R"({"kind": "Status", "message": "pods is forbidden: User \"x\"", "code": 403})") ==
        "pods is forbidden: User \"x\"");
  CHECK(kubernetes_status_text("<html>") == "");
}

}  // namespace
}  // namespace bezel::upstream
