#include <doctest/doctest.h>

#include <condition_variable>
#include <memory>
#include <optional>
#include <utility>

#include "integration/certificates.h"
#include "src/upstream/patroni_follower.h"
#include "upstream_server.h"

namespace bezel::upstream {
namespace {

using Members = std::vector<std::pair<std::string, std::string>>;  // names and base URLs

/// An answer to /cluster with these members; the leader's name may be one that is not among them.
std::string cluster_json(const std::string& leader, const Members& members, const std::string& more = "") {
  std::string body = R"({"members": [)";
  for (size_t i = 0; i < members.size(); i++) {
    const auto& [name, url] = members[i];
    body += (i > 0 ? ", " : "") + (R"({"name": ")" + name) + R"(", "role": ")" +
            (name == leader ? "leader" : "replica") + R"(", "state": "running", "api_url": ")" + url +
            R"(/patroni", "host": "10.0.0.)" + std::to_string(i + 1) + R"(", "port": 5432, "timeline": 1})";
  }
  return body + "]" + more + "}";
}

ScriptedServer::Handler replies(const std::string& body) {
  return [body](ServerConnection& connection, const SeenRequest&) { connection.reply(200, body); };
}

void hangs(ServerConnection& connection, const SeenRequest&) {
  connection.hang();
}

/// A follower with its loop and its observer.
struct Setting {
  TestLoop loop;
  RecordingObserver observer;
  std::string log;
  pool::UpstreamSettings settings;
  std::unique_ptr<Follower> follower;

  explicit Setting(std::vector<std::string> urls) {
    settings.source = pool::UpstreamSource::patroni;
    settings.urls = std::move(urls);
    settings.poll_interval_us = 1000;
    settings.change_poll_interval_us = 1000;
    settings.request_timeout_us = 60'000'000;  // no test waits for it unless it says so
  }
  ~Setting() { follower.reset(); }

  void start() {
    follower = make_follower(loop.get(), settings, observer,
                             [this](pool::LogLevel, std::string_view line) { log.append(line).append("\n"); });
    REQUIRE(follower != nullptr);
    follower->start();
    CHECK(observer.memberships.empty());
    CHECK(observer.silences.empty());
  }
  void until_memberships(size_t count) {
    loop.until([&] { return observer.memberships.size() >= count; });
  }
  /// The outcome of a switchover.
  std::string switch_over(const std::string& leader, const std::string& candidate) {
    std::optional<std::string> outcome;
    follower->switch_over(leader, candidate, [&](std::string error) { outcome = std::move(error); });
    loop.until([&] { return outcome.has_value(); });
    return *outcome;
  }
};

constexpr int64_t kHourUs = 3'600'000'000;

TEST_CASE("patroni follower: in calm one member is asked, again and again") {
  const ScriptedServer a(replies(cluster_json("x", {}))), b(replies("{}")), c(replies("{}"));
  a.seen();
  Setting setting({a.url(), b.url(), c.url()});
  setting.start();
  setting.until_memberships(5);
  CHECK(a.count() >= 5);
  CHECK(b.count() == 0);
  CHECK(c.count() == 0);
  CHECK(a.seen()[0].method == "GET");
  CHECK(a.seen()[0].target == "/cluster");
  CHECK(setting.observer.silences.empty());
}

TEST_CASE("patroni follower: what the answer says is told, every time") {
  ScriptedServer a(hangs);
  a.set_handler(replies(cluster_json("n2", {{"n1", a.url()}, {"n2", "http://10.0.0.9:8008"}}, R"(, "pause": true)")));
  Setting setting({a.url()});
  setting.start();
  setting.until_memberships(2);
  const pool::Membership& told = setting.observer.memberships[0];
  REQUIRE(told.members.size() == 2);
  CHECK(told.members[1].name == "n2");
  CHECK(told.members[1].address == pool::HostAddress{"10.0.0.2", 5432});
  CHECK(told.members[1].role == pool::MemberRole::primary);
  CHECK(told.paused);
  CHECK(told == setting.observer.memberships[1]);
}

TEST_CASE("patroni follower: when one does not answer, or answers nonsense, the next is asked at once") {
  const std::vector<std::pair<const char*, ScriptedServer::Handler>> failures{
      {"hangs", hangs},
      {"drops the connection", [](ServerConnection&, const SeenRequest&) {}},
      {"status", [](ServerConnection& connection, const SeenRequest&) { connection.reply(503, "{\"members\": []}"); }},
      {"redirects", [](ServerConnection& connection,
                       const SeenRequest&) { connection.send("HTTP/1.0 301 OK\r\nLocation: /cluster\r\n\r\n"); }},
      {"not JSON", replies("Hello")},
      {"half an answer", replies(cluster_json("n1", {{"n1", "http://h:1"}}).substr(0, 40))},
      {"nonsense", replies(R"({"members": [{"name": 1}]})")},
      {"too long", replies(std::string(300'000, ' ') + "{\"members\": []}")},
  };
  for (const auto& failure : failures) {
    const auto& handler = failure.second;
    CAPTURE(failure.first);
    const ScriptedServer bad(handler), good(replies(cluster_json("x", {})));
    Setting setting({bad.url(), good.url()});
    // The next round is far away: only the same round can bring an answer.
    setting.settings.poll_interval_us = kHourUs;
    // Long enough for the good one, however busy the machine is.
    if (std::string_view(failure.first) == "hangs") setting.settings.request_timeout_us = 2'000'000;
    setting.start();
    setting.until_memberships(1);
    CHECK(bad.count() == 1);
    CHECK(good.count() == 1);
    CHECK(setting.observer.silences.empty());
  }
}

TEST_CASE("patroni follower: who has failed goes to the back of the line") {
  ScriptedServer good(replies(cluster_json("x", {})));
  const ScriptedServer bad(replies("no")), other(replies(cluster_json("x", {})));
  Setting setting({bad.url(), good.url(), other.url()});
  setting.start();
  setting.until_memberships(5);
  CHECK(bad.count() == 1);
  CHECK(other.count() == 0);
  good.set_handler(replies("no"));
  setting.loop.until([&] { return other.count() >= 3; });
  CHECK(bad.count() == 1);
}

TEST_CASE("patroni follower: members are learned, so that the configured addresses may be stale") {
  ScriptedServer configured(hangs), a(hangs), b(hangs);
  const std::string body = cluster_json("a", {{"a", a.url()}, {"b", b.url()}});
  configured.set_handler(replies(body));
  a.set_handler(replies(body));
  b.set_handler(replies(body));
  Setting setting({dead_url(), configured.url()});
  setting.start();
  setting.until_memberships(4);
  SUBCASE("learned ones are preferred") {
    CHECK(configured.count() == 1);
    CHECK(a.count() >= 3);
    CHECK(b.count() == 0);
  }
  SUBCASE("and the configured ones remain") {
    a.set_handler(replies("no"));
    b.set_handler(replies("no"));
    const size_t before = setting.observer.memberships.size();
    setting.until_memberships(before + 3);
    CHECK(configured.count() >= 2);
    CHECK(setting.observer.silences.empty());
    // They are not asked in vain in each round from now on.
    const size_t asked_a = a.count(), asked_configured = configured.count();
    setting.until_memberships(setting.observer.memberships.size() + 5);
    CHECK(a.count() == asked_a);
    CHECK(configured.count() >= asked_configured + 4);
  }
  SUBCASE("who has left the cluster is not asked any more") {
    b.set_handler(replies(cluster_json("b", {{"b", b.url()}})));
    a.set_handler(replies("no"));
    setting.loop.until([&] { return setting.observer.primary() == "b"; });
    const size_t asked_a = a.count();
    b.set_handler(replies("no"));
    setting.loop.until([&] { return configured.count() >= 3; });
    CHECK(a.count() <= asked_a + 2);  // `configured` names it again
  }
}

TEST_CASE("patroni follower: an answer's addresses are bounded by what is configured") {
  integration::CertificateAuthority authority;
  const auto certificate = authority.issue("server", "patroni", {"IP:127.0.0.1"});
  const ScriptedServer plain(replies(cluster_json("plain", {})));
  ScriptedServer safe(hangs, {certificate.certificate, certificate.key, ""});
  safe.set_handler(replies(cluster_json("safe", {{"plain", plain.url()}, {"safe", safe.url()}})));
  Setting setting({safe.url()});
  setting.settings.ca_file = authority.certificate();
  setting.start();
  setting.until_memberships(2);
  safe.set_handler(replies("no"));
  setting.loop.until([&] { return setting.observer.silences.size() >= 3; });
  CHECK(plain.count() == 0);  // http is not learned from https
}

TEST_CASE("patroni follower: silence when nobody answers; what was known is not told again") {
  ScriptedServer a(replies(cluster_json("x", {}))), b(replies(cluster_json("y", {})));
  Setting setting({a.url(), b.url()});
  setting.start();
  setting.until_memberships(1);
  // etcd is down: Patroni hangs, then drops the connection.
  a.set_handler([](ServerConnection&, const SeenRequest&) {});
  b.set_handler(replies("secret answer"));
  setting.loop.until([&] { return setting.observer.silences.size() >= 3; });
  const size_t told = setting.observer.memberships.size();
  const std::string& why = setting.observer.silences[1];
  CHECK(why.find(a.url() + ": ") != std::string::npos);
  CHECK(why.find(b.url() + ": not an answer of Patroni") != std::string::npos);
  CHECK(why.find("secret") == std::string::npos);
  setting.loop.until([&] { return setting.observer.silences.size() >= 5; });
  CHECK(setting.observer.memberships.size() == told);
  // And on it goes when one comes back.
  a.set_handler(replies(cluster_json("x", {})));
  setting.until_memberships(told + 2);
}

TEST_CASE("patroni follower: a long list of failures is cut") {
  Setting setting({dead_url(), dead_url(), dead_url(), dead_url(), dead_url()});
  setting.start();
  setting.loop.until([&] { return !setting.observer.silences.empty(); });
  CHECK(setting.observer.silences[0].ends_with("; and 2 more"));
}

TEST_CASE("patroni follower: without any address there is silence, not nothing") {
  Setting setting({"http://admin:secret@h:8008", "h:8008"});
  setting.start();
  setting.loop.until([&] { return setting.observer.silences.size() >= 2; });
  CHECK(setting.observer.silences[0] == "no address of Patroni is known");
  CHECK(setting.log.find("left out") != std::string::npos);
  CHECK(setting.log.find("secret") == std::string::npos);
}

TEST_CASE("patroni follower: in a change three are asked at a time, and the first good answer is enough") {
  ScriptedServer a(hangs), b(hangs), c(hangs), d(hangs), e(hangs);
  c.set_handler(replies(cluster_json("c", {})));
  Setting setting({a.url(), b.url(), c.url(), d.url(), e.url()});
  setting.settings.poll_interval_us = kHourUs;
  setting.start();
  setting.loop.until([&] { return a.count() == 1; });
  CHECK(b.count() + c.count() + d.count() == 0);
  setting.follower->set_changing(true);
  setting.until_memberships(1);
  // The first one is asked already, and has to answer that.
  CHECK(a.count() == 1);
  CHECK(e.count() == 0);
  // The rest of the round is not heard.
  setting.loop.until([&] { return setting.observer.memberships.size() >= 4; });
  setting.follower.reset();
  setting.loop.until([&] { return a.open_connections() + b.open_connections() == 0; });
  CHECK(setting.observer.silences.empty());
  for (const pool::Membership& one : setting.observer.memberships) CHECK(one.members.empty());
}

TEST_CASE("patroni follower: in a change the place of one that has failed is taken by the next") {
  ScriptedServer a(hangs), b(replies("no")), c(hangs), d(replies(cluster_json("d", {})));
  Setting setting({a.url(), b.url(), c.url(), d.url()});
  setting.follower = nullptr;
  setting.settings.poll_interval_us = setting.settings.change_poll_interval_us = kHourUs;
  setting.start();
  setting.follower->set_changing(true);
  setting.until_memberships(1);
  CHECK(d.count() == 1);
}

TEST_CASE("patroni follower: nobody is hung up on because somebody else was quicker") {
  std::mutex mutex;
  std::condition_variable changed;
  bool is_let = false;
  ScriptedServer slow([&](ServerConnection& connection, const SeenRequest&) {
    std::unique_lock lock(mutex);
    changed.wait(lock, [&] { return is_let; });
    connection.reply(200, cluster_json("x", {}));
  });
  const ScriptedServer quick(replies(cluster_json("x", {})));
  Setting setting({quick.url(), slow.url()});
  setting.start();
  setting.until_memberships(1);
  setting.follower->set_changing(true);
  setting.loop.until([&] { return slow.count() >= 1; });
  setting.until_memberships(setting.observer.memberships.size() + 4);
  // It has been asked in the first of these rounds, and no more until it answers.
  CHECK(slow.count() == 1);
  CHECK(slow.open_connections() == 1);
  {
    const std::lock_guard lock(mutex);
    is_let = true;
  }
  changed.notify_all();
  setting.loop.until([&] { return slow.count() >= 2; });
}

TEST_CASE("patroni follower: who owes an answer when a change begins is asked again in the same round") {
  std::mutex mutex;
  std::condition_variable changed;
  bool is_let = false;
  const ScriptedServer silent(hangs);
  ScriptedServer late([&](ServerConnection& connection, const SeenRequest&) {
    std::unique_lock lock(mutex);
    changed.wait(lock, [&] { return is_let; });
    connection.reply(200, cluster_json("x", {}));
  });
  Setting setting({late.url(), silent.url()});
  setting.start();
  setting.loop.until([&] { return late.count() == 1; });
  setting.follower->set_changing(true);
  // The only other one never answers, which is no reason to wait for the end of its time.
  setting.loop.until([&] { return silent.count() == 1; });
  {
    const std::lock_guard lock(mutex);
    is_let = true;
  }
  changed.notify_all();
  setting.until_memberships(1);
  CHECK(late.count() >= 2);
}

TEST_CASE("patroni follower: an answer that comes late is not told") {
  // `late` answers the request in calm only when it is let: then something newer is known.
  std::mutex mutex;
  std::condition_variable changed;
  bool is_let = false;
  ScriptedServer late([&](ServerConnection& connection, const SeenRequest&) {
    std::unique_lock lock(mutex);
    changed.wait(lock, [&] { return is_let; });
    connection.reply(200, cluster_json("old", {{"old", "http://127.0.0.1:1"}}));
  });
  const ScriptedServer quick(replies(cluster_json("new", {{"new", "http://127.0.0.1:1"}})));
  Setting setting({late.url(), quick.url()});
  setting.settings.change_poll_interval_us = kHourUs;
  setting.start();
  setting.loop.until([&] { return late.count() == 1; });
  setting.follower->set_changing(true);
  setting.until_memberships(1);
  CHECK(setting.observer.primary() == "new");
  {
    const std::lock_guard lock(mutex);
    is_let = true;
  }
  changed.notify_all();
  setting.loop.until([&] { return late.open_connections() == 0; });
  setting.loop.turns(20);
  CHECK(setting.observer.memberships.size() == 1);
  CHECK(setting.observer.primary() == "new");
}

TEST_CASE("patroni follower: the cadence of a change begins and ends with it") {
  const ScriptedServer a(replies(cluster_json("x", {})));
  Setting setting({a.url()});
  setting.settings.poll_interval_us = kHourUs;
  setting.start();
  setting.until_memberships(1);
  setting.loop.turns(30);
  CHECK(setting.observer.memberships.size() == 1);  // calm
  setting.follower->set_changing(true);
  CHECK(setting.observer.memberships.size() == 1);  // never from inside a call
  setting.until_memberships(6);
  setting.follower->set_changing(false);
  const size_t told = setting.observer.memberships.size();
  setting.until_memberships(told + 1);  // the round that was due or under way
  setting.loop.turns(50);
  CHECK(setting.observer.memberships.size() == told + 1);
}

TEST_CASE("patroni follower: a change that is told twice begins one round") {
  ScriptedServer a(hangs), b(hangs);
  Setting setting({a.url(), b.url()});
  setting.settings.change_poll_interval_us = kHourUs;
  setting.start();
  setting.loop.until([&] { return a.count() == 1; });
  setting.follower->set_changing(true);
  setting.loop.until([&] { return b.count() == 1; });
  setting.follower->set_changing(true);
  setting.loop.turns(30);
  CHECK(a.count() + b.count() == 2);
}

TEST_CASE("patroni follower: an address that has gone to another cluster is not believed") {
  ScriptedServer a(replies(cluster_json("x", {}, R"(, "scope": "ours")")));
  const ScriptedServer b(replies(cluster_json("y", {}, R"(, "scope": "theirs")")));
  Setting setting({a.url(), b.url()});
  setting.start();
  setting.until_memberships(1);
  a.set_handler(replies("no"));
  setting.loop.until([&] { return setting.observer.silences.size() >= 2; });
  CHECK(setting.observer.silences.back().find("it belongs to another cluster, \"theirs\"") != std::string::npos);
}

TEST_CASE("patroni follower: over HTTPS, with a client's certificate") {
  integration::CertificateAuthority authority;
  const auto own = authority.issue("server", "patroni", {"IP:127.0.0.1"});
  const auto clients = authority.issue("client", "bezel");
  const ScriptedServer a(replies(cluster_json("x", {})), {own.certificate, own.key, authority.certificate()});
  Setting setting({a.url()});
  setting.settings.ca_file = authority.certificate();
  SUBCASE("with it") {
    setting.settings.cert_file = clients.certificate;
    setting.settings.key_file = clients.key;
    setting.start();
    setting.until_memberships(2);
    CHECK(setting.observer.silences.empty());
  }
  SUBCASE("without") {
    setting.start();
    setting.loop.until([&] { return setting.observer.silences.size() >= 2; });
    CHECK(a.count() == 0);
  }
}

TEST_CASE("patroni follower: the observer may end the follower") {
  const ScriptedServer a(replies(cluster_json("x", {})));
  Setting setting({a.url(), dead_url()});
  setting.start();
  setting.observer.hook = [&] { setting.follower.reset(); };
  setting.until_memberships(1);
  setting.loop.turns(20);
  CHECK(setting.observer.memberships.size() == 1);
}

/// Two members, of which `other` is asked in calm and `leader` leads.
struct SwitchoverSetting {
  ScriptedServer leader{hangs}, other{hangs};
  std::unique_ptr<Setting> setting;

  explicit SwitchoverSetting(const std::string& leader_url = "") {
    other.set_handler([this, leader_url](ServerConnection& connection, const SeenRequest& request) {
      if (request.method == "POST") return connection.reply(200, "Successfully switched over to \"b\"");
      connection.reply(200,
                       cluster_json("a", {{"a", leader_url.empty() ? leader.url() : leader_url}, {"b", other.url()}}));
    });
    setting = std::make_unique<Setting>(std::vector{other.url()});
    setting->settings.user = "admin";
    setting->settings.password = "pass word";
    setting->start();
    setting->until_memberships(1);
  }
  void let_leader_reply(int status, const std::string& text) {
    leader.set_handler([=](ServerConnection& connection, const SeenRequest&) { connection.reply(status, text); });
  }
  size_t posts_to_other() const {
    size_t posts = 0;
    for (const SeenRequest& one : other.seen()) posts += one.method == "POST" ? 1 : 0;
    return posts;
  }
};

TEST_CASE("patroni follower: a switchover is asked of the leader, with a password that nothing else gets") {
  SwitchoverSetting s;
  s.let_leader_reply(200, "Successfully switched over to \"b\"");
  CHECK(s.setting->switch_over("a", "b") == "");
  CHECK(s.setting->switch_over("a", "") == "");
  const std::vector<SeenRequest> seen = s.leader.seen();
  REQUIRE(seen.size() == 2);
  CHECK(seen[0].method == "POST");
  CHECK(seen[0].target == "/switchover");
  CHECK(seen[0].body == R"({"candidate":"b","leader":"a"})");
  CHECK(seen[0].header("authorization") == "Basic YWRtaW46cGFzcyB3b3Jk");
  CHECK(seen[1].body == R"({"leader":"a"})");
  CHECK(s.posts_to_other() == 0);
  for (const SeenRequest& one : s.other.seen()) CHECK(one.header("authorization") == "");
}

TEST_CASE("patroni follower: without a user nothing is authenticated") {
  SwitchoverSetting s;
  s.setting->settings.user = "";
  s.setting->follower.reset();
  s.setting->observer.memberships.clear();
  s.setting->start();
  s.setting->until_memberships(1);
  s.let_leader_reply(401, "no auth header received");
  CHECK(s.setting->switch_over("a", "b") == s.leader.url() + ": Patroni answers 401: no auth header received");
  CHECK(s.leader.seen().at(0).header("authorization") == "");
}

TEST_CASE("patroni follower: what Patroni says of a switchover that is not done is passed on") {
  SwitchoverSetting s;
  const std::string prefix = s.leader.url() + ": ";
  s.let_leader_reply(412, "candidate does not exists");
  CHECK(s.setting->switch_over("a", "z") == prefix + "Patroni answers 412: candidate does not exists");
  s.let_leader_reply(503, "Switchover failed");
  CHECK(s.setting->switch_over("a", "b") == prefix + "Patroni answers 503: Switchover failed");
  s.let_leader_reply(202, "Switchover scheduled");
  CHECK(s.setting->switch_over("a", "b") == prefix + "Patroni answers 202: Switchover scheduled");
  s.let_leader_reply(200, "Switched over to \"c\" instead of \"b\"");
  CHECK(s.setting->switch_over("a", "b") == prefix + "Switched over to \"c\" instead of \"b\"");
  s.let_leader_reply(500, "a\nb\x1b[31m" + std::string(1000, 'x'));
  CHECK(s.setting->switch_over("a", "b") == prefix + "Patroni answers 500: a?b?[31m" + std::string(192, 'x'));
  CHECK(s.posts_to_other() == 0);
}

TEST_CASE("patroni follower: another member is asked for a switchover only if the leader has not been") {
  SUBCASE("nobody listens at the leader's address") {
    const SwitchoverSetting s(dead_url());
    CHECK(s.setting->switch_over("a", "b") == "");
    CHECK(s.posts_to_other() == 1);
  }
  SUBCASE("the leader is not known") {
    const SwitchoverSetting s;
    CHECK(s.setting->switch_over("nobody", "b") == "");
  }
  SUBCASE("the connection ends without an answer") {
    SwitchoverSetting s;
    s.leader.set_handler([](ServerConnection&, const SeenRequest&) {});
    const std::string error = s.setting->switch_over("a", "b");
    CHECK(error.starts_with(s.leader.url() + ": "));
    CHECK(error.ends_with("; the switchover may be under way all the same"));
    CHECK(error.find("pass word") == std::string::npos);
    CHECK(s.posts_to_other() == 0);
  }
}

TEST_CASE("patroni follower: one switchover at a time, and none is told of after the follower's end") {
  SwitchoverSetting s;
  int calls = 0;
  s.setting->follower->switch_over("a", "b", [&](const std::string&) { calls++; });
  std::string second;
  s.setting->follower->switch_over("a", "b", [&](std::string error) { second = std::move(error); });
  CHECK(second == "a switchover is under way already");
  s.setting->loop.until([&] { return s.leader.count() == 1; });
  // It is followed all the while.
  s.setting->until_memberships(s.setting->observer.memberships.size() + 3);
  s.setting->follower.reset();
  s.setting->loop.until([&] { return s.leader.open_connections() == 0; });
  CHECK(calls == 0);
}

TEST_CASE("patroni follower: a switchover without any address") {
  Setting setting({});
  setting.start();
  CHECK(setting.switch_over("a", "b") == "no address of Patroni is known");
}

}  // namespace
}  // namespace bezel::upstream
