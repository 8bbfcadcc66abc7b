#include <algorithm>
#include <optional>

#include "dns_fixture.h"
#include "src/upstream/dns_follower.h"

namespace bezel::upstream {
namespace {

using namespace fake_dns;
using Names = std::vector<std::string>;

constexpr int64_t kMs = 1000;

/// Bounds that let a test see a time to live of 1 s end soon, and those of a minute never.
pool::UpstreamSettings settings_of(std::vector<pool::HostAddress> hosts) {
  pool::UpstreamSettings settings;
  settings.source = pool::UpstreamSource::dns;
  settings.hosts = std::move(hosts);
  settings.dns_min_ttl_us = 20 * kMs;
  settings.dns_max_ttl_us = 60'000 * kMs;
  settings.dns_nxdomain_ttl_us = 20 * kMs;
  return settings;
}

class Fixture final : public Observer {
 public:
  integration::TemporaryFolder files;
  FakeDnsServer server;
  dns::TestLoop loop;
  std::unique_ptr<Follower> follower;
  int memberships = 0, silences = 0;
  pool::Membership last;
  std::string why, logged;
  std::function<void()> hook;

  void follow(pool::UpstreamSettings settings, const std::string& further_conf = "") {
    settings.resolv_conf = files.write("resolv.conf", server.line() + further_conf);
    follower = make_follower(loop.get(), settings, *this,
                             [this](pool::LogLevel, std::string_view line) { logged.append(line).append("\n"); });
    const int before = memberships + silences;
    follower->start();
    CHECK(memberships + silences == before);  // never from inside a call
  }
  void on_membership(const pool::Membership& membership) override {
    memberships++;
    last = membership;
    if (hook) hook();
  }
  void on_silence(std::string_view text) override {
    silences++;
    why = text;
    if (hook) hook();
  }
  void until_told() {
    const int before = memberships;
    loop.until([&] { return memberships > before; });
  }
  void until_silent() {
    const int before = silences;
    loop.until([&] { return silences > before; });
  }
  Names members() const {
    Names names;
    for (const pool::Member& member : last.members) {
      names.push_back(member.name);
      CHECK(member.role == pool::MemberRole::unknown);
    }
    return names;
  }
  void until_members(const Names& expected) {
    loop.until([&] { return members() == expected; });
  }
};

TEST_CASE("upstream dns: all addresses of all names, and those that need no lookup, are the members") {
  Fixture fixture;
  fixture.server.set("db.example", kA, {a("10.0.0.2"), a("10.0.0.1")});
  fixture.server.set("db.example", kAaaa, {aaaa("2001:db8::1")});
  fixture.server.set("other.example", kA, {a("10.0.0.3"), a("10.0.0.1")});
  fixture.follow(settings_of(
      {{"db.example", 5432}, {"other.example", 5432}, {"192.0.2.1", 5433}, {"2001:db8::9", 5434}, {"/run", 5435}}));
  fixture.until_told();
  CHECK(fixture.members() == Names{"10.0.0.1:5432", "10.0.0.2:5432", "[2001:db8::1]:5432", "10.0.0.3:5432",
                                   "192.0.2.1:5433", "[2001:db8::9]:5434", "/run:5435"});
  CHECK(fixture.last.members[0].address == pool::HostAddress{"10.0.0.1", 5432});
  CHECK(fixture.last.members[2].address == pool::HostAddress{"2001:db8::1", 5432});
  CHECK(fixture.last.members[5].address == pool::HostAddress{"2001:db8::9", 5434});
  CHECK(fixture.memberships == 1);  // of the whole round
  CHECK(fixture.silences == 0);
  CHECK_FALSE(fixture.last.paused);
}

TEST_CASE("upstream dns: addresses alone are told of once") {
  Fixture fixture;
  fixture.follow(settings_of({{"192.0.2.1", 5432}}));
  fixture.until_told();
  CHECK(fixture.members() == Names{"192.0.2.1:5432"});
  CHECK(fixture.server.queries() == 0);
}

TEST_CASE("upstream dns: SRV records bring targets and ports") {
  Fixture fixture;
  const std::string service = "_postgresql._tcp.db.example";
  // The address among the additional records is not asked for, and does not count.
  fixture.server.set(service, kSrv,
                     Reply{.answers = {srv("two.example", 5433, 2), srv("one.example", 5432, 1)},
                           .additional = {of("one.example", a("10.0.0.66"))}});
  fixture.server.set("one.example", kA, {a("10.0.0.1", 1)});
  fixture.server.set("two.example", kA, {a("10.0.0.2")});
  fixture.server.set("two.example", kAaaa, {aaaa("2001:db8::2")});
  fixture.follow(settings_of({{service, 0}}));
  fixture.until_told();
  CHECK(fixture.members() == Names{"10.0.0.1:5432", "10.0.0.2:5433", "[2001:db8::2]:5433"});

  // One target changes, another one comes and cannot be resolved, a third one can only not be resolved any more.
  fixture.server.set(
      service, kSrv,
      {srv("two.example", 5444, 2, 0, 1), srv("one.example", 5432, 1, 0, 1), srv("new.example", 5432, 3)});
  fixture.server.set("one.example", kA, {a("10.0.0.11", 1)});
  fixture.server.set("two.example", kA, Reply{.code = kServerFailure});
  fixture.server.set("two.example", kAaaa, Reply{.code = kServerFailure});
  fixture.until_members({"10.0.0.11:5432", "10.0.0.2:5444", "[2001:db8::2]:5444"});
  CHECK(fixture.why.find("could not resolve \"new.example\": the name does not exist") != std::string::npos);
  CHECK(fixture.why.find("could not resolve \"two.example\": the DNS servers fail") != std::string::npos);

  // The records go away, or lead nowhere: what is known stays.
  const Names known = fixture.members();
  fixture.server.set(service, kSrv, {srv("nowhere.example", 5432, 0, 0, 1)});
  fixture.loop.until([&] { return fixture.why == "could not resolve \"nowhere.example\": the name does not exist"; });
  fixture.server.forget(service);
  fixture.loop.until([&] { return fixture.why == "could not resolve \"" + service + "\": the name does not exist"; });
  CHECK(fixture.members() == known);
  fixture.server.set(service, kSrv, {srv("one.example", 5432)});
  fixture.until_members({"10.0.0.11:5432"});
}

TEST_CASE("upstream dns: SRV records that lead nowhere do not take away what others are told with") {
  Fixture fixture;
  fixture.server.set("_db._tcp.example", kSrv, {srv("one.example", 5432, 0, 0, 0)});
  fixture.server.set("one.example", kA, {a("10.0.0.1")});
  fixture.server.set("other.example", kA, {a("10.0.1.1", 0)});
  fixture.follow(settings_of({{"_db._tcp.example", 0}, {"other.example", 5432}}));
  fixture.until_members({"10.0.0.1:5432", "10.0.1.1:5432"});
  fixture.server.set("_db._tcp.example", kSrv, {srv("nowhere.example", 5432, 0, 0, 0)});
  fixture.until_silent();
  fixture.server.set("other.example", kA, {a("10.0.1.2", 0)});
  fixture.until_members({"10.0.0.1:5432", "10.0.1.2:5432"});
}

TEST_CASE("upstream dns: it looks again when the least time to live is over, and not before") {
  Fixture fixture;
  fixture.server.set("db.example", kA, {a("10.0.0.1", 1)});
  fixture.server.set("long.example", kA, {a("10.0.1.1", 60)});
  fixture.follow(settings_of({{"db.example", 5432}, {"long.example", 5432}}));
  fixture.until_members({"10.0.0.1:5432", "10.0.1.1:5432"});
  fixture.server.set("db.example", kA, {a("10.0.0.2", 60)});
  fixture.server.set("long.example", kA, {a("10.0.1.2", 60)});
  fixture.until_members({"10.0.0.2:5432", "10.0.1.1:5432"});
  CHECK(fixture.server.queries("db.example", kA) >= 2);
  CHECK(fixture.server.queries("long.example", kA) == 1);
}

TEST_CASE("upstream dns: a time to live is kept within bounds") {
  SUBCASE("from above") {
    Fixture fixture;
    fixture.server.set("db.example", kA, {a("10.0.0.1", 3600)});
    auto settings = settings_of({{"db.example", 5432}});
    settings.dns_max_ttl_us = 30 * kMs;
    fixture.follow(settings);
    fixture.until_told();
    fixture.until_told();
    CHECK(fixture.server.queries("db.example", kA) >= 2);
  }
  SUBCASE("from below") {
    Fixture fixture;
    fixture.server.set("db.example", kA, {a("10.0.0.1", 0)});
    fixture.server.set("other.example", kA, {a("10.0.0.2", 1)});
    auto settings = settings_of({{"db.example", 5432}, {"other.example", 5432}});
    settings.dns_min_ttl_us = 3600'000 * kMs;
    fixture.follow(settings);
    fixture.until_told();
    int turns = 0;
    fixture.loop.until([&] { return turns++ > 50; });
    CHECK(fixture.memberships == 1);
    CHECK(fixture.server.queries("db.example", kA) == 1);
  }
}

TEST_CASE("upstream dns: while a change is under way it looks at once, and often") {
  Fixture fixture;
  fixture.server.set("db.example", kA, {a("10.0.0.1", 3600)});
  fixture.follow(settings_of({{"db.example", 5432}}));
  fixture.until_told();
  fixture.server.set("db.example", kA, {a("10.0.0.2", 3600)});
  fixture.follower->set_changing(true);
  CHECK(fixture.memberships == 1);
  fixture.until_members({"10.0.0.2:5432"});
  fixture.until_told();
  fixture.until_told();
  const int asked = fixture.server.queries("db.example", kA);
  CHECK(asked == 4);
  fixture.follower->set_changing(false);
  // A change that ends: the times to live count again.
  fixture.follower->set_changing(true);
  fixture.follower->set_changing(false);
  fixture.until_told();
  CHECK(fixture.server.queries("db.example", kA) == asked + 1);
}

TEST_CASE("upstream dns: what is known outlives failures of every kind") {
  Fixture fixture;
  fixture.server.set("db.example", kA, {a("10.0.0.1", 0)});
  fixture.follow(settings_of({{"db.example", 5432}}), "options timeout:1 attempts:1\n");
  fixture.until_told();
  const Names known = {"10.0.0.1:5432"};
  for (const Reply& failure :
       {Reply{.code = kServerFailure}, Reply{.code = kNoSuchName}, Reply{.silent = true}, Reply{}}) {
    fixture.server.set_all(failure);
    const int silences = fixture.silences;
    fixture.loop.until([&] { return fixture.silences > silences + 1; });
    CHECK(fixture.members() == known);
  }
  CHECK(fixture.why == "could not resolve \"db.example\": the name has no such records");
  const int memberships = fixture.memberships;
  fixture.until_silent();
  CHECK(fixture.memberships == memberships);  // nothing was answered, so nothing is told
  fixture.server.set("db.example", kA, {a("10.0.0.2", 3600)});
  fixture.server.clear_all();
  fixture.until_members({"10.0.0.2:5432"});
}

TEST_CASE("upstream dns: a name that cannot be resolved does not hide the others for long") {
  Fixture fixture;
  fixture.server.set("db.example", kA, {a("10.0.0.1", 3600)});
  fixture.server.set("silent.example", kA, Reply{.silent = true});
  fixture.follow(settings_of({{"silent.example", 5432}, {"db.example", 5432}}), "options timeout:30 attempts:5\n");
  fixture.until_told();
  CHECK(fixture.members() == Names{"10.0.0.1:5432"});
  CHECK(fixture.silences == 0);
}

TEST_CASE("upstream dns: silence comes before what the others say") {
  Fixture fixture;
  fixture.server.set("db.example", kA, {a("10.0.0.1", 3600)});
  fixture.follow(settings_of({{"gone.example", 5432}, {"db.example", 5432}}));
  std::string order;
  fixture.hook = [&] { order += fixture.memberships > 0 ? "m" : "s"; };
  fixture.until_told();
  CHECK(order == "sm");
  CHECK(fixture.why == "could not resolve \"gone.example\": the name does not exist");
}

TEST_CASE("upstream dns: there are at most 64 members") {
  Fixture fixture;
  for (int name = 0; name < 2; name++) {
    Reply reply{.truncated = true};
    for (int i = 0; i < 50; i++)
      reply.answers.push_back(a("10.0." + std::to_string(name) + "." + std::to_string(i), 1));
    fixture.server.set("n" + std::to_string(name) + ".example", kA, reply);
  }
  fixture.follow(settings_of({{"n0.example", 5432}, {"n1.example", 5432}}));
  // Of a slow machine one name may be told alone at first.
  fixture.loop.until([&] { return fixture.last.members.size() > 50; });
  CHECK(fixture.last.members.size() == DnsFollower::kMembersMax);
  CHECK(fixture.members().back() == "10.0.1.13:5432");
  fixture.until_told();
  CHECK(fixture.logged == "the names of an upstream have more than 64 addresses: the others are left out\n");
}

TEST_CASE("upstream dns: it may be destroyed at any time") {
  for (const bool by_silence : {false, true}) {
    Fixture fixture;
    fixture.server.set("db.example", kA, {a("10.0.0.1", 0)});
    auto hosts = std::vector<pool::HostAddress>{{"db.example", 5432}};
    if (by_silence) hosts.push_back({"gone.example", 5432});
    fixture.follow(settings_of(hosts));
    fixture.hook = [&] { fixture.follower.reset(); };
    fixture.loop.until([&] { return fixture.follower == nullptr; });
    CHECK(fixture.memberships == (by_silence ? 0 : 1));
    fixture.hook = nullptr;
    fixture.follow(settings_of(hosts));
    fixture.follower.reset();
    int turns = 0;
    fixture.loop.until([&] { return turns++ > 20; });
    CHECK(fixture.memberships == (by_silence ? 0 : 1));
  }
}

TEST_CASE("upstream dns: it cannot switch over") {
  Fixture fixture;
  fixture.follow(settings_of({{"192.0.2.1", 5432}}));
  std::string error;
  fixture.follower->switch_over("a", "b", [&](const std::string& text) { error = text; });
  CHECK(error == "the primary can only be switched over where Patroni is asked for it (upstream: {source: patroni})");
}

}  // namespace
}  // namespace bezel::upstream
