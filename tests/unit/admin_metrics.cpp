#include <doctest/doctest.h>

#include <set>
#include <sstream>
#include <string>

#include "admin/metrics.h"
#include "tests/unit/admin_fakes.h"

using namespace bezel;
using namespace bezel::admin;
using namespace bezel::admin::fakes;

namespace {

struct MetricsFixture {
  FakeFleet fleet;
  FakeProgram program;
  Metrics metrics{fleet, program};

  /// Whether the scrape has this very line.
  bool has(const std::string& line) const {
    return ("\n" + metrics.scrape()).find("\n" + line + "\n") != std::string::npos;
  }
};

}  // namespace

TEST_CASE("metrics: what is exposed is what is described, in the same order") {
  MetricsFixture fixture;
  fixture.fleet.registry.add_pool("app", "u", 0);
  pool::DatabaseState database;
  database.name = "app";
  fixture.fleet.databases = {database};
  pool::UserState user;
  user.name = "u";
  fixture.fleet.users = {user};
  pool::UpstreamRow cluster;
  cluster.databases = "app";
  cluster.members.emplace_back();
  cluster.members.front().member.lag_bytes = 1;
  fixture.fleet.clusters = {cluster};
  const auto families = fixture.metrics.Collect();
  const auto descriptions = metric_descriptions();
  REQUIRE(families.size() == descriptions.size());
  std::set<std::string> names;
  for (size_t i = 0; i < families.size(); i++) {
    CAPTURE(families[i].name);
    CHECK(families[i].name == descriptions[i].name);
    CHECK(families[i].help == descriptions[i].help);
    CHECK((families[i].type == prometheus::MetricType::Counter) == (descriptions[i].kind == MetricKind::counter));
    CHECK(names.insert(families[i].name).second);
    REQUIRE_FALSE(families[i].metric.empty());
    for (const auto& metric : families[i].metric) {
      std::string labels;
      for (const auto& label : metric.label) labels += (labels.empty() ? "" : ",") + label.name;
      CHECK(labels == descriptions[i].labels);
    }
    // Prometheus' naming rules: counters end in _total.
    const bool total = families[i].name.size() > 6 && families[i].name.rfind("_total") == families[i].name.size() - 6;
    CHECK(total == (descriptions[i].kind == MetricKind::counter));
  }
}

TEST_CASE("metrics: values") {
  MetricsFixture fixture;
  auto& fleet = fixture.fleet;
  const auto first = fleet.registry.add_pool("app", "u", 0);
  const auto second = fleet.registry.add_pool("app", "u", 1);
  first->queries.add(uint64_t{1} << 40);
  second->queries.add(1);
  first->wait_time_us.add(1'500'000);
  first->sv_idle.set(2);
  second->sv_idle.set(3);
  second->cl_waiting.set(4);
  second->oldest_wait_since_us.set(static_cast<uint64_t>(steady_clock_us() - 60'000'000));
  fleet.registry.worker(1).accepted_clients.set(12);
  fleet.config.databases["app"].max_db_connections = 33;
  fleet.config.users["u"].max_user_connections = 44;
  fleet.config.max_client_conn = 555;
  pool::DatabaseState database, star;
  database.name = "app";
  database.paused = true;
  database.current_connections = 5;
  star.name = "*";
  fleet.databases = {star, database};
  pool::UserState user;
  user.name = "u";
  user.current_client_connections = 6;
  fleet.users = {user};
  fleet.now = "paused";

  CHECK(fixture.has("bezel_queries_total{database=\"app\",user=\"u\"} 1099511627777"));
  CHECK(fixture.has("bezel_client_wait_seconds_total{database=\"app\",user=\"u\"} 1.5"));
  CHECK(fixture.has("bezel_pool_servers{database=\"app\",user=\"u\",state=\"idle\"} 5"));
  CHECK(fixture.has("bezel_pool_clients{database=\"app\",user=\"u\",state=\"waiting\"} 4"));
  CHECK(fixture.has("bezel_accepted_clients_total{worker=\"1\"} 12"));
  CHECK(fixture.has("bezel_database_max_connections{database=\"app\"} 33"));
  CHECK(fixture.has("bezel_database_pool_size{database=\"app\"} 25"));
  CHECK(fixture.has("bezel_database_current_connections{database=\"app\"} 5"));
  CHECK(fixture.has("bezel_database_paused{database=\"app\"} 1"));
  CHECK(fixture.has("bezel_user_max_connections{user=\"u\"} 44"));
  CHECK(fixture.has("bezel_user_current_client_connections{user=\"u\"} 6"));
  CHECK(fixture.has("bezel_max_client_connections 555"));
  CHECK(fixture.has("bezel_state{state=\"paused\"} 1"));
  CHECK(fixture.has("bezel_state{state=\"active\"} 0"));
  CHECK(fixture.has("bezel_build_info{version=\"9.8.7\"} 1"));
  CHECK(fixture.has("bezel_ready 1"));
  CHECK(fixture.metrics.scrape().find("database=\"*\"") == std::string::npos);
  fixture.program.reason = "starting";
  CHECK(fixture.has("bezel_ready 0"));

  // A pool that ends keeps its counters and loses its gauges.
  fleet.registry.remove_pool(first);
  fleet.registry.remove_pool(second);
  CHECK(fixture.has("bezel_queries_total{database=\"app\",user=\"u\"} 1099511627777"));
  CHECK(fixture.metrics.scrape().find("bezel_pool_servers{") == std::string::npos);
}

TEST_CASE("metrics: the longest wait") {
  MetricsFixture fixture;
  const auto pool = fixture.fleet.registry.add_pool("app", "u", 0);
  const auto max_wait = [&] {
    for (const auto& family : fixture.metrics.Collect())
      if (family.name == "bezel_pool_max_wait_seconds") return family.metric.at(0).gauge.value;
    return -1.0;
  };
  CHECK(max_wait() == 0);
  pool->oldest_wait_since_us.set(static_cast<uint64_t>(steady_clock_us() - 60'000'000));
  CHECK(max_wait() >= 60);
}

TEST_CASE("metrics: figures of the process") {
  MetricsFixture fixture;
  std::map<std::string, double> values;
  for (const auto& family : fixture.metrics.Collect())
    if (family.name.rfind("process_", 0) == 0)
      values[family.name] = family.metric.at(0).gauge.value + family.metric.at(0).counter.value;
  CHECK(values.at("process_resident_memory_bytes") > 1e6);
  CHECK(values.at("process_virtual_memory_bytes") >= values.at("process_resident_memory_bytes"));
  CHECK(values.at("process_open_fds") >= 3);
  CHECK(values.at("process_max_fds") >= values.at("process_open_fds"));
  CHECK(values.at("process_start_time_seconds") > 1.6e9);
  CHECK(values.at("process_start_time_seconds") <= static_cast<double>(time(nullptr)) + 1);
}

TEST_CASE("metrics: names of databases and users are escaped, and their number is bounded") {
  MetricsFixture fixture;
  fixture.fleet.registry.add_pool("we\"ird\n\\", "u", 0);
  CHECK(fixture.metrics.scrape().find("database=\"we\\\"ird\\n\\\\\"") != std::string::npos);
  for (size_t i = 0; i < Metrics::kPoolSeriesMax + 50; i++)
    fixture.fleet.registry.add_pool("db" + std::to_string(i), "u", 0)->queries.add(1);
  double sum = 0;
  for (const auto& family : fixture.metrics.Collect()) {
    if (family.name == "bezel_pool_max_wait_seconds") CHECK(family.metric.size() == Metrics::kPoolSeriesMax + 1);
    if (family.name != "bezel_queries_total") continue;
    CHECK(family.metric.size() == Metrics::kPoolSeriesMax + 1);
    for (const auto& metric : family.metric) sum += metric.counter.value;
  }
  CHECK(sum == Metrics::kPoolSeriesMax + 50);
}
