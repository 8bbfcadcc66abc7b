// Which member of a cluster is the primary, and where the next connection goes.

#include <doctest/doctest.h>

#include <map>
#include <string>
#include <vector>

#include "pool/upstream.h"

using namespace bezel::pool;

namespace {

constexpr int64_t kSecondUs = 1'000'000;
const HostAddress kA{"10.0.0.1", 5432}, kB{"10.0.0.2", 5432}, kC{"10.0.0.3", 5432};
constexpr auto kPrimary = TargetSessionAttrs::primary;
constexpr auto kStandby = TargetSessionAttrs::standby;

Member member(const HostAddress& address, MemberRole role, std::string state = "running",
              std::optional<uint32_t> timeline = {}, std::optional<uint64_t> lag_bytes = {}) {
  return {"db-" + address.host.substr(address.host.size() - 1), address, role, std::move(state), timeline, lag_bytes};
}

/// A cluster at some time, whose servers are what `roles` says.
struct Fixture {
  int changes = 0;
  int64_t now_us = 100 * kSecondUs;
  Upstream upstream{UpstreamSettings(), [this](const Upstream&) { changes++; }};
  std::map<HostAddress, ServerRole> roles;

  void report(std::vector<Member> members) { upstream.on_membership({std::move(members)}, now_us, now_us); }
  /// A source that tells no roles.
  void list(const std::vector<HostAddress>& addresses) {
    std::vector<Member> members;
    for (const HostAddress& address : addresses) members.push_back(member(address, MemberRole::unknown, ""));
    report(std::move(members));
  }
  void cluster_led_by(const HostAddress& leader, uint32_t timeline) {
    std::vector<Member> members;
    for (const HostAddress& address : {kA, kB, kC}) {
      const bool leads = address == leader;
      members.push_back(member(address, leads ? MemberRole::primary : MemberRole::replica,
                               leads ? "running" : "streaming", timeline, leads ? std::nullopt : std::optional(0)));
    }
    report(std::move(members));
  }
  std::optional<HostAddress> choose(TargetSessionAttrs wanted = kPrimary, int64_t lag_bytes_max = 0) {
    return upstream.choose({wanted, lag_bytes_max}, now_us).address;
  }
  /// A chosen server logs in and says what it is; returns why it is not used.
  std::string login(const HostAddress& address, TargetSessionAttrs wanted = kPrimary, int64_t lag_bytes_max = 0) {
    const std::string refusal = upstream.logged_in(address, roles.at(address), {wanted, lag_bytes_max}, now_us, now_us);
    upstream.tried(address);
    if (!refusal.empty()) upstream.closed(address);
    return refusal;
  }
  /// Opens connections until one is used, at most as many as there are members.
  std::optional<HostAddress> connect(TargetSessionAttrs wanted = kPrimary) {
    for (int i = 0; i < 3; i++) {
      const auto address = choose(wanted);
      if (!address) return std::nullopt;
      if (login(*address, wanted).empty()) return address;
    }
    return std::nullopt;
  }
  /// Which clients that want a primary go to.
  std::optional<HostAddress> primary() {
    for (const MemberRow& row : upstream.row().members) {
      if (row.is_primary) return row.member.address;
    }
    return std::nullopt;
  }
  bool serves(const HostAddress& address, TargetSessionAttrs wanted = kPrimary) {
    return upstream.serves(address, {wanted});
  }
};

}  // namespace

TEST_CASE("upstream: without a source's word every member is asked, and the one that says so is the primary") {
  Fixture cluster;
  CHECK(!cluster.choose());  // nothing is known yet
  cluster.list({kA, kB, kC});
  cluster.roles = {{kA, {true}}, {kB, {false, false, 1}}, {kC, {true}}};
  CHECK(cluster.upstream.tries_wanted(kPrimary, cluster.now_us) == 3);
  CHECK(cluster.connect() == kB);
  CHECK(cluster.upstream.tries_wanted(kPrimary, cluster.now_us) == 0);
  CHECK(!cluster.upstream.changing());
  // From now on it is no question.
  for (int i = 0; i < 10; i++) CHECK(cluster.choose() == kB);
  CHECK(cluster.upstream.row().failovers.empty());
}

TEST_CASE("upstream: while the primary is looked for, each member is tried rarely, and not by too many at once") {
  Fixture cluster;
  cluster.list({kA, kB});
  CHECK(cluster.choose());
  CHECK(cluster.choose());
  CHECK(!cluster.choose());
  CHECK(cluster.upstream.choose({kPrimary}, cluster.now_us).retry_at_us == cluster.now_us + Upstream::kTryAgainUs);
  cluster.now_us += Upstream::kTryAgainUs;
  CHECK(cluster.choose());
  CHECK(cluster.choose());
  cluster.now_us += Upstream::kTryAgainUs;
  CHECK(!cluster.choose());  // two tries of each hang
  cluster.upstream.tried(kB);
  CHECK(cluster.choose() == kB);
}

TEST_CASE("upstream: a leader by the source's word is the primary only when it says so itself") {
  Fixture cluster;
  cluster.cluster_led_by(kA, 1);
  cluster.roles = {{kA, {false, false, 1}}, {kB, {true}}, {kC, {true}}};
  CHECK(cluster.connect() == kA);
  cluster.cluster_led_by(kB, 1);
  CHECK(cluster.upstream.changing());
  CHECK(!cluster.serves(kA));
  CHECK(!cluster.upstream.superseded(kA));  // not yet: it may end what it has begun
  CHECK(!cluster.primary());
  // It has the lock, and is in recovery still.
  CHECK(cluster.choose() == kB);
  CHECK(cluster.login(kB) == "the server is a standby");
  // The old one may think what it likes.
  CHECK(!cluster.upstream.logged_in(kA, cluster.roles[kA], {kPrimary}, cluster.now_us, 0).empty());
  cluster.now_us += Upstream::kTryAgainUs;
  cluster.roles[kB] = {false, false, 2};
  CHECK(cluster.connect() == kB);
  CHECK(cluster.primary() == kB);
  CHECK(cluster.serves(kB));
  CHECK(!cluster.serves(kA));
  CHECK(cluster.upstream.superseded(kA));
  CHECK(!cluster.upstream.superseded(kB));
  const std::vector<Failover> failovers = cluster.upstream.row().failovers;
  REQUIRE(failovers.size() == 1);
  CHECK(failovers[0].from == "db-1");
  CHECK(failovers[0].to == "db-2");
  CHECK(failovers[0].timeline == 2);
  CHECK(failovers[0].ended_us - failovers[0].began_us == Upstream::kTryAgainUs);
}

TEST_CASE("upstream: a promotion that the source has not heard of yet is believed for its timeline") {
  Fixture cluster;
  cluster.cluster_led_by(kA, 3);
  cluster.roles = {{kA, {false, false, 3}}, {kB, {false, false, 4}}, {kC, {true}}};
  CHECK(cluster.connect() == kA);
  cluster.upstream.suspect(kA, "57P01", cluster.now_us, 0);
  CHECK(cluster.upstream.logged_in(kB, cluster.roles[kB], {kPrimary}, cluster.now_us, 0).empty());
  CHECK(cluster.primary() == kB);
  // A late answer of the source changes nothing.
  cluster.cluster_led_by(kA, 3);
  CHECK(cluster.serves(kB));
  CHECK(!cluster.serves(kA));
  CHECK(cluster.login(kA) == "the server is on timeline 3, and the cluster has gone on to 4");
  // And it is the primary for all, also after a sign against it that comes to nothing.
  CHECK(cluster.connect() == kB);
  cluster.upstream.suspect(kB, "57P01", cluster.now_us, 0);
  cluster.now_us += Upstream::kTryAgainUs;
  cluster.login(kB);
  CHECK(cluster.primary() == kB);
  SUBCASE("until the source names another one") {
    cluster.cluster_led_by(kC, 4);
  }
  SUBCASE("until the source names the former one, and has heard of the promotion") {
    cluster.cluster_led_by(kA, 4);
  }
  CHECK(!cluster.primary());
  CHECK(!cluster.login(kB).empty());
}

TEST_CASE("upstream: of two that take themselves for the primary, the later timeline is") {
  Fixture cluster;
  cluster.list({kA, kB});
  cluster.roles = {{kA, {false, false, 1}}, {kB, {false, false, 2}}};
  SUBCASE("the old one is found first") {
    CHECK(cluster.choose());
    CHECK(cluster.choose());
    CHECK(cluster.login(kA).empty());
    CHECK(cluster.login(kB).empty());
  }
  SUBCASE("the new one is found first") {
    CHECK(cluster.choose());
    CHECK(cluster.choose());
    CHECK(cluster.login(kB).empty());
    CHECK(!cluster.login(kA).empty());
  }
  CHECK(cluster.primary() == kB);
  CHECK(!cluster.serves(kA));
  // The same timeline twice: the one that is known stays.
  cluster.roles[kA].timeline = 2;
  CHECK(!cluster.login(kA).empty());
  CHECK(cluster.primary() == kB);
}

TEST_CASE("upstream: after a restore the timeline may go back only when an administrator says so") {
  Fixture cluster;
  cluster.cluster_led_by(kA, 7);
  cluster.roles = {{kA, {false, false, 7}}};
  CHECK(cluster.connect() == kA);
  cluster.upstream.suspect(kA, "gone", cluster.now_us, 0);
  cluster.roles[kA].timeline = 2;
  CHECK(!cluster.login(kA).empty());
  cluster.upstream.forget_timeline();
  CHECK(cluster.login(kA).empty());
}

TEST_CASE("upstream: signs of a change") {
  Fixture cluster;
  cluster.cluster_led_by(kA, 1);
  cluster.roles = {{kA, {false, false, 1}}, {kB, {true}}, {kC, {true}}};
  REQUIRE(cluster.connect() == kA);
  const int changes = cluster.changes;
  SUBCASE("a connection is lost") {
    cluster.upstream.suspect(kA, "server closed the connection", cluster.now_us, 0);
  }
  SUBCASE("a login fails") {
    cluster.upstream.login_failed(kA, "starting up", cluster.now_us, 0);
  }
  SUBCASE("nobody holds the lock") {
    cluster.report({member(kA, MemberRole::replica), member(kB, MemberRole::replica)});
  }
  SUBCASE("the leader stops") {
    cluster.report({member(kA, MemberRole::primary, "stopping", 1), member(kB, MemberRole::replica)});
    // Said once; the next answer is no news.
    CHECK(cluster.login(kA).empty());
    cluster.report({member(kA, MemberRole::primary, "stopping", 1), member(kB, MemberRole::replica)});
    CHECK(!cluster.upstream.changing());
    return;
  }
  CHECK(cluster.upstream.changing());
  CHECK(cluster.changes > changes);
  // It is the same again: connections to it are still good, and nothing has happened.
  cluster.now_us += Upstream::kTryAgainUs;
  CHECK(cluster.login(kA).empty());
  CHECK(!cluster.upstream.changing());
  CHECK(cluster.upstream.row().failovers.empty());
}

TEST_CASE("upstream: a replica that is lost is no sign of anything") {
  Fixture cluster;
  cluster.cluster_led_by(kA, 1);
  cluster.roles = {{kA, {false, false, 1}}};
  REQUIRE(cluster.connect() == kA);
  cluster.upstream.suspect(kB, "gone", cluster.now_us, 0);
  cluster.upstream.login_failed(kC, "refused", cluster.now_us, 0);
  CHECK(!cluster.upstream.changing());
}

TEST_CASE("upstream: a change of which no more is heard, and that nobody waits for, ends") {
  Fixture cluster;
  cluster.list({kA});
  cluster.roles = {{kA, {false, false, 1}}};
  REQUIRE(cluster.connect() == kA);
  cluster.upstream.suspect(kA, "terminated by administrator", cluster.now_us, 0);
  cluster.now_us += Upstream::kQuietUs - 1;
  cluster.upstream.tick(cluster.now_us);
  CHECK(cluster.upstream.changing());
  CHECK(cluster.upstream.row().without_primary_since_us > 0);
  cluster.now_us += 1;
  cluster.upstream.tick(cluster.now_us);
  CHECK(!cluster.upstream.changing());
  CHECK(cluster.upstream.row().without_primary_since_us == 0);
  // Who needs a server next looks for it.
  CHECK(cluster.connect() == kA);
  // While somebody waits it goes on.
  cluster.upstream.suspect(kA, "gone", cluster.now_us, 0);
  for (int i = 0; i < 100; i++) {
    cluster.now_us += Upstream::kTryAgainUs;
    cluster.choose();
    cluster.upstream.tick(cluster.now_us);
    REQUIRE(cluster.upstream.changing());
  }
}

TEST_CASE("upstream: an address that has left the list is not the primary any more once another one is") {
  Fixture cluster;
  cluster.list({kA});
  cluster.roles = {{kA, {false, false, 1}}, {kB, {true}}};
  REQUIRE(cluster.connect() == kA);
  cluster.list({kB});
  CHECK(cluster.upstream.changing());
  CHECK(!cluster.serves(kA));
  CHECK(!cluster.upstream.superseded(kA));  // what it has begun it may end
  CHECK(!cluster.connect());
  cluster.now_us += Upstream::kTryAgainUs;
  // Services that copy disks promote without a new timeline.
  cluster.roles[kB] = {false, false, 1};
  CHECK(cluster.connect() == kB);
  CHECK(!cluster.serves(kA));
}

TEST_CASE("upstream: an empty list means that there is no leader, and not that all have left") {
  Fixture cluster;
  cluster.cluster_led_by(kA, 1);
  cluster.roles = {{kA, {false, false, 1}}, {kB, {true}}, {kC, {true}}};
  REQUIRE(cluster.connect() == kA);
  REQUIRE(cluster.connect(kStandby));
  cluster.report({});
  CHECK(cluster.upstream.changing());
  CHECK(cluster.serves(kA));
  CHECK(cluster.serves(kB, kStandby));
  cluster.now_us += Upstream::kTryAgainUs;
  CHECK(cluster.connect() == kA);
}

TEST_CASE("upstream: readers go to the replica with the fewest connections that is not too far behind") {
  Fixture cluster;
  cluster.report({member(kA, MemberRole::primary, "running", 1), member(kB, MemberRole::replica, "streaming", 1, 100),
                  member(kC, MemberRole::replica, "streaming", 1, 5000)});
  cluster.roles = {{kA, {false, false, 1}}, {kB, {true}}, {kC, {true}}};
  CHECK(cluster.connect(kStandby) == kB);
  CHECK(cluster.connect(kStandby) == kC);
  CHECK(cluster.connect(kStandby) == kB);
  CHECK(cluster.connect(kStandby) == kC);
  CHECK(cluster.upstream.choose({kStandby, 1000}, cluster.now_us).address == kB);
  CHECK(!cluster.upstream.serves(kC, {kStandby, 1000}));
  CHECK(cluster.upstream.serves(kB, {kStandby, 1000}));
  CHECK(!cluster.serves(kA, kStandby));
  // Its lag is not known.
  cluster.report({member(kA, MemberRole::primary, "running", 1), member(kB, MemberRole::replica, "streaming")});
  CHECK(!cluster.upstream.choose({kStandby, 1000}, cluster.now_us).address);
  CHECK(cluster.upstream.choose({TargetSessionAttrs::prefer_standby, 1000}, cluster.now_us).address == kA);
}

TEST_CASE("upstream: readers that may fall back to the primary leave it as soon as there is a replica for them") {
  constexpr auto kPrefer = TargetSessionAttrs::prefer_standby;
  Fixture cluster;
  cluster.roles = {{kA, {false, false, 1}}, {kB, {true}}};
  const auto report_b = [&](const std::string& state, uint64_t lag_bytes) {
    Member b = member(kB, MemberRole::replica, state, 1, lag_bytes);
    b.takes_reads = state == "running";
    cluster.report({member(kA, MemberRole::primary, "running", 1), b});
  };
  report_b("stopped", 0);
  REQUIRE(cluster.connect(kPrefer) == kA);
  CHECK(cluster.serves(kA, kPrefer));
  CHECK(!cluster.serves(kB, kPrefer));
  SUBCASE("that the source calls a running one, until it cannot be reached") {
    report_b("running", 0);
    CHECK(!cluster.serves(kA, kPrefer));
    CHECK(cluster.serves(kA, TargetSessionAttrs::read_only));
    CHECK(cluster.choose(kPrefer) == kB);
    CHECK(cluster.serves(kA, kPrefer));
    cluster.upstream.login_failed(kB, "refused", cluster.now_us, 0);
    cluster.upstream.tried(kB);
    cluster.upstream.closed(kB);
    CHECK(cluster.serves(kA, kPrefer));
    // Its figures are nothing new.
    report_b("running", 1);
    CHECK(cluster.serves(kA, kPrefer));
    SUBCASE("and again when it has been") {
      cluster.now_us += Upstream::kTryAgainUs;
      const int changes = cluster.changes;
      REQUIRE(cluster.connect(kPrefer) == kB);
      CHECK(cluster.changes > changes);
    }
    SUBCASE("and again when the source has something new to say") {
      report_b("stopped", 1);
      report_b("running", 1);
    }
    SUBCASE("and again after a while") {
      const int changes = cluster.changes;
      cluster.upstream.tick(cluster.now_us + Upstream::kOutOfReachUs - 1);
      CHECK(cluster.serves(kA, kPrefer));
      CHECK(cluster.changes == changes);
      cluster.upstream.tick(cluster.now_us + Upstream::kOutOfReachUs);
      CHECK(cluster.changes == changes + 1);
    }
    CHECK(!cluster.serves(kA, kPrefer));
  }
  SUBCASE("that is not too far behind for them") {
    report_b("running", 5000);
    CHECK(cluster.upstream.serves(kA, {kPrefer, 1000}));
    CHECK(!cluster.upstream.serves(kA, {kPrefer, 5000}));
  }
  SUBCASE("that was the primary before") {
    cluster.roles = {{kA, {true}}, {kB, {false, false, 2}}};
    cluster.report({member(kA, MemberRole::replica, "running", 2, 0), member(kB, MemberRole::primary, "running", 2)});
    REQUIRE(cluster.connect() == kB);
    CHECK(cluster.serves(kA, kPrefer));
    CHECK(!cluster.serves(kB, kPrefer));
  }
}

TEST_CASE("upstream: a reader's login is of no use if the source has changed its mind meanwhile") {
  constexpr auto kPrefer = TargetSessionAttrs::prefer_standby;
  Fixture cluster;
  cluster.cluster_led_by(kA, 1);
  cluster.roles = {{kA, {false, false, 1}}, {kB, {true}}, {kC, {true}}};
  REQUIRE(cluster.choose(kStandby) == kB);
  SUBCASE("for it has the leader lock") {
    cluster.cluster_led_by(kB, 1);
    CHECK(!cluster.login(kB, kStandby).empty());
    CHECK(cluster.choose(kStandby) == kA);
  }
  SUBCASE("for it has left the list") {
    cluster.report({member(kA, MemberRole::primary), member(kC, MemberRole::replica)});
    CHECK(!cluster.login(kB, kStandby).empty());
    CHECK(cluster.connect(kStandby) == kC);
  }
  SUBCASE("for it has fallen behind, where that matters") {
    cluster.report({member(kA, MemberRole::primary), member(kB, MemberRole::replica, "streaming", 1, 5000)});
    SUBCASE("") {
      CHECK(!cluster.login(kB, kStandby, 1000).empty());
    }
    SUBCASE("") {
      CHECK(cluster.login(kB, kStandby, 5000).empty());
    }
    SUBCASE("") {
      CHECK(cluster.login(kB, kStandby).empty());
    }
  }
  SUBCASE("for there is a better one") {
    Member b = member(kB, MemberRole::replica);
    b.takes_reads = false;
    cluster.report({member(kA, MemberRole::primary), b});
    REQUIRE(cluster.choose(kPrefer) == kA);
    b.takes_reads = true;
    cluster.report({member(kA, MemberRole::primary), b});
    cluster.login(kB);
    CHECK(!cluster.login(kA, kPrefer).empty());
    CHECK(cluster.connect(kPrefer) == kB);
  }
}

TEST_CASE("upstream: readers that may fall back to the primary do so at once, and not in vain") {
  constexpr auto kPrefer = TargetSessionAttrs::prefer_standby;
  Fixture cluster;
  cluster.roles = {{kA, {false, false, 2}}, {kB, {false, false, 1}}};
  cluster.report({member(kA, MemberRole::primary, "running", 2), member(kB, MemberRole::replica, "running", 2)});
  REQUIRE(cluster.connect() == kA);
  SUBCASE("where what the source calls a replica takes itself for the primary") {
    REQUIRE(cluster.choose(kPrefer) == kB);
    CHECK(cluster.connect(kPrefer) == kA);  // while that login hangs
    CHECK(!cluster.login(kB, kPrefer).empty());
    CHECK(cluster.connect(kPrefer) == kA);
    CHECK(cluster.serves(kA, kPrefer));
    cluster.now_us += Upstream::kOutOfReachUs;
    cluster.upstream.tick(cluster.now_us);
    REQUIRE(cluster.choose(kPrefer) == kB);  // once more
    CHECK(cluster.connect(kPrefer) == kA);
    CHECK(!cluster.login(kB, kPrefer).empty());
    CHECK(cluster.connect(kPrefer) == kA);
    cluster.now_us += Upstream::kTryAgainUs;
    cluster.roles[kB] = {true};
    CHECK(cluster.connect(kPrefer) == kB);
    CHECK(!cluster.serves(kA, kPrefer));
  }
  SUBCASE("but for a replica that may be tried in a moment") {
    REQUIRE(cluster.choose(kPrefer) == kB);
    cluster.upstream.tried(kB);
    cluster.upstream.closed(kB);
    const Upstream::Choice choice = cluster.upstream.choose({kPrefer}, cluster.now_us);
    CHECK(!choice.address);
    CHECK(choice.retry_at_us == cluster.now_us + Upstream::kTryAgainUs);
    cluster.now_us = choice.retry_at_us;
    CHECK(cluster.choose(kPrefer) == kB);
  }
}

TEST_CASE("upstream: who is refused by one server gets another one that will do") {
  Fixture cluster;
  cluster.cluster_led_by(kA, 1);
  cluster.roles = {{kA, {false, false, 1}}, {kB, {true}}, {kC, {true}}};
  REQUIRE(cluster.connect() == kA);
  REQUIRE(cluster.connect(kStandby) == kB);
  REQUIRE(cluster.connect(kStandby) == kC);
  const auto choose = [&](const Wanted& wanted) { return cluster.upstream.choose(wanted, cluster.now_us).address; };
  Refusals refusals;
  refusals.add(kB, cluster.now_us + kSecondUs);
  const Wanted reader{kStandby, 0, refusals};
  for (int i = 0; i < 3; i++) CHECK(choose(reader) == kC);
  CHECK(choose({kStandby}) == kB);  // those who are not refused
  refusals.add(kC, cluster.now_us + kSecondUs);
  CHECK(!choose({kStandby, 0, refusals}));
  CHECK(choose({TargetSessionAttrs::any, 0, refusals}) == kA);
  CHECK(choose({TargetSessionAttrs::read_only, 0, refusals}) == kA);
  Wanted either{TargetSessionAttrs::prefer_standby, 0, refusals};
  CHECK(choose(either) == kA);
  CHECK(cluster.upstream.logged_in(kA, cluster.roles[kA], either, cluster.now_us, 0).empty());
  CHECK(cluster.upstream.serves(kA, either));
  CHECK(cluster.upstream.serves(kB, either));  // what is open there goes on
  CHECK(!cluster.serves(kA, TargetSessionAttrs::prefer_standby));
  // Later it is asked again, and until it lets somebody in, the primary is none the worse.
  cluster.now_us += kSecondUs;
  CHECK(choose(either) != kA);
  CHECK(cluster.upstream.serves(kA, either));
  either.refusals.remove(kC);
  CHECK(!cluster.upstream.serves(kA, either));
  // It is the primary even so: nobody looks for another one.
  refusals.add(kA, cluster.now_us + kSecondUs);
  CHECK(!choose({kPrimary, 0, refusals}));
  CHECK(cluster.upstream.tries_wanted(kPrimary, cluster.now_us) == 0);
  CHECK(!cluster.upstream.changing());
  CHECK(cluster.choose() == kA);
}

TEST_CASE("upstream: while the primary is looked for, who refuses is passed over") {
  Fixture cluster;
  cluster.list({kA, kB});
  Refusals refusals;
  refusals.add(kA, cluster.now_us + kSecondUs);
  for (int i = 0; i < 2; i++) {
    CHECK(cluster.upstream.choose({kPrimary, 0, refusals}, cluster.now_us).address ==
          (i == 0 ? std::optional(kB) : std::nullopt));
  }
}

TEST_CASE("refusals: until when, by whom, and not without end") {
  Refusals refusals;
  CHECK(refusals.next() == nullptr);
  refusals.add(kA, 200);
  refusals.add(kB, 100);
  CHECK(refusals.next()->host == kB);
  CHECK(refusals.bars(kB, 99));
  CHECK(!refusals.bars(kB, 100));
  CHECK(refusals.has(kB));
  refusals.add(kB, 300);
  CHECK(refusals.bars(kB, 299));
  CHECK(refusals.next()->host == kA);
  CHECK(refusals.remove(kA));
  CHECK(!refusals.remove(kA));
  CHECK(!refusals.has(kA));
  for (uint16_t port = 1; port <= 2 * Refusals::kRefusalsMax; port++) refusals.add({"10.0.0.9", port}, 1000);
  CHECK(!refusals.has({"10.0.0.9", Refusals::kRefusalsMax}));
  CHECK(refusals.has({"10.0.0.9", Refusals::kRefusalsMax + 1}));
}

TEST_CASE("refusals: which errors are about the server and not about who logs in") {
  for (const char* state : {"53300", "53200", "57P03", "57P05", "58030", "XX000"})
    CHECK(is_refusal_of_one_server(state));
  for (const char* state : {"28P01", "28000", "3D000", "42501", "0A000", "22023", ""})
    CHECK(!is_refusal_of_one_server(state));
}

TEST_CASE("upstream: who may go anywhere does not go to an old primary again and again") {
  constexpr auto kAny = TargetSessionAttrs::any;
  Fixture cluster;
  cluster.cluster_led_by(kA, 2);
  cluster.roles = {{kA, {false, false, 2}}, {kB, {false, false, 1}}, {kC, {true}}};
  REQUIRE(cluster.connect() == kA);
  REQUIRE(cluster.choose(kAny) == kB);
  CHECK(!cluster.login(kB, kAny).empty());
  for (int i = 0; i < 6; i++) CHECK(cluster.connect(kAny) == (i % 2 == 0 ? kC : kA));
}

TEST_CASE("upstream: where no source tells roles, readers leave the primary for who has said that it is a standby") {
  constexpr auto kPrefer = TargetSessionAttrs::prefer_standby;
  Fixture cluster;
  cluster.list({kA, kB});
  cluster.roles = {{kA, {false, false, 1}}, {kB, {true}}};
  REQUIRE(cluster.connect() == kA);
  CHECK(cluster.serves(kA, kPrefer));
  const int changes = cluster.changes;
  REQUIRE(cluster.connect(kPrefer) == kB);
  CHECK(cluster.changes == changes + 1);
  CHECK(!cluster.serves(kA, kPrefer));
  cluster.upstream.suspect(kB, "gone", cluster.now_us, 0);
  CHECK(cluster.serves(kA, kPrefer));
}

TEST_CASE("upstream: readers may end what they are at on a server that lives, writers may not") {
  Fixture cluster;
  cluster.cluster_led_by(kA, 1);
  CHECK(cluster.upstream.may_finish_reading(kB, kStandby));
  CHECK(cluster.upstream.may_finish_reading(kA, TargetSessionAttrs::prefer_standby));
  CHECK(!cluster.upstream.may_finish_reading(kA, kPrimary));
  CHECK(!cluster.upstream.may_finish_reading({"10.0.0.9", 5432}, kStandby));
  // Unless the server was the primary, and another one is now: they may have written.
  cluster.roles = {{kA, {false, false, 1}}, {kB, {false, false, 2}}};
  REQUIRE(cluster.connect() == kA);
  CHECK(cluster.upstream.may_finish_reading(kA, TargetSessionAttrs::prefer_standby));
  cluster.cluster_led_by(kB, 2);
  REQUIRE(cluster.connect() == kB);
  CHECK(!cluster.upstream.may_finish_reading(kA, TargetSessionAttrs::prefer_standby));
  CHECK(cluster.upstream.may_finish_reading(kB, TargetSessionAttrs::prefer_standby));
  cluster.report({member(kB, MemberRole::primary), member(kC, MemberRole::replica, "stopped")});
  CHECK(!cluster.upstream.may_finish_reading(kC, kStandby));
}

TEST_CASE("upstream: what a server says decides whether a database may have it") {
  CHECK(satisfies({false}, kPrimary));
  CHECK(!satisfies({true}, kPrimary));
  CHECK(satisfies({true}, kStandby));
  CHECK(!satisfies({false}, kStandby));
  CHECK(satisfies({false, false}, TargetSessionAttrs::read_write));
  CHECK(!satisfies({false, true}, TargetSessionAttrs::read_write));
  CHECK(!satisfies({true, false}, TargetSessionAttrs::read_write));
  CHECK(satisfies({false, true}, TargetSessionAttrs::read_only));
  CHECK(satisfies({true, false}, TargetSessionAttrs::read_only));
  CHECK(!satisfies({false, false}, TargetSessionAttrs::read_only));
  CHECK(satisfies({true, true}, TargetSessionAttrs::any));
}

TEST_CASE("upstream: the members of a hostile source are bounded") {
  Fixture cluster;
  std::vector<HostAddress> many;
  for (int i = 0; i < 1000; i++) many.push_back({"10.1.0." + std::to_string(i), 5432});
  cluster.list(many);
  CHECK(cluster.upstream.row().members.size() == Upstream::kMembersMax);
}

TEST_CASE("upstream: the history is bounded, the newest first") {
  Fixture cluster;
  uint32_t timeline = 1;
  cluster.roles = {{kA, {false, false, 1}}};
  cluster.cluster_led_by(kA, timeline);
  REQUIRE(cluster.connect() == kA);
  for (size_t i = 0; i < Upstream::kFailoversMax + 10; i++) {
    const HostAddress& next = i % 2 == 0 ? kB : kA;
    cluster.now_us += kSecondUs;
    cluster.cluster_led_by(next, timeline);
    cluster.roles[next] = {false, false, ++timeline};
    REQUIRE(cluster.connect() == next);
  }
  const std::vector<Failover> failovers = cluster.upstream.row().failovers;
  CHECK(failovers.size() == Upstream::kFailoversMax);
  CHECK(failovers.front().number == Upstream::kFailoversMax + 10);
  CHECK(failovers.front().timeline == timeline);
}

TEST_CASE("upstream: members that left keep no place but for their connections") {
  Fixture cluster;
  cluster.list({kA, kB});
  cluster.roles = {{kA, {false, false, 1}}, {kB, {true}}};
  REQUIRE(cluster.connect() == kA);
  cluster.list({kB});
  CHECK(cluster.upstream.row().members.size() == 2);
  cluster.upstream.closed(kA);
  cluster.list({kB, kC});
  CHECK(cluster.upstream.row().members.size() == 2);
  cluster.list({kC});
  CHECK(cluster.upstream.row().members.size() == 1);
}

TEST_CASE("upstream: a member that was chosen and not dialled is the next one still") {
  Fixture f;
  f.list({kA, kB});
  REQUIRE(f.choose() == kA);
  f.upstream.not_dialled(kA);
  CHECK(f.choose() == kA);
  CHECK(f.choose() == kB);
  CHECK_FALSE(f.choose());
  CHECK(f.upstream.row().members[0].servers == 1);
  CHECK(f.upstream.row().members[0].tries == 1);
}
