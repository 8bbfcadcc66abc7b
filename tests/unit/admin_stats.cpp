#include <doctest/doctest.h>

#include <thread>

#include "tests/unit/admin_fakes.h"

using namespace bezel;
using namespace bezel::admin;
using namespace bezel::admin::fakes;

namespace {
constexpr int64_t kSecond = 1'000'000;
}

TEST_CASE("statistics: sums by database and user, ended pools included") {
  pool::StatisticsRegistry registry(2);
  const auto first = registry.add_pool("app", "u", 0);
  const auto second = registry.add_pool("app", "u", 1);
  first->queries.add(10);
  first->server_logins.add(1);
  second->queries.add(5);
  CHECK(registry.totals().at({"app", "u"}).queries == 15);
  registry.remove_pool(first);
  CHECK(registry.pools().size() == 1);
  CHECK(registry.totals().at({"app", "u"}).queries == 15);
  CHECK(registry.totals().at({"app", "u"}).server_logins == 1);
  registry.remove_pool(first);
  registry.remove_pool(second);
  CHECK(registry.totals().at({"app", "u"}).queries == 15);
  registry.add_pool("app", "u", 0)->queries.add(1);
  CHECK(registry.totals().at({"app", "u"}).queries == 16);
}

TEST_CASE("statistics: a pool that did nothing leaves nothing, and names are bounded") {
  pool::StatisticsRegistry registry(1);
  registry.remove_pool(registry.add_pool("idle", "u", 0));
  CHECK(registry.totals().empty());
  constexpr size_t kMore = 7;
  for (size_t i = 0; i < pool::StatisticsRegistry::kRetiredMax + kMore; i++) {
    const auto pool = registry.add_pool("db" + std::to_string(i), "u", 0);
    pool->queries.add(1);
    registry.remove_pool(pool);
  }
  const auto totals = registry.totals();
  CHECK(totals.size() == pool::StatisticsRegistry::kRetiredMax + 1);
  CHECK(totals.at({pool::StatisticsRegistry::kOthers, pool::StatisticsRegistry::kOthers}).queries == kMore);
}

TEST_CASE("statistics: differences do not go below zero") {
  pool::Totals now, then;
  now.queries = 5;
  then.queries = 7;
  now.binds = 3;
  const pool::Totals added = now.since(then);
  CHECK(added.queries == 0);
  CHECK(added.binds == 3);
}

TEST_CASE("admin: averages are by second, times by event") {
  pool::Totals added;
  added.transactions = 100;
  added.transaction_time_us = 100 * 250;
  added.queries = 300;
  added.query_time_us = 300 * 70 + 1;
  added.server_assignments = 50;
  added.wait_time_us = 5000;
  added.received_bytes = uint64_t{1} << 50;
  added.binds = 20;
  const Averages averages = averages_of(added, 10 * kSecond);
  CHECK(averages.transactions == 10);
  CHECK(averages.transaction_time_us == 250);
  CHECK(averages.queries == 30);
  CHECK(averages.query_time_us == 70);
  CHECK(averages.server_assignments == 5);
  CHECK(averages.wait_time_us == 100);
  CHECK(averages.received_bytes == (uint64_t{1} << 50) / 10);
  CHECK(averages.binds == 2);
  CHECK(averages_of(added, 0).queries == 0);
  CHECK(averages_of({}, kSecond).query_time_us == 0);
}

TEST_CASE("admin: averages go back to the older of two ticks") {
  FakeFleet fleet;
  const auto one = fleet.registry.add_pool("app", "u", 0);
  const auto two = fleet.registry.add_pool("app", "v", 1);
  StatsSampler sampler(fleet, 100 * kSecond);
  one->queries.add(60);
  two->queries.add(60);
  // From the start, which counts for a second more.
  CHECK(sampler.databases(105 * kSecond).at("app").averages.queries == 120 / 6);
  sampler.sample(160 * kSecond);
  CHECK(sampler.log_line().find("stats: 0 xacts/s, 2 queries/s,") == 0);
  one->queries.add(600);
  sampler.sample(220 * kSecond);
  CHECK(sampler.log_line().find(" 10 queries/s,") != std::string::npos);
  // The older tick is that of second 160 now.
  CHECK(sampler.databases(220 * kSecond).at("app").averages.queries == 10);
  CHECK(sampler.databases(280 * kSecond).at("app").averages.queries == 5);
  const DatabaseStats all = sampler.all(220 * kSecond);
  CHECK(all.totals.queries == 720);
  CHECK(all.averages.queries == 10);
  sampler.sample(280 * kSecond);
  CHECK(sampler.log_line() ==
        "stats: 0 xacts/s, 0 queries/s, 0 client parses/s, 0 server parses/s, 0 binds/s, in 0 B/s, out 0 B/s, "
        "xact 0 us, query 0 us, wait 0 us");
}

TEST_CASE("admin: a pool that ends does not disturb the averages") {
  FakeFleet fleet;
  const auto pool = fleet.registry.add_pool("app", "u", 0);
  StatsSampler sampler(fleet, 0);
  pool->transactions.add(100);
  sampler.sample(10 * kSecond);
  fleet.registry.remove_pool(pool);
  sampler.sample(20 * kSecond);
  CHECK(sampler.all(20 * kSecond).totals.transactions == 100);
  CHECK(sampler.all(20 * kSecond).averages.transactions == 0);
}

TEST_CASE("admin: SHOW STATS and its relatives") {
  Fixture fixture;
  const auto pool = fixture.fleet.registry.add_pool("app", "u", 0);
  pool->transactions.add(3);
  pool->queries.add(9);
  pool->received_bytes.add(1000);
  pool->sent_bytes.add(5000);
  pool->query_time_us.add(900);
  pool->client_parses.add(4);
  const Answer stats = fixture.query("SHOW STATS");
  REQUIRE(stats.rows.size() == 2);
  const auto row = stats.row_map(0);
  CHECK(row.at("database") == "app");
  CHECK(row.at("total_xact_count") == "3");
  CHECK(row.at("total_query_count") == "9");
  CHECK(row.at("total_received") == "1000");
  CHECK(row.at("total_sent") == "5000");
  CHECK(row.at("total_query_time") == "900");
  CHECK(row.at("avg_query_time") == "100");
  CHECK(row.at("avg_recv") == "1000");
  CHECK(row.at("total_client_parse_count") == "4");
  // The console counts what it is asked, this query included.
  CHECK(stats.row_map(1).at("database") == "pgbouncer");
  CHECK(stats.row_map(1).at("total_query_count") == "1");
  CHECK(fixture.query("SHOW STATS_TOTALS").row_map(0).at("bytes_sent") == "5000");
  CHECK(fixture.query("SHOW STATS_AVERAGES").row_map(0).at("query_time") == "100");
  const Answer totals = fixture.query("SHOW TOTALS");
  CHECK(totals.rows.size() == 22);
  CHECK(totals.rows[2] == TextRow{"total_query_count", "13"});
  CHECK(totals.rows[3] == TextRow{"total_client_bytes", "1000"});
  CHECK(totals.rows[8] == TextRow{"total_ps_client_parse_count", "4"});
  CHECK(totals.rows[11][0] == "avg_server_assignment_count");
}

TEST_CASE("admin: sampling and reading at the same time") {
  FakeFleet fleet;
  const auto pool = fleet.registry.add_pool("app", "u", 0);
  StatsSampler sampler(fleet, 0);
  std::thread writer([&] {
    for (int i = 1; i <= 2000; i++) {
      pool->queries.add(1);
      sampler.sample(i * kSecond);
    }
  });
  std::thread churn([&] {
    for (int i = 0; i < 500; i++) {
      const auto other = fleet.registry.add_pool("app", "v", 1);
      other->queries.add(1);
      fleet.registry.remove_pool(other);
    }
  });
  uint64_t before = 0;
  for (int i = 0; i < 500; i++) {
    const uint64_t now = sampler.all(4000 * kSecond).totals.queries;
    CHECK(now >= before);
    before = now;
    sampler.log_line();
  }
  writer.join();
  churn.join();
  CHECK(sampler.all(4000 * kSecond).totals.queries == 2500);
}
