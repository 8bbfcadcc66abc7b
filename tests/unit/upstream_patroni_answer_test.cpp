#include <doctest/doctest.h>

#include "src/upstream/base_url.h"
#include "src/upstream/patroni_answer.h"

namespace bezel::upstream {
namespace {

using pool::Member;
using pool::MemberRole;

/// Patroni 3.0.2.
constexpr const char* kPatroni3 = R"({"members": [
  {"name": "node1", "role": "replica", "state": "running", "api_url": "http://10.0.0.1:8008/patroni",
   "host": "10.0.0.1", "port": 5432, "timeline": 4, "lag": 0},
  {"name": "node2", "role": "leader", "state": "running", "api_url": "http://10.0.0.2:8008/patroni",
   "host": "10.0.0.2", "port": 5433, "timeline": 4, "pending_restart": true},
  {"name": "node3", "role": "sync_standby", "state": "running", "api_url": "http://10.0.0.3:8008/patroni",
   "host": "10.0.0.3", "port": 5432, "timeline": 4, "lag": 16777216, "tags": {"nofailover": true}},
  {"name": "node4", "role": "replica", "state": "start failed", "api_url": "http://10.0.0.4:8008/patroni",
   "host": "10.0.0.4", "port": 5432, "lag": "unknown", "tags": {"noloadbalance": true}}]})";

/// Patroni 4.1.
constexpr const char* kPatroni4 = R"({"members": [
  {"name": "pg-0", "role": "leader", "state": "running", "api_url": "https://[fd00::1]:8008/patroni", "host": "fd00::1",
   "port": 5432, "timeline": 12},
  {"name": "pg-1", "role": "quorum_standby", "state": "streaming", "api_url": "https://[fd00::2]:8008/patroni",
   "host": "fd00::2", "port": 5432, "timeline": 12, "tags": {"noloadbalance": true},
   "receive_lag": 0, "receive_lsn": "0/5000148", "replay_lag": 0, "replay_lsn": "0/5000148", "lag": 0, "lsn": "0/5000148"},
  {"name": "pg-2", "role": "replica", "state": "in archive recovery", "api_url": "https://[fd00::3]:8008/patroni",
   "host": "fd00::3", "port": 5432, "timeline": 11, "receive_lag": "unknown", "receive_lsn": "unknown",
   "replay_lag": 24, "replay_lsn": "0/5000130", "lag": 24, "lsn": "0/5000130"}],
  "pause": true, "scope": "demo",
  "scheduled_switchover": {"at": "2026-11-22T20:30:00+01:00", "from": "pg-0", "to": "pg-1"}})";

PatroniCluster parsed(std::string_view body) {
  std::string problem;
  auto cluster = parse_patroni_cluster(body, problem);
  CHECK(problem == "");
  REQUIRE(cluster.has_value());
  return *cluster;
}

std::string problem_of(std::string_view body) {
  std::string problem;
  CHECK_FALSE(parse_patroni_cluster(body, problem).has_value());
  return problem;
}

/// A cluster of one member with these members of its object added, or replaced.
std::string with(const std::string& more) {
  return R"({"members": [{"name": "a", "role": "leader", "state": "running", "host": "h", "port": 1)" + more + "}]}";
}

TEST_CASE("patroni: an answer of version 3") {
  const PatroniCluster cluster = parsed(kPatroni3);
  const std::vector<Member>& members = cluster.membership.members;
  REQUIRE(members.size() == 4);
  CHECK(members[0] == Member{"node1", {"10.0.0.1", 5432}, MemberRole::replica, "running", 4, 0, true});
  CHECK(members[1] == Member{"node2", {"10.0.0.2", 5433}, MemberRole::primary, "running", 4, {}, true});
  CHECK(members[2] == Member{"node3", {"10.0.0.3", 5432}, MemberRole::replica, "running", 4, 16777216, true});
  CHECK(members[3] == Member{"node4", {"10.0.0.4", 5432}, MemberRole::replica, "start failed", {}, {}, false});
  CHECK(cluster.apis.size() == 4);
  CHECK(cluster.apis[1] == PatroniApi{"node2", "http://10.0.0.2:8008"});
  CHECK_FALSE(cluster.membership.paused);
  CHECK_FALSE(cluster.membership.scheduled.has_value());
  CHECK(cluster.scope == "");
}

TEST_CASE("patroni: an answer of version 4") {
  const PatroniCluster cluster = parsed(kPatroni4);
  const std::vector<Member>& members = cluster.membership.members;
  REQUIRE(members.size() == 3);
  CHECK(members[0] == Member{"pg-0", {"fd00::1", 5432}, MemberRole::primary, "running", 12, {}, true});
  CHECK(members[1] == Member{"pg-1", {"fd00::2", 5432}, MemberRole::replica, "streaming", 12, 0, false});
  CHECK(members[2] == Member{"pg-2", {"fd00::3", 5432}, MemberRole::replica, "in archive recovery", 11, 24, true});
  CHECK(cluster.apis.at(2) == PatroniApi{"pg-2", "https://[fd00::3]:8008"});
  CHECK(cluster.membership.paused);
  REQUIRE(cluster.membership.scheduled.has_value());
  CHECK(*cluster.membership.scheduled == pool::ScheduledSwitchover{1795375800'000'000, "pg-0", "pg-1"});
  CHECK(cluster.scope == "demo");
}

TEST_CASE("patroni: who holds the lock is reported as such, whatever its state") {
  for (const char* role : {"leader", "promoted"}) {
    for (const char* state : {"running", "stopping", "stopped", "starting", "crashed", ""}) {
      CAPTURE(state);
      const auto members =
          parsed(with(std::string(R"(,"role":")") + role + R"(","state":")" + state + "\"")).membership.members;
      CHECK(members.at(0).role == MemberRole::primary);
      CHECK(members.at(0).state == state);
      CHECK(members.at(0).takes_reads == (std::string(state) == "running"));
    }
  }
  CHECK(parsed(with(R"(,"role":"standby_leader")")).membership.members.at(0).role == MemberRole::standby_leader);
  for (const char* role : {"replica", "sync_standby", "quorum_standby", "something_new"}) {
    CAPTURE(role);
    CHECK(parsed(with(std::string(R"(,"role":")") + role + "\"")).membership.members.at(0).role == MemberRole::replica);
  }
}

TEST_CASE("patroni: no leader and two leaders are passed on") {
  CHECK(parsed(R"({"members": []})").membership.members.empty());
  const auto two =
      parsed(R"({"members": [{"name":"a","role":"leader","host":"x"},{"name":"b","role":"leader","host":"y"}]})");
  CHECK(two.membership.members.at(0).role == MemberRole::primary);
  CHECK(two.membership.members.at(1).role == MemberRole::primary);
  CHECK(two.membership.members.at(1).address.port == 5432);
}

TEST_CASE("patroni: a member without an address is left out, and can be asked all the same") {
  const auto cluster = parsed(
      R"({"members": [{"name":"a","role":"replica","state":"creating replica","api_url":"http://a:8008/patroni","lag":"unknown"}]})");
  CHECK(cluster.membership.members.empty());
  CHECK(cluster.apis == std::vector<PatroniApi>{{"a", "http://a:8008"}});
}

TEST_CASE("patroni: tags and states say who takes reads") {
  const auto takes_reads = [](const std::string& more) {
    return parsed(with(more)).membership.members.at(0).takes_reads;
  };
  CHECK(takes_reads(R"(,"tags":{})"));
  CHECK(takes_reads(R"(,"tags":{"noloadbalance":false})"));
  CHECK(takes_reads(R"(,"tags":{"noloadbalance":0,"own":[1,{"x":"y"}]})"));
  CHECK_FALSE(takes_reads(R"(,"tags":{"noloadbalance":true})"));
  CHECK_FALSE(takes_reads(R"(,"tags":{"noloadbalance":1})"));
  CHECK_FALSE(takes_reads(R"(,"tags":{"noloadbalance":"yes"})"));
  for (const char* state : {"stopping", "stopped", "starting", "start failed", "crashed", "restarting",
                            "creating replica", "initializing new cluster", "unknown", ""}) {
    CAPTURE(state);
    CHECK_FALSE(takes_reads(std::string(R"(,"state":")") + state + "\""));
  }
}

TEST_CASE("patroni: a time that cannot be read is no reason to refuse the answer") {
  const auto cluster = parsed(R"({"members": [], "scheduled_switchover": {"at": "tomorrow", "from": "a"}})");
  CHECK_FALSE(cluster.membership.scheduled.has_value());
}

TEST_CASE("patroni: hostile answers are refused") {
  const std::string long_text(300, 'x');
  for (const std::string& body : std::vector<std::string>{
           "",
           "null",
           "[]",
           "\"members\"",
           "<html>",
           "{}",
           R"({"members": {}})",
           R"({"members": [1]})",
           R"({"members": [null]})",
           R"({"members": [{}]})",
           R"({"members": [{"name": "a", "host": "h"}]})",
           R"({"members": [{"role": "leader", "host": "h"}]})",
           R"({"members": []} x)",
           R"({"members": [)",
           "{\"members\": [{\"name\": \"\xff\", \"role\": \"leader\"}]}",
           with(R"(,"name":1)"),
           with(R"(,"name":"")"),
           with(R"(,"name":"a\nb")"),
           with(R"(,"name":"a\u0000b")"),
           with(R"(,"name":")" + long_text + "\""),
           with(R"(,"role":true)"),
           with(R"(,"role":"")"),
           with(R"(,"role":")" + long_text + "\""),
           with(R"(,"state":[])"),
           with(R"(,"state":")" + long_text + "\""),
           with(R"(,"host":5)"),
           with(R"(,"host":"/var/run/postgresql")"),
           with(R"(,"host":"a b")"),
           with(R"(,"host":"-x")"),
           with(R"(,"host":"a,b")"),
           with(R"(,"host":"a\\b")"),
           with(R"(,"host":")" + long_text + "\""),
           with(R"(,"port":0)"),
           with(R"(,"port":-1)"),
           with(R"(,"port":65536)"),
           with(R"(,"port":5432.5)"),
           with(R"(,"port":"5432")"),
           with(R"(,"timeline":-1)"),
           with(R"(,"timeline":"1")"),
           with(R"(,"timeline":4294967296)"),
           with(R"(,"lag":"none")"),
           with(R"(,"lag":-1)"),
           with(R"(,"lag":1e3)"),
           with(R"(,"lag":18446744073709551616)"),
           with(R"(,"tags":[])"),
           with(R"(,"tags":"noloadbalance")"),
           with(R"(,"api_url":1)"),
           with(R"(,"api_url":"file:///etc/passwd")"),
           with(R"(,"api_url":"http://user:secret@h:8008/patroni")"),
           with(R"(,"api_url":"http://h:8008 /patroni")"),
           with(R"(,"api_url":"http://h:99999/patroni")"),
           with(R"(,"api_url":"http://)" + std::string(600, 'x') + "\""),
           R"({"members": [{"name":"a","role":"leader","host":"x"},{"name":"a","role":"replica","host":"y"}]})",
           R"({"members": [], "pause": "yes"})",
           R"({"members": [], "scope": 1})",
           R"({"members": [], "scheduled_switchover": "now"})",
           R"({"members": [], "scheduled_switchover": {"at": 1}})",
           R"({"members": [], "scheduled_switchover": {"at": "2026-11-22T20:30:00+01:00", "to": {}}})",
       }) {
    CAPTURE(body);
    CHECK(problem_of(body).starts_with("not an answer of Patroni: "));
    CHECK(problem_of(body).find("secret") == std::string::npos);
  }
}

TEST_CASE("patroni: many members and deep nesting are refused") {
  const auto cluster_of = [](int members) {
    std::string body = R"({"members": [)";
    for (int i = 0; i < members; i++) {
      body += (i > 0 ? "," : "") + std::string(R"({"role":"replica","host":"h","name":")") + std::to_string(i) + "\"}";
    }
    return body + "]}";
  };
  CHECK(parsed(cluster_of(64)).membership.members.size() == 64);
  CHECK(problem_of(cluster_of(65)) == "not an answer of Patroni: too many members");

  for (const char* opening : {"[", "{\"a\":"}) {
    std::string deep = R"({"members": [], "x": )";
    for (int i = 0; i < 20'000; i++) deep += opening;
    CHECK(problem_of(deep) == "not an answer of Patroni: not a JSON object");
    std::string balanced = R"({"members": [], "x": )" + std::string(20'000, '[') + std::string(20'000, ']') + "}";
    CHECK(problem_of(balanced) == "not an answer of Patroni: not a JSON object");
  }
}

TEST_CASE("patroni: base addresses") {
  CHECK(base_url_of("http://10.0.0.1:8008") == "http://10.0.0.1:8008");
  CHECK(base_url_of("http://10.0.0.1:8008/patroni") == "http://10.0.0.1:8008");
  CHECK(base_url_of("HTTPS://db.example/x/y?z#f") == "https://db.example");
  CHECK(base_url_of("http://[fd00::1]:8008/patroni") == "http://[fd00::1]:8008");
  CHECK(base_url_of("http://[fd00::1]") == "http://[fd00::1]");
  for (const char* wrong : {"",
                            "http",
                            "http://",
                            "http:///x",
                            "ftp://h",
                            "h:8008",
                            "http://h:",
                            "http://h:0",
                            "http://h:65536",
                            "http://h:80a",
                            "http://h:-1",
                            "http://u@h",
                            "http://u:p@h:1",
                            "http://[h]:1",
                            "http://[::1",
                            "http://[::1]x",
                            "http://::1:8008",
                            "http://h\n:1",
                            "http://h h",
                            "http://h:1\\@x",
                            "//h:1"}) {
    CAPTURE(wrong);
    CHECK_FALSE(base_url_of(wrong).has_value());
  }
}

TEST_CASE("patroni: times") {
  constexpr int64_t kHalfPastSeven = 1795375800'000'000;  // 2026-11-22T19:30:00 UTC
  CHECK(parse_patroni_time("2026-11-22T19:30:00+00:00") == kHalfPastSeven);
  CHECK(parse_patroni_time("2026-11-22T19:30:00Z") == kHalfPastSeven);
  CHECK(parse_patroni_time("2026-11-22 19:30:00Z") == kHalfPastSeven);
  CHECK(parse_patroni_time("2026-11-22T20:30:00+01:00") == kHalfPastSeven);
  CHECK(parse_patroni_time("2026-11-22T16:00:00-03:30") == kHalfPastSeven);
  CHECK(parse_patroni_time("2026-11-22T19:30:10+00:00:10") == kHalfPastSeven);
  CHECK(parse_patroni_time("2026-11-22T19:30:00.25+00:00") == kHalfPastSeven + 250'000);
  CHECK(parse_patroni_time("2026-11-22T19:30:00.123456789Z") == kHalfPastSeven + 123'456);
  CHECK(parse_patroni_time("1969-12-31T23:59:59Z") == -1'000'000);
  for (const char* wrong :
       {"", "2026-11-22", "2026-11-22T19:30:00", "2026-11-22T19:30Z", "2026-13-22T19:30:00Z", "2026-02-30T19:30:00Z",
        "2026-11-22T24:30:00Z", "2026-11-22T19:60:00Z", "2026-11-22T19:30:61Z", "2026-11-22T19:30:00.Z",
        "2026-11-22T19:30:00+0100", "2026-11-22T19:30:00+01:00x", "2026-11-22T19:30:00+24:00", "2026-1-22T19:30:00Z",
        "-026-11-22T19:30:00Z", "2026-11-22T19:30:00Zx", "2026-11-22T-9:30:00Z", "2026-11-22T19:30:00+",
        "99999999999"}) {
    CAPTURE(wrong);
    CHECK_FALSE(parse_patroni_time(wrong).has_value());
  }
}

}  // namespace
}  // namespace bezel::upstream
