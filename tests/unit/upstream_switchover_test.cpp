// A planned change of the primary: what is held, asked and let go, and when.

#include <doctest/doctest.h>

#include <memory>
#include <optional>
#include <string>

#include "src/upstream/switchover.h"

using namespace bezel;
using namespace bezel::upstream;

namespace {

const pool::HostAddress kA{"10.0.0.1", 5432}, kB{"10.0.0.2", 5432}, kC{"10.0.0.3", 5432};

/// Notes what it is asked, and answers when it is told to.
class NotingFollower final : public Follower {
 public:
  void start() override {}
  void set_changing(bool) override {}
  void switch_over(const std::string& leader, const std::string& candidate,
                   std::function<void(std::string error)> done) override {
    asked = leader + "->" + candidate;
    answer = std::move(done);
  }

  std::string asked;
  std::function<void(std::string error)> answer;
};

struct Fixture {
  std::shared_ptr<pool::Upstream> upstream =
      std::make_shared<pool::Upstream>(pool::UpstreamSettings(), [](const pool::Upstream&) {});
  NotingFollower follower;
  size_t busy = 0;
  int64_t now_us = 1'000'000;
  std::optional<std::string> outcome;

  Fixture() { lead("a"); }

  void lead(const std::string& leader) {
    pool::Membership membership;
    for (const auto& [name, address] : {std::pair("a", kA), std::pair("b", kB), std::pair("c", kC)}) {
      membership.members.push_back(
          {name, address, leader == name ? pool::MemberRole::primary : pool::MemberRole::replica, "running"});
    }
    upstream->on_membership(membership, now_us, now_us);
  }

  std::unique_ptr<Switchover> begin(int64_t announced_at_us = 0) {
    return std::make_unique<Switchover>(
        upstream, follower, [this](const pool::UpstreamSettings&) { return busy; }, "b", announced_at_us,
        [this](std::string error) { outcome = std::move(error); });
  }

  /// One that waits for a transaction to end.
  std::unique_ptr<Switchover> begin_while_one_is_busy() {
    busy = 1;
    auto switchover = begin();
    CHECK(!switchover->step(now_us));
    return switchover;
  }
};

}  // namespace

TEST_CASE("switchover: nobody begins, the busy ones end, the cluster is asked, and everybody goes on") {
  Fixture fixture;
  fixture.busy = 2;
  const auto switchover = fixture.begin();
  CHECK(fixture.upstream->held());
  CHECK(fixture.upstream->row().state == "holding");
  CHECK(!switchover->step(fixture.now_us));
  CHECK(fixture.follower.asked.empty());
  fixture.busy = 0;
  CHECK(!switchover->step(fixture.now_us));
  CHECK(fixture.follower.asked == "a->b");
  CHECK(!switchover->step(fixture.now_us));
  fixture.follower.answer("");
  // Done by its own word; what is held goes on when the source has another leader.
  CHECK(!switchover->step(fixture.now_us));
  CHECK(fixture.upstream->held());
  fixture.lead("b");
  CHECK(switchover->step(fixture.now_us));
  CHECK(!fixture.upstream->held());
  CHECK(fixture.outcome == "");
}

TEST_CASE("switchover: a transaction that does not end is not waited for for long, and nothing is changed") {
  Fixture fixture;
  const auto switchover = fixture.begin_while_one_is_busy();
  CHECK(!switchover->step(fixture.now_us + Switchover::kDrainUs - 1));
  CHECK(switchover->step(fixture.now_us + Switchover::kDrainUs));
  CHECK(fixture.follower.asked.empty());
  CHECK(!fixture.upstream->held());
  CHECK(fixture.outcome == "given up, and nothing is changed: 1 transaction is still under way after 10 s");
}

TEST_CASE("switchover: what the cluster refuses is told") {
  Fixture fixture;
  const auto switchover = fixture.begin();
  CHECK(!switchover->step(fixture.now_us));
  fixture.follower.answer("candidate name does not match with sync_standby");
  CHECK(switchover->step(fixture.now_us));
  CHECK(!fixture.upstream->held());
  CHECK(fixture.outcome == "candidate name does not match with sync_standby");
}

TEST_CASE("switchover: clients are not held for ever by a cluster that promises and does nothing") {
  Fixture fixture;
  const auto switchover = fixture.begin();
  switchover->step(fixture.now_us);
  fixture.follower.answer("");
  CHECK(!switchover->step(fixture.now_us));
  CHECK(!switchover->step(fixture.now_us + Switchover::kFollowUs - 1));
  CHECK(switchover->step(fixture.now_us + Switchover::kFollowUs));
  CHECK(!fixture.upstream->held());
  CHECK(fixture.outcome == "no other primary than a after 20 s");
}

TEST_CASE("switchover: one that was announced is not asked for, and not waited for beyond its time") {
  Fixture fixture;
  fixture.busy = 1;
  const int64_t at_us = fixture.now_us + Switchover::kLeadUs;
  SUBCASE("it comes") {
    const auto switchover = fixture.begin(at_us);
    CHECK(fixture.upstream->held());
    CHECK(!switchover->step(fixture.now_us));
    CHECK(!switchover->step(at_us));
    fixture.lead("b");
    CHECK(switchover->step(at_us + 1));
    CHECK(fixture.outcome == "");
  }
  SUBCASE("it does not come") {
    const auto switchover = fixture.begin(at_us);
    CHECK(!switchover->step(fixture.now_us));
    CHECK(!switchover->step(at_us + Switchover::kFollowUs - 1));
    CHECK(switchover->step(at_us + Switchover::kFollowUs));
    CHECK(!fixture.outcome->empty());
  }
  CHECK(fixture.follower.asked.empty());
  CHECK(!fixture.upstream->held());
}

TEST_CASE("switchover: the cluster's own time comes while transactions end") {
  Fixture fixture;
  const auto switchover = fixture.begin_while_one_is_busy();
  const int64_t at_us = fixture.now_us + Switchover::kLeadUs;
  CHECK(switchover->join(at_us));
  fixture.busy = 0;
  // Nothing is asked any more, and the time for transactions is over only with the cluster's patience.
  CHECK(!switchover->step(fixture.now_us));
  CHECK(!switchover->step(at_us + Switchover::kFollowUs - 1));
  CHECK(fixture.follower.asked.empty());
  CHECK(fixture.upstream->held());
  SUBCASE("it does what was wanted here") {
    fixture.lead("b");
    CHECK(switchover->step(at_us + 1));
    CHECK(fixture.outcome == "");
  }
  SUBCASE("it does something else") {
    fixture.lead("c");
    CHECK(switchover->step(at_us + 1));
    CHECK(fixture.outcome == "c has become the primary instead of b");
  }
  SUBCASE("it does nothing") {
    CHECK(switchover->step(at_us + Switchover::kFollowUs));
    CHECK(fixture.outcome == "no other primary than a after 20 s");
  }
  CHECK(!fixture.upstream->held());
}

TEST_CASE("switchover: what has been asked already is not changed by the cluster's own time") {
  Fixture fixture;
  const auto switchover = fixture.begin();
  CHECK(!switchover->step(fixture.now_us));
  CHECK(fixture.follower.asked == "a->b");
  CHECK(!switchover->join(fixture.now_us));
  fixture.follower.answer("");
  CHECK(!switchover->join(fixture.now_us));
  fixture.lead("b");
  CHECK(switchover->step(fixture.now_us));
  CHECK(fixture.outcome == "");
}

TEST_CASE("switchover: nothing is asked of a cluster that has changed while transactions ended") {
  Fixture fixture;
  const auto switchover = fixture.begin_while_one_is_busy();
  fixture.lead("c");
  CHECK(switchover->step(fixture.now_us));
  CHECK(fixture.follower.asked.empty());
  CHECK(fixture.outcome == "c has become the primary instead of b");
}

TEST_CASE("switchover: breaking it off lets the clients go on") {
  Fixture fixture;
  auto switchover = fixture.begin();
  switchover->step(fixture.now_us);
  switchover.reset();
  CHECK(!fixture.upstream->held());
  CHECK(fixture.outcome == "the switchover was broken off");
  fixture.follower.answer("");  // comes too late to be heard
}
