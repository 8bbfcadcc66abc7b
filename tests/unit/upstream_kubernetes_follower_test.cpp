#include <doctest/doctest.h>

#include <deque>
#include <memory>
#include <mutex>

#include "integration/certificates.h"
#include "integration/temporary_folder.h"
#include "src/upstream/follower.h"
#include "upstream_server.h"

namespace bezel::upstream {
namespace {

using integration::TemporaryFolder;
using integration::write_file;
using pool::Member;
using pool::MemberRole;

/// The Endpoints of cluster "demo"; an empty IP: no subsets.
std::string endpoints(const std::string& version, const std::string& leader, const std::string& ip,
                      const std::string& port = R"({"name": "postgresql", "port": 5433})") {
  const std::string subset = R"({"addresses": [{"ip": ")" + ip + R"(", "targetRef": {"kind": "Pod", "name": ")" +
                             leader + R"("}}], "ports": [)" + port + "]}";
  return R"({"metadata": {"name": "demo", "resourceVersion": ")" + version + R"(", "annotations": {"leader": ")" +
         leader + R"(", "optime": "1000"}}, "subsets": [)" + (ip.empty() ? "" : subset) + "]}";
}

std::string config_map(const std::string& version, const std::string& leader) {
  return R"({"metadata": {"name": "demo-leader", "resourceVersion": ")" + version +
         R"(", "annotations": {"leader": ")" + leader + R"("}}})";
}

std::string pod(const std::string& version, const std::string& name, const std::string& ip,
                const std::string& role = "replica", const std::string& state = "running") {
  return R"({"metadata": {"name": ")" + name + R"(", "resourceVersion": ")" + version +
         R"(", "annotations": {"status": "{\"role\":\")" + role + R"(\",\"state\":\")" + state +
         R"(\",\"timeline\":3,\"xlog_location\":900}"}}, "status": {"phase": "Running", "podIP": ")" + ip + R"("}})";
}

std::string list_of(const std::string& version, const std::string& items) {
  return R"({"kind": "List", "metadata": {"resourceVersion": ")" + version + R"("}, "items": [)" + items + "]}";
}

std::string event(const std::string& type, const std::string& object) {
  return R"({"type": ")" + type + R"(", "object": )" + object + "}\n";
}

std::string bookmark(const std::string& version) {
  return event("BOOKMARK", R"({"metadata": {"resourceVersion": ")" + version + R"("}})");
}

const std::string kGoneEvent =
    event("ERROR", R"({"kind": "Status", "message": "too old resource version", "reason": "Expired", "code": 410})");

/// What a test lets Kubernetes' interface answer for one kind of objects: lists and watches, each in its order. The
/// last list stays; without a watch left the server only holds the connection.
struct Resource {
  using Answer = std::function<void(ServerConnection&)>;
  std::deque<Answer> lists, watches;
};

Resource::Answer body(const std::string& text, int status = 200) {
  return [=](ServerConnection& connection) { connection.reply(status, text); };
}

Resource::Answer refusal(int status, const std::string& message) {
  return body(R"({"kind": "Status", "message": ")" + message + "\"}", status);
}

/// A watch that sends these parts, cut as they are, and then ends or stays.
Resource::Answer stream(const std::vector<std::string>& parts, bool ends = false) {
  return [=](ServerConnection& connection) {
    connection.begin_chunks();
    for (const std::string& part : parts) connection.chunk(part);
    if (ends) return connection.end_chunks();
    connection.hang();
  };
}

class FakeKubernetes {
 public:
  explicit FakeKubernetes(const ServerTls& tls = {})
      : server_([this](ServerConnection& connection, const SeenRequest& request) { answer(connection, request); },
                tls) {}

  void list(const std::string& kind, Resource::Answer answer) {
    const std::lock_guard lock(mutex_);
    resources_[kind].lists.push_back(std::move(answer));
  }
  void watch(const std::string& kind, Resource::Answer answer) {
    const std::lock_guard lock(mutex_);
    resources_[kind].watches.push_back(std::move(answer));
  }
  /// The requests for one kind of objects: lists, or watches.
  std::vector<SeenRequest> seen(const std::string& kind, bool watches) const {
    std::vector<SeenRequest> found;
    for (const SeenRequest& one : server_.seen()) {
      const bool is_watch = one.target.find("&watch=true") != std::string::npos;
      if (one.target.find("/" + kind + "?") != std::string::npos && is_watch == watches) found.push_back(one);
    }
    return found;
  }
  const ScriptedServer& server() const { return server_; }

 private:
  void answer(ServerConnection& connection, const SeenRequest& request) {
    const size_t end = request.target.find('?');
    const size_t begin = request.target.rfind('/', end) + 1;
    Resource::Answer next = [](ServerConnection& held) { held.hang(); };
    {
      const std::lock_guard lock(mutex_);
      Resource& resource = resources_[request.target.substr(begin, end - begin)];
      const bool is_watch = request.target.find("&watch=true") != std::string::npos;
      std::deque<Resource::Answer>& answers = is_watch ? resource.watches : resource.lists;
      if (!answers.empty()) next = answers.front();
      if (is_watch ? !answers.empty() : answers.size() > 1) answers.pop_front();
    }
    next(connection);
  }

  std::mutex mutex_;
  std::map<std::string, Resource> resources_;
  ScriptedServer server_;
};

struct Setting {
  TemporaryFolder folder;
  FakeKubernetes kubernetes;
  TestLoop loop;
  RecordingObserver observer;
  std::string log;
  pool::UpstreamSettings settings;
  std::unique_ptr<Follower> follower;

  explicit Setting(const ServerTls& tls = {}) : kubernetes(tls) {
    settings.source = pool::UpstreamSource::kubernetes;
    settings.api_url = kubernetes.server().url();
    settings.token_file = folder.write("token", "first-token\n");
    settings.namespace_name = "prod";
    settings.cluster = "demo";
    settings.request_timeout_us = 60'000'000;
    settings.poll_interval_us = 1000;
  }
  ~Setting() { follower.reset(); }

  void start() {
    follower = make_follower(loop.get(), settings, observer,
                             [this](pool::LogLevel, std::string_view line) { log.append(line).append("\n"); });
    REQUIRE(follower != nullptr);
    follower->start();
    CHECK(observer.memberships.empty());
  }
  /// Waits until the last membership has this primary, at this address.
  void until_primary(const std::string& name, const std::string& host) {
    loop.until([&] {
      for (const Member& member : members()) {
        if (member.role == MemberRole::primary) return member.name == name && member.address.host == host;
      }
      return false;
    });
  }
  std::vector<Member> members() const {
    return observer.memberships.empty() ? std::vector<Member>() : observer.memberships.back().members;
  }
};

constexpr int64_t kHourUs = 3'600'000'000;

TEST_CASE("kubernetes follower: Endpoints and pods") {
  Setting setting;
  setting.kubernetes.list("endpoints", body(list_of("10", endpoints("9", "demo-1", "10.0.0.1"))));
  setting.kubernetes.list(
      "pods", body(list_of("10", pod("5", "demo-0", "10.0.0.10") + "," + pod("6", "demo-1", "10.0.0.11", "master") +
                                     "," + pod("7", "demo-2", "10.0.0.12", "replica", "stopped"))));
  setting.start();
  setting.loop.until([&] { return setting.members().size() == 3; });
  CHECK(setting.members()[0] == Member{"demo-0", {"10.0.0.10", 5433}, MemberRole::replica, "running", 3, 100, true});
  CHECK(setting.members()[1] == Member{"demo-1", {"10.0.0.1", 5433}, MemberRole::primary, "running", 3, {}, true});
  CHECK(setting.members()[2] == Member{"demo-2", {"10.0.0.12", 5433}, MemberRole::replica, "stopped", 3, 100, false});
  setting.loop.until([&] { return setting.kubernetes.seen("endpoints", true).size() == 1; });
  setting.loop.until([&] { return setting.kubernetes.seen("pods", true).size() == 1; });

  CHECK(setting.kubernetes.seen("endpoints", false).at(0).target ==
        "/api/v1/namespaces/prod/endpoints?fieldSelector=metadata.name%3Ddemo");
  CHECK(setting.kubernetes.seen("endpoints", true).at(0).target ==
        "/api/v1/namespaces/prod/endpoints?fieldSelector=metadata.name%3Ddemo"
        "&watch=true&allowWatchBookmarks=true&timeoutSeconds=290&resourceVersion=10");
  CHECK(setting.kubernetes.seen("pods", false).at(0).target ==
        "/api/v1/namespaces/prod/pods?labelSelector=application%3Dspilo%2Ccluster-name%3Ddemo");
  for (const SeenRequest& one : setting.kubernetes.server().seen()) {
    CHECK(one.header("authorization") == "Bearer first-token");
  }
  CHECK(setting.observer.silences.empty());
}

TEST_CASE("kubernetes follower: a switchover comes by the watch, cut anywhere") {
  const std::string all = event("MODIFIED", endpoints("11", "demo-0", "10.0.0.1")) +
                          event("MODIFIED", endpoints("12", "", "")) + bookmark("15") + "\n" +
                          event("MODIFIED", endpoints("16", "demo-1", "10.0.0.2"));
  for (const size_t size : {size_t{1}, size_t{7}, size_t{1000}, all.size()}) {
    CAPTURE(size);
    std::vector<std::string> parts;
    for (size_t at = 0; at < all.size(); at += size) parts.push_back(all.substr(at, size));
    Setting setting;
    setting.kubernetes.list("endpoints", body(list_of("10", endpoints("9", "demo-0", "10.0.0.1"))));
    setting.kubernetes.list("pods", refusal(403, "pods is forbidden"));
    setting.kubernetes.watch("endpoints", stream(parts));
    setting.start();
    setting.until_primary("demo-1", "10.0.0.2");
    CHECK(setting.observer.silences.empty());
    CHECK(setting.members().size() == 1);
  }
}

TEST_CASE("kubernetes follower: a released lock has no leader, a lock that is deleted neither") {
  for (const std::string& ending :
       {event("MODIFIED", endpoints("11", "", "")), event("MODIFIED", endpoints("11", "demo-0", "")),
        event("DELETED", endpoints("11", "demo-0", "10.0.0.1"))}) {
    CAPTURE(ending);
    Setting setting;
    setting.kubernetes.list("endpoints", body(list_of("10", endpoints("9", "demo-0", "10.0.0.1"))));
    setting.kubernetes.list("pods", body(list_of("10", pod("5", "demo-0", "10.0.0.1", "master"))));
    setting.kubernetes.watch("endpoints", stream({ending}));
    setting.start();
    setting.until_primary("demo-0", "10.0.0.1");
    setting.loop.until(
        [&] { return setting.members().size() == 1 && setting.members()[0].role == MemberRole::replica; });
  }
}

TEST_CASE("kubernetes follower: a lock that does not exist yet is followed from its beginning") {
  Setting setting;
  setting.kubernetes.list("endpoints", body(list_of("10", "")));
  setting.kubernetes.list("pods", body(list_of("10", "")));
  setting.kubernetes.watch("endpoints", stream({event("ADDED", endpoints("11", "demo-0", "10.0.0.1"))}));
  setting.start();
  setting.until_primary("demo-0", "10.0.0.1");
  CHECK(setting.observer.memberships[0].members.empty());
}

TEST_CASE("kubernetes follower: whose address it is") {
  const auto first_of = [](const std::string& lock, const std::string& pods) {
    Setting setting;
    setting.settings.port = 6000;
    setting.kubernetes.list("endpoints", body(list_of("10", lock)));
    setting.kubernetes.list("pods", body(list_of("10", pods)));
    setting.start();
    for (const char* kind : {"endpoints", "pods"}) {  // both are known when both are watched
      setting.loop.until([&] { return setting.kubernetes.seen(kind, true).size() == 1; });
    }
    for (const Member& member : setting.members()) {
      if (member.role == MemberRole::primary || member.role == MemberRole::standby_leader) return member;
    }
    return Member{};
  };
  const auto lock = [](const std::string& subsets) {
    return R"({"metadata": {"name": "demo", "annotations": {"leader": "demo-1"}}, "subsets": [)" + subsets + "]}";
  };
  const std::string pods = pod("1", "demo-0", "10.0.0.10") + "," + pod("2", "demo-1", "10.0.0.11");
  // The only one, without a port of its own.
  CHECK(first_of(lock(R"({"addresses": [{"ip": "10.1.1.1"}]})"), pods).address == pool::HostAddress{"10.1.1.1", 6000});
  // One of several, by its pod.
  const char* several =
      R"({"addresses": [{"ip": "10.1.1.1", "targetRef": {"name": "demo-0"}}, {"ip": "10.1.1.2", "targetRef": {"name": "demo-1"}}], "ports": [{"port": 7000}]})";
  CHECK(first_of(lock(several), pods).address == pool::HostAddress{"10.1.1.2", 7000});
  // Another pod's: the leader's own pod says where it is.
  const char* others = R"({"addresses": [{"ip": "10.1.1.1", "targetRef": {"name": "demo-0"}}]})";
  CHECK(first_of(lock(others), pods).address == pool::HostAddress{"10.0.0.11", 6000});
  CHECK(first_of(lock(others), "").name == "");
  // Other objects than the lock do not matter.
  CHECK(
      first_of(
          R"({"metadata": {"name": "demo-repl", "annotations": {"leader": "demo-1"}}, "subsets": [{"addresses": [{"ip": "10.1.1.1"}]}]})",
          pods)
          .name == "");
  // A standby cluster's.
  CHECK(first_of(lock(R"({"addresses": [{"ip": "10.1.1.1"}]})"), pod("2", "demo-1", "10.0.0.11", "standby_leader"))
            .role == MemberRole::standby_leader);
}

TEST_CASE("kubernetes follower: pods come, change and go") {
  Setting setting;
  setting.kubernetes.list("endpoints", body(list_of("10", endpoints("9", "demo-0", "10.0.0.1"))));
  setting.kubernetes.list("pods", body(list_of("10", pod("5", "demo-0", "10.0.0.1", "master"))));
  setting.kubernetes.watch(
      "pods",
      stream({event("ADDED", pod("11", "demo-1", "10.0.0.2")), event("MODIFIED", pod("12", "demo-1", "10.0.0.3")),
              event("ADDED", pod("13", "demo-2", "10.0.0.4")), event("DELETED", pod("14", "demo-2", "10.0.0.4"))},
             /*ends=*/true));
  // It goes on from the last version.
  setting.kubernetes.watch("pods", stream({event("MODIFIED", pod("20", "demo-1", "10.0.0.5"))}));
  setting.start();
  setting.loop.until([&] { return setting.members().size() == 2 && setting.members()[1].address.host == "10.0.0.5"; });
  CHECK(setting.kubernetes.seen("pods", true).at(1).target.ends_with("&resourceVersion=14"));
  CHECK(setting.kubernetes.seen("pods", false).size() == 1);
}

TEST_CASE("kubernetes follower: a watch that ends goes on from the last version, bookmarks included") {
  Setting setting;
  setting.kubernetes.list("pods", body(list_of("10", "")));
  setting.kubernetes.list("endpoints", body(list_of("10", endpoints("9", "demo-0", "10.0.0.1"))));
  setting.kubernetes.watch("endpoints", stream({event("MODIFIED", endpoints("12", "demo-1", "10.0.0.2"))}, true));
  setting.kubernetes.watch("endpoints", stream({bookmark("300")}, true));
  // The connection breaks in the middle of a line.
  setting.kubernetes.watch("endpoints", [](ServerConnection& connection) {
    connection.begin_chunks();
    connection.chunk(event("MODIFIED", endpoints("301", "demo-2", "10.0.0.3")));
    connection.chunk(R"({"type": "MODIFIED", "obj)");
  });
  setting.kubernetes.watch("endpoints", stream({event("MODIFIED", endpoints("302", "demo-3", "10.0.0.4"))}));
  setting.start();
  setting.until_primary("demo-3", "10.0.0.4");
  const std::vector<SeenRequest> watches = setting.kubernetes.seen("endpoints", true);
  REQUIRE(watches.size() == 4);
  CHECK(watches[1].target.ends_with("&resourceVersion=12"));
  CHECK(watches[2].target.ends_with("&resourceVersion=300"));
  CHECK(watches[3].target.ends_with("&resourceVersion=301"));
  CHECK(setting.kubernetes.seen("endpoints", false).size() == 1);
  CHECK(setting.observer.silences.empty());
}

TEST_CASE("kubernetes follower: where a version is too old, the objects are listed again") {
  for (const bool by_event : {true, false}) {
    CAPTURE(by_event);
    Setting setting;
    setting.kubernetes.list("pods", body(list_of("10", "")));
    setting.kubernetes.list("endpoints", body(list_of("10", endpoints("9", "demo-0", "10.0.0.1"))));
    setting.kubernetes.list("endpoints", body(list_of("500", endpoints("400", "demo-1", "10.0.0.2"))));
    setting.kubernetes.watch("endpoints", by_event ? stream({kGoneEvent}) : refusal(410, "too old"));
    setting.start();
    setting.until_primary("demo-1", "10.0.0.2");
    setting.loop.until([&] { return setting.kubernetes.seen("endpoints", true).size() == 2; });
    CHECK(setting.kubernetes.seen("endpoints", true)[1].target.ends_with("&resourceVersion=500"));
    CHECK(setting.observer.silences.empty());
  }
}

TEST_CASE("kubernetes follower: failures are silence, and it begins anew") {
  const std::vector<std::pair<Resource::Answer, std::string>> failures{
      {refusal(403, "endpoints is forbidden"), "HTTP status 403: endpoints is forbidden"},
      {refusal(500, "etcd is gone"), "HTTP status 500: etcd is gone"},
      {body("<html>", 502), "HTTP status 502"},
      {body("<html>"), "not an answer of Kubernetes: not a JSON object"},
      {body(R"({"metadata": {}})"), "not an answer of Kubernetes: its metadata"},
      {[](ServerConnection&) {}, ""},
  };
  for (const auto& failure : failures) {
    const auto& answer = failure.first;
    CAPTURE(failure.second);
    Setting setting;
    setting.kubernetes.list("pods", body(list_of("10", "")));
    setting.kubernetes.list("endpoints", answer);
    setting.kubernetes.list("endpoints", body(list_of("10", endpoints("9", "demo-0", "10.0.0.1"))));
    setting.start();
    setting.until_primary("demo-0", "10.0.0.1");
    REQUIRE(setting.observer.silences.size() == 1);
    CHECK(setting.observer.silences[0].starts_with(setting.settings.api_url + " demo: "));
    CHECK(setting.observer.silences[0].ends_with(failure.second));
    CHECK(setting.observer.silences[0].find("first-token") == std::string::npos);
  }
}

TEST_CASE("kubernetes follower: failures of a watch") {
  const std::vector<std::pair<Resource::Answer, std::string>> failures{
      {stream({"Hello\n"}), "not an answer of Kubernetes: not a JSON object"},
      {stream({event("ERROR", R"({"code": 500, "message": "etcd"})")}), "etcd"},
      {stream({event("ERROR", "{}")}), "an error without a text"},
      {stream(std::vector<std::string>(30, std::string(100'000, 'x'))), "a line of the watch is too long"},
      {refusal(500, "etcd is gone"), "HTTP status 500: etcd is gone"},
  };
  for (const auto& failure : failures) {
    const auto& answer = failure.first;
    CAPTURE(failure.second);
    Setting setting;
    setting.kubernetes.list("pods", body(list_of("10", "")));
    setting.kubernetes.list("endpoints", body(list_of("10", endpoints("9", "demo-0", "10.0.0.1"))));
    setting.kubernetes.list("endpoints", body(list_of("20", endpoints("19", "demo-1", "10.0.0.2"))));
    setting.kubernetes.watch("endpoints", answer);
    setting.start();
    setting.until_primary("demo-1", "10.0.0.2");
    REQUIRE(setting.observer.silences.size() == 1);
    CHECK(setting.observer.silences[0].ends_with(": " + failure.second));
  }
}

TEST_CASE("kubernetes follower: an interface that hangs is silence") {
  Setting setting;
  setting.settings.request_timeout_us = 20'000;
  setting.start();  // no list is scripted: it only holds the connection
  setting.loop.until([&] { return setting.observer.silences.size() >= 2; });
  CHECK(setting.observer.silences[0].find("timed out") != std::string::npos);
  CHECK(setting.observer.memberships.empty());
}

TEST_CASE("kubernetes follower: the token is read again for each request") {
  Setting setting;
  setting.kubernetes.list("pods", body(list_of("10", "")));
  setting.kubernetes.list("endpoints", body(list_of("10", endpoints("9", "demo-0", "10.0.0.1"))));
  setting.kubernetes.list("endpoints", body(list_of("20", endpoints("19", "demo-1", "10.0.0.2"))));
  // It is replaced while a watch goes on; the next one is refused, as its token was read just before that.
  setting.kubernetes.watch("endpoints", [&](ServerConnection& connection) {
    write_file(setting.settings.token_file, "second-token\n");
    refusal(401, "Unauthorized")(connection);
  });
  setting.start();
  setting.until_primary("demo-1", "10.0.0.2");
  CHECK(setting.kubernetes.seen("endpoints", true)[0].header("authorization") == "Bearer first-token");
  CHECK(setting.kubernetes.seen("endpoints", false)[1].header("authorization") == "Bearer second-token");
  CHECK(setting.observer.silences.size() == 1);
  CHECK(setting.observer.silences[0].ends_with("HTTP status 401: Unauthorized"));
}

TEST_CASE("kubernetes follower: without a token nothing is asked") {
  Setting setting;
  setting.kubernetes.list("pods", body(list_of("10", "")));
  setting.kubernetes.list("endpoints", body(list_of("10", endpoints("9", "demo-0", "10.0.0.1"))));
  const std::string path = setting.settings.token_file;
  SUBCASE("no file") {
    setting.settings.token_file = setting.folder.path_of("none");
  }
  SUBCASE("an empty file") {
    write_file(path, "\n");
  }
  SUBCASE("one that would be more than a header") {
    write_file(path, "a\r\nX-Header: b");
  }
  setting.start();
  setting.loop.until([&] { return setting.observer.silences.size() >= 2; });
  CHECK(setting.observer.silences[0].ends_with("no token can be read from " + setting.settings.token_file));
  CHECK(setting.kubernetes.server().count() == 0);
  write_file(setting.settings.token_file, "first-token");
  setting.until_primary("demo-0", "10.0.0.1");
}

TEST_CASE("kubernetes follower: pods that may not be listed do not hide the Endpoints' leader") {
  Setting setting;
  setting.kubernetes.list("pods", refusal(403, "pods is forbidden"));
  setting.kubernetes.list("endpoints", body(list_of("10", endpoints("9", "demo-0", "10.0.0.1"))));
  setting.start();
  setting.until_primary("demo-0", "10.0.0.1");
  setting.loop.until([&] { return setting.kubernetes.seen("pods", false).size() >= 3; });
  CHECK(setting.observer.silences.empty());
  REQUIRE(setting.members().size() == 1);
  CHECK(setting.members()[0].address.port == 5433);
  // It is said once.
  const size_t first = setting.log.find("the pods of demo cannot be listed: HTTP status 403: pods is forbidden");
  REQUIRE(first != std::string::npos);
  CHECK(setting.log.find("pods is forbidden", first + 80) == std::string::npos);
}

TEST_CASE("kubernetes follower: a ConfigMap's leader is at its pod's address") {
  Setting setting;
  setting.settings.leader_object = pool::LeaderObject::configmap;
  setting.settings.port = 6000;
  setting.kubernetes.list("configmaps", body(list_of("10", config_map("9", "demo-0"))));
  setting.kubernetes.list("pods",
                          body(list_of("10", pod("5", "demo-0", "10.0.0.1") + "," + pod("6", "demo-1", "10.0.0.2"))));
  setting.kubernetes.watch(
      "configmaps", stream({event("MODIFIED", config_map("11", "")), event("MODIFIED", config_map("12", "demo-1"))}));
  setting.start();
  setting.until_primary("demo-1", "10.0.0.2");
  CHECK(setting.members().size() == 2);
  CHECK(setting.members()[1].address.port == 6000);
  CHECK(setting.kubernetes.seen("configmaps", false).at(0).target ==
        "/api/v1/namespaces/prod/configmaps?fieldSelector=metadata.name%3Ddemo-leader");
  for (const pool::Membership& one : setting.observer.memberships) CHECK(one.members.size() == 2);
}

TEST_CASE("kubernetes follower: a ConfigMap without pods is silence; a leader without a pod is none") {
  Setting setting;
  setting.settings.leader_object = pool::LeaderObject::configmap;
  setting.kubernetes.list("configmaps", body(list_of("10", config_map("9", "demo-0"))));
  setting.kubernetes.list("pods", refusal(403, "pods is forbidden"));
  setting.kubernetes.list("pods", body(list_of("10", "")));
  setting.kubernetes.watch("pods", stream({event("ADDED", pod("11", "demo-0", "10.0.0.1"))}));
  setting.start();
  setting.until_primary("demo-0", "10.0.0.1");
  CHECK(setting.observer.silences.size() == 1);
  CHECK(setting.observer.memberships[0].members.empty());
}

TEST_CASE("kubernetes follower: a ConfigMap is not told of before its pods are known") {
  Setting setting;
  setting.settings.leader_object = pool::LeaderObject::configmap;
  setting.kubernetes.list("configmaps", body(list_of("10", config_map("9", "demo-0"))));
  setting.kubernetes.list("pods", refusal(403, "pods is forbidden"));
  setting.start();
  setting.loop.until([&] { return setting.observer.silences.size() >= 2; });
  setting.loop.until([&] { return setting.kubernetes.seen("configmaps", true).size() == 1; });
  setting.loop.turns(5);
  CHECK(setting.observer.memberships.empty());
}

TEST_CASE("kubernetes follower: in a change it looks again, whatever the watch does") {
  Setting setting;
  setting.kubernetes.list("pods", body(list_of("10", "")));
  setting.kubernetes.list("endpoints", body(list_of("10", endpoints("9", "demo-0", "10.0.0.1"))));
  setting.kubernetes.list("endpoints", body(list_of("20", endpoints("19", "demo-1", "10.0.0.2"))));
  setting.settings.poll_interval_us = kHourUs;
  setting.start();
  setting.until_primary("demo-0", "10.0.0.1");
  setting.loop.until([&] { return setting.kubernetes.seen("endpoints", true).size() == 1; });
  setting.loop.turns(20);
  CHECK(setting.kubernetes.seen("endpoints", false).size() == 1);
  setting.follower->set_changing(true);
  setting.until_primary("demo-1", "10.0.0.2");
  // From there it watches again; the old watch is gone.
  setting.loop.until([&] { return setting.kubernetes.seen("endpoints", true).size() == 2; });
  setting.loop.until([&] { return setting.kubernetes.server().open_connections() <= 2; });
  CHECK(setting.kubernetes.seen("endpoints", true)[1].target.ends_with("&resourceVersion=20"));
}

TEST_CASE("kubernetes follower: in a change it looks often") {
  Setting setting;
  setting.kubernetes.list("pods", body(list_of("10", "")));
  setting.kubernetes.list("endpoints", body(list_of("10", endpoints("9", "demo-0", "10.0.0.1"))));
  setting.start();
  setting.follower->set_changing(true);
  setting.loop.until([&] { return setting.kubernetes.seen("endpoints", false).size() >= 5; });
  setting.follower->set_changing(false);
  setting.loop.turns(20);
  const size_t lists = setting.kubernetes.seen("endpoints", false).size();
  setting.loop.turns(50);
  CHECK(setting.kubernetes.seen("endpoints", false).size() <= lists + 1);
  CHECK(setting.observer.silences.empty());
}

TEST_CASE("kubernetes follower: over HTTPS with the cluster's authority") {
  integration::CertificateAuthority authority, other("Another Authority");
  const auto own = authority.issue("server", "kubernetes", {"IP:127.0.0.1"});
  Setting setting({own.certificate, own.key, ""});
  setting.kubernetes.list("pods", body(list_of("10", "")));
  setting.kubernetes.list("endpoints", body(list_of("10", endpoints("9", "demo-0", "10.0.0.1"))));
  SUBCASE("which it knows") {
    setting.settings.ca_file = authority.certificate();
    setting.start();
    setting.until_primary("demo-0", "10.0.0.1");
  }
  SUBCASE("which it does not know") {
    setting.settings.ca_file = other.certificate();
    setting.start();
    setting.loop.until([&] { return !setting.observer.silences.empty(); });
    CHECK(setting.kubernetes.server().count() == 0);
  }
}

TEST_CASE("kubernetes follower: outside of a pod, and with wrong settings, it says what is missing") {
  const auto first_silence = [](const std::function<void(pool::UpstreamSettings&)>& change) {
    Setting setting;
    change(setting.settings);
    setting.start();
    setting.loop.until([&] { return !setting.observer.silences.empty(); });
    CHECK(setting.kubernetes.server().count() == 0);
    return setting.observer.silences[0];
  };
  REQUIRE(std::getenv("KUBERNETES_SERVICE_HOST") == nullptr);
  CHECK(first_silence([](auto& settings) { settings.api_url = ""; }) ==
        "KUBERNETES_SERVICE_HOST is not set, as it is in pods, and no api_url either");
  CHECK(first_silence([](auto& settings) { settings.namespace_name = ""; }) ==
        "the namespace cannot be read from /var/run/secrets/kubernetes.io/serviceaccount/namespace");
  for (const char* url : {"kubernetes", "https://user:secret@h", "https://h?x", "https://h/a b", "ftp://h"}) {
    CHECK(first_silence([&](auto& settings) { settings.api_url = url; }) ==
          "the api_url is not of the form https://host:port");
  }
}

TEST_CASE("kubernetes follower: the environment of a pod says where the interface is") {
  integration::CertificateAuthority authority;
  const auto own = authority.issue("server", "kubernetes", {"IP:127.0.0.1"});
  Setting setting({own.certificate, own.key, ""});
  setting.kubernetes.list("pods", body(list_of("10", "")));
  setting.kubernetes.list("endpoints", body(list_of("10", endpoints("9", "demo-0", "10.0.0.1"))));
  setting.settings.api_url = "";
  setting.settings.ca_file = authority.certificate();
  REQUIRE(::setenv("KUBERNETES_SERVICE_HOST", "127.0.0.1", 1) == 0);
  REQUIRE(::setenv("KUBERNETES_SERVICE_PORT", std::to_string(setting.kubernetes.server().port()).c_str(), 1) == 0);
  setting.start();
  setting.until_primary("demo-0", "10.0.0.1");
  ::unsetenv("KUBERNETES_SERVICE_HOST");
  ::unsetenv("KUBERNETES_SERVICE_PORT");
}

TEST_CASE("kubernetes follower: the observer may end the follower, and only Patroni can switch over") {
  Setting setting;
  setting.kubernetes.list("pods", body(list_of("10", "")));
  setting.kubernetes.list("endpoints", body(list_of("10", endpoints("9", "demo-0", "10.0.0.1"))));
  setting.start();
  std::string error;
  setting.follower->switch_over("a", "b", [&](std::string text) { error = std::move(text); });
  CHECK(error == kSwitchoverNeedsPatroni);
  setting.observer.hook = [&] { setting.follower.reset(); };
  setting.loop.until([&] { return setting.follower == nullptr; });
  setting.loop.until([&] { return setting.kubernetes.server().open_connections() == 0; });
  CHECK(setting.observer.memberships.size() + setting.observer.silences.size() == 1);
}

}  // namespace
}  // namespace bezel::upstream
