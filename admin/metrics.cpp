#include "admin/metrics.h"

#include <prometheus/text_serializer.h>

#include <algorithm>
#include <array>
#include <map>
#include <string>
#include <utility>

#include "admin/console.h"
#include "admin/known_names.h"
#include "admin/pool_figures.h"
#include "admin/process_figures.h"

namespace bezel::admin {

namespace {

using enum MetricKind;
using PoolName = pool::StatisticsRegistry::PoolName;

constexpr std::string_view kByPool = "database,user";

/// A counter by database and user. Times are kept in microseconds and shown in seconds.
struct TotalMetric {
  MetricDescription description;
  uint64_t pool::Totals::*total;
  double scale = 1;
};

constexpr double kSecondsPerUs = 1e-6;

constexpr std::array kTotalMetrics{
    TotalMetric{{"bezel_queries_total", counter, kByPool, "Queries that clients sent and servers answered."},
                &pool::Totals::queries},
    TotalMetric{{"bezel_transactions_total", counter, kByPool, "Transactions, single statements included."},
                &pool::Totals::transactions},
    TotalMetric{{"bezel_received_bytes_total", counter, kByPool, "Bytes received from clients."},
                &pool::Totals::received_bytes},
    TotalMetric{{"bezel_sent_bytes_total", counter, kByPool, "Bytes sent to clients."}, &pool::Totals::sent_bytes},
    TotalMetric{{"bezel_query_seconds_total", counter, kByPool, "Time that servers spent on queries."},
                &pool::Totals::query_time_us,
                kSecondsPerUs},
    TotalMetric{{"bezel_transaction_seconds_total", counter, kByPool,
                 "Time that servers spent in transactions, idle in them or not."},
                &pool::Totals::transaction_time_us,
                kSecondsPerUs},
    TotalMetric{{"bezel_client_waits_total", counter, kByPool, "How often a client had to wait for a server."},
                &pool::Totals::client_waits},
    TotalMetric{{"bezel_client_wait_seconds_total", counter, kByPool, "Time that clients waited for a server."},
                &pool::Totals::wait_time_us,
                kSecondsPerUs},
    TotalMetric{{"bezel_client_wait_timeouts_total", counter, kByPool,
                 "How often a client waited longer than query_wait_timeout."},
                &pool::Totals::client_wait_timeouts},
    TotalMetric{{"bezel_server_assignments_total", counter, kByPool, "How often a server was assigned to a client."},
                &pool::Totals::server_assignments},
    TotalMetric{{"bezel_client_parses_total", counter, kByPool, "Prepared statements that clients made."},
                &pool::Totals::client_parses},
    TotalMetric{{"bezel_server_parses_total", counter, kByPool, "Prepared statements that were made on servers."},
                &pool::Totals::server_parses},
    TotalMetric{{"bezel_binds_total", counter, kByPool, "Prepared statements that were bound for execution."},
                &pool::Totals::binds},
    TotalMetric{{"bezel_server_logins_total", counter, kByPool, "Logins to servers that succeeded."},
                &pool::Totals::server_logins},
    TotalMetric{
        {"bezel_server_login_failures_total", counter, kByPool, "Connections or logins to servers that failed."},
        &pool::Totals::server_login_failures},
    TotalMetric{
        {"bezel_servers_lost_total", counter, kByPool, "Server connections that were lost while a client had them."},
        &pool::Totals::servers_lost},
    TotalMetric{{"bezel_replayed_requests_total", counter, kByPool,
                 "How often a lost server's client was served by another one without noticing."},
                &pool::Totals::replayed},
    TotalMetric{
        {"bezel_lost_transactions_total", counter, kByPool, "Transactions that failed because their server was lost."},
        &pool::Totals::failed_transactions},
    TotalMetric{{"bezel_transactions_in_doubt_total", counter, kByPool,
                 "How often a server was lost while it may have been committing (08007)."},
                &pool::Totals::in_doubt},
};

constexpr MetricDescription kPoolClients{"bezel_pool_clients", gauge, "database,user,state",
                                         "Clients by state, as in SHOW POOLS."};
constexpr MetricDescription kPoolServers{"bezel_pool_servers", gauge, "database,user,state",
                                         "Server connections by state, as in SHOW POOLS."};
constexpr MetricDescription kPoolMaxWait{"bezel_pool_max_wait_seconds", gauge, kByPool,
                                         "How long the client that waits longest has waited; 0 when none waits."};

struct StateFigure {
  std::string_view state;
  uint64_t PoolFigures::*figure;
};

constexpr std::array kClientStates{
    StateFigure{"active", &PoolFigures::cl_active},
    StateFigure{"waiting", &PoolFigures::cl_waiting},
    StateFigure{"active_cancel_req", &PoolFigures::cl_active_cancel_req},
    StateFigure{"waiting_cancel_req", &PoolFigures::cl_waiting_cancel_req},
};
constexpr std::array kServerStates{
    StateFigure{"active", &PoolFigures::sv_active},
    StateFigure{"idle", &PoolFigures::sv_idle},
    StateFigure{"used", &PoolFigures::sv_used},
    StateFigure{"tested", &PoolFigures::sv_tested},
    StateFigure{"login", &PoolFigures::sv_login},
    StateFigure{"active_cancel", &PoolFigures::sv_active_cancel},
    StateFigure{"being_canceled", &PoolFigures::sv_being_canceled},
};

/// What a database is allowed and has now.
struct DatabaseFigures {
  pool::DatabaseState state;
  double pool_size = 0, reserve_pool_size = 0, max_connections = 0, max_client_connections = 0;
};

struct DatabaseMetric {
  MetricDescription description;
  double (*value)(const DatabaseFigures&);
};

constexpr std::array kDatabaseMetrics{
    DatabaseMetric{{"bezel_database_pool_size", gauge, "database", "Server connections that each pool may have."},
                   [](const DatabaseFigures& figures) { return figures.pool_size; }},
    DatabaseMetric{{"bezel_database_reserve_pool_size", gauge, "database",
                    "Further server connections for clients that wait too long."},
                   [](const DatabaseFigures& figures) { return figures.reserve_pool_size; }},
    DatabaseMetric{{"bezel_database_max_connections", gauge, "database",
                    "Server connections that all pools of the database may have together; 0: no limit."},
                   [](const DatabaseFigures& figures) { return figures.max_connections; }},
    DatabaseMetric{{"bezel_database_current_connections", gauge, "database", "Server connections now."},
                   [](const DatabaseFigures& figures) { return double(figures.state.current_connections); }},
    DatabaseMetric{{"bezel_database_max_client_connections", gauge, "database",
                    "Clients that the database may have; 0: no limit."},
                   [](const DatabaseFigures& figures) { return figures.max_client_connections; }},
    DatabaseMetric{{"bezel_database_current_client_connections", gauge, "database", "Clients now."},
                   [](const DatabaseFigures& figures) { return double(figures.state.current_client_connections); }},
    DatabaseMetric{{"bezel_database_paused", gauge, "database", "1 while PAUSE or KILL holds for the database."},
                   [](const DatabaseFigures& figures) { return figures.state.paused ? 1.0 : 0.0; }},
    DatabaseMetric{{"bezel_database_disabled", gauge, "database", "1 while DISABLE holds for the database."},
                   [](const DatabaseFigures& figures) { return figures.state.disabled ? 1.0 : 0.0; }},
};

struct UserFigures {
  pool::UserState state;
  int max_connections = 0, max_client_connections = 0;
};

struct UserMetric {
  MetricDescription description;
  double (*value)(const UserFigures&);
};

constexpr std::array kUserMetrics{
    UserMetric{
        {"bezel_user_max_connections", gauge, "user", "Server connections that the user may have in all; 0: no limit."},
        [](const UserFigures& figures) { return double(figures.max_connections); }},
    UserMetric{{"bezel_user_current_connections", gauge, "user", "Server connections now."},
               [](const UserFigures& figures) { return double(figures.state.current_connections); }},
    UserMetric{{"bezel_user_max_client_connections", gauge, "user", "Clients that the user may have; 0: no limit."},
               [](const UserFigures& figures) { return double(figures.max_client_connections); }},
    UserMetric{{"bezel_user_current_client_connections", gauge, "user", "Clients now."},
               [](const UserFigures& figures) { return double(figures.state.current_client_connections); }},
};

struct WorkerMetric {
  MetricDescription description;
  pool::Counter pool::WorkerStatistics::*counter;
};

constexpr std::array kWorkerMetrics{
    WorkerMetric{{"bezel_worker_clients", gauge, "worker", "Client connections on the worker."},
                 &pool::WorkerStatistics::clients},
    WorkerMetric{{"bezel_worker_login_clients", gauge, "worker", "Client connections that have not logged in yet."},
                 &pool::WorkerStatistics::login_clients},
    WorkerMetric{{"bezel_accepted_clients_total", counter, "worker", "Connections that were accepted."},
                 &pool::WorkerStatistics::accepted_clients},
    WorkerMetric{{"bezel_rejected_clients_total", counter, "worker", "Clients that a limit kept out."},
                 &pool::WorkerStatistics::rejected_clients},
    WorkerMetric{{"bezel_failed_logins_total", counter, "worker", "Clients that failed to log in."},
                 &pool::WorkerStatistics::failed_logins},
    WorkerMetric{{"bezel_throttled_logins_total", counter, "worker",
                  "Logins refused because too many from the same address had failed; failed ones too."},
                 &pool::WorkerStatistics::throttled_logins},
    WorkerMetric{{"bezel_cancel_requests_total", counter, "worker", "Cancel requests that came in."},
                 &pool::WorkerStatistics::cancel_requests},
    WorkerMetric{{"bezel_auth_queries_total", counter, "worker", "Secrets of users that a server was asked for."},
                 &pool::WorkerStatistics::auth_queries},
    WorkerMetric{{"bezel_auth_query_failures_total", counter, "worker", "Those for which there was no answer."},
                 &pool::WorkerStatistics::auth_query_failures},
    WorkerMetric{{"bezel_auth_cache_hits_total", counter, "worker", "Logins by a secret that was asked for before."},
                 &pool::WorkerStatistics::auth_cache_hits},
    WorkerMetric{{"bezel_auth_stale_answers_total", counter, "worker",
                  "Logins by an outdated secret, as no server could be asked."},
                 &pool::WorkerStatistics::auth_stale_answers},
    WorkerMetric{{"bezel_worker_turns_total", counter, "worker", "Turns of the event loop."},
                 &pool::WorkerStatistics::turns},
};

constexpr MetricDescription kBuildInfo{"bezel_build_info", gauge, "version", "Always 1; says which version runs."};
constexpr MetricDescription kReady{"bezel_ready", gauge, "", "1 when /readyz answers 200."};
constexpr MetricDescription kState{"bezel_state", gauge, "state", "1 for the state that SHOW STATE says, 0 else."};
constexpr MetricDescription kMaxClients{"bezel_max_client_connections", gauge, "", "The setting max_client_conn."};

/// Those that Prometheus' own clients report of any process, under their names.
struct ProcessMetric {
  MetricDescription description;
  double (*value)(const ProcessFigures&);
};

constexpr std::array kProcessMetrics{
    ProcessMetric{{"process_resident_memory_bytes", gauge, "", "Resident memory."},
                  [](const ProcessFigures& figures) { return double(figures.resident_bytes); }},
    ProcessMetric{{"process_virtual_memory_bytes", gauge, "", "Virtual memory."},
                  [](const ProcessFigures& figures) { return double(figures.virtual_bytes); }},
    ProcessMetric{{"process_cpu_seconds_total", counter, "", "User and system CPU time."},
                  [](const ProcessFigures& figures) { return figures.cpu_seconds; }},
    ProcessMetric{{"process_start_time_seconds", gauge, "", "When the process started, since 1970."},
                  [](const ProcessFigures& figures) { return figures.start_time_seconds; }},
    ProcessMetric{{"process_open_fds", gauge, "", "Open file descriptors."},
                  [](const ProcessFigures& figures) { return double(figures.open_fds); }},
    ProcessMetric{{"process_max_fds", gauge, "", "How many file descriptors may be open."},
                  [](const ProcessFigures& figures) { return double(figures.max_fds); }},
};

/// Collects families in the order of the descriptions.
class Exposition {
 public:
  void begin(const MetricDescription& description) {
    prometheus::MetricFamily family;
    family.name = description.name;
    family.help = description.help;
    family.type = description.kind == counter ? prometheus::MetricType::Counter : prometheus::MetricType::Gauge;
    families_.push_back(std::move(family));
  }

  void add(double value, std::initializer_list<std::pair<std::string_view, std::string_view>> labels = {}) {
    prometheus::ClientMetric metric;
    for (const auto& [name, text] : labels) metric.label.push_back({std::string(name), std::string(text)});
    prometheus::MetricFamily& family = families_.back();
    if (family.type == prometheus::MetricType::Counter) {
      metric.counter.value = value;
    } else {
      metric.gauge.value = value;
    }
    family.metric.push_back(std::move(metric));
  }

  std::vector<prometheus::MetricFamily> take() { return std::move(families_); }

 private:
  std::vector<prometheus::MetricFamily> families_;
};

/// At most `pairs_max` pairs keep series of their own, the first by name; the rest is summed.
template <typename Figures>
std::map<PoolName, Figures> bounded(std::map<PoolName, Figures> by_pool, size_t pairs_max) {
  const PoolName others(pool::StatisticsRegistry::kOthers, pool::StatisticsRegistry::kOthers);
  Figures rest{};
  bool any = false;
  while (by_pool.size() > pairs_max) {
    const auto last = std::prev(by_pool.end());
    rest += last->second;
    by_pool.erase(last);
    any = true;
  }
  if (any) by_pool[others] += rest;
  return by_pool;
}

void add_totals(Exposition& out, const pool::StatisticsRegistry& statistics) {
  const auto totals = bounded(statistics.totals(), Metrics::kPoolSeriesMax);
  for (const TotalMetric& metric : kTotalMetrics) {
    out.begin(metric.description);
    for (const auto& [name, sums] : totals)
      out.add(static_cast<double>(sums.*metric.total) * metric.scale,
              {{"database", name.first}, {"user", name.second}});
  }
}

template <size_t kStates>
void add_states(Exposition& out, const MetricDescription& description, const std::array<StateFigure, kStates>& states,
                const std::map<PoolName, PoolFigures>& pools) {
  out.begin(description);
  for (const auto& [name, figures] : pools)
    for (const StateFigure& state : states)
      out.add(static_cast<double>(figures.*state.figure),
              {{"database", name.first}, {"user", name.second}, {"state", state.state}});
}

void add_pools(Exposition& out, const pool::StatisticsRegistry& statistics) {
  const auto pools = bounded(pool_figures(statistics), Metrics::kPoolSeriesMax);
  add_states(out, kPoolClients, kClientStates, pools);
  add_states(out, kPoolServers, kServerStates, pools);
  out.begin(kPoolMaxWait);
  const int64_t now_us = steady_clock_us();
  for (const auto& [name, figures] : pools)
    out.add(static_cast<double>(figures.max_wait_us(now_us)) * kSecondsPerUs,
            {{"database", name.first}, {"user", name.second}});
}

DatabaseFigures database_figures(const pool::Settings& settings, const pool::DatabaseState& state) {
  const pool::DatabaseSettings unset;
  const pool::DatabaseSettings* entry = find_database(settings, state.name);
  if (entry == nullptr) entry = &unset;
  DatabaseFigures figures;
  figures.state = state;
  figures.pool_size = entry->pool_size.value_or(settings.default_pool_size);
  figures.reserve_pool_size = entry->reserve_pool_size.value_or(settings.reserve_pool_size);
  figures.max_connections = entry->max_db_connections.value_or(settings.max_db_connections);
  figures.max_client_connections = entry->max_db_client_connections.value_or(settings.max_db_client_connections);
  return figures;
}

/// Databases and users that were only named by a client ("*", auth_type any) are bounded like the pairs.
template <typename State>
void keep_at_most(std::vector<State>& states, size_t states_max) {
  if (states.size() > states_max) states.resize(states_max);
}

void add_databases(Exposition& out, pool::Fleet& fleet) {
  const pool::SettingsPtr settings = fleet.settings();
  auto states = fleet.database_states();
  std::erase_if(states, [](const pool::DatabaseState& state) { return state.name == "*"; });
  keep_at_most(states, Metrics::kPoolSeriesMax);
  for (const DatabaseMetric& metric : kDatabaseMetrics) {
    out.begin(metric.description);
    for (const pool::DatabaseState& state : states)
      out.add(metric.value(database_figures(*settings, state)), {{"database", state.name}});
  }
}

UserFigures user_figures(const pool::Settings& settings, const pool::UserState& state) {
  const pool::UserSettings unset;
  const auto found = settings.users.find(state.name);
  const pool::UserSettings& entry = found == settings.users.end() ? unset : found->second;
  return {state, entry.max_user_connections.value_or(settings.max_user_connections),
          entry.max_user_client_connections.value_or(settings.max_user_client_connections)};
}

void add_users(Exposition& out, pool::Fleet& fleet) {
  const pool::SettingsPtr settings = fleet.settings();
  auto states = fleet.user_states();
  keep_at_most(states, Metrics::kPoolSeriesMax);
  for (const UserMetric& metric : kUserMetrics) {
    out.begin(metric.description);
    for (const pool::UserState& state : states)
      out.add(metric.value(user_figures(*settings, state)), {{"user", state.name}});
  }
}

void add_workers(Exposition& out, pool::StatisticsRegistry& statistics) {
  for (const WorkerMetric& metric : kWorkerMetrics) {
    out.begin(metric.description);
    for (int i = 0; i < statistics.workers(); i++)
      out.add(static_cast<double>((statistics.worker(i).*metric.counter).get()), {{"worker", std::to_string(i)}});
  }
}

struct UpstreamMetric {
  MetricDescription description;
  double (*value)(const pool::UpstreamRow&);
};

constexpr std::array kUpstreamMetrics{
    UpstreamMetric{{"bezel_upstream_primary", gauge, "database", "1 while a server is known to be the primary."},
                   [](const pool::UpstreamRow& row) {
                     return std::any_of(row.members.begin(), row.members.end(),
                                        [](const pool::MemberRow& member) { return member.is_primary; })
                                ? 1.0
                                : 0.0;
                   }},
    UpstreamMetric{{"bezel_upstream_changing", gauge, "database", "1 while the primary is looked for."},
                   [](const pool::UpstreamRow& row) { return row.state == "changing" ? 1.0 : 0.0; }},
    UpstreamMetric{{"bezel_upstream_timeline", gauge, "database", "The latest timeline that has been seen; 0: none."},
                   [](const pool::UpstreamRow& row) { return double(row.timeline.value_or(0)); }},
    UpstreamMetric{{"bezel_upstream_source_up", gauge, "database", "1 while the source (Patroni, say) answers."},
                   [](const pool::UpstreamRow& row) { return row.source_answers ? 1.0 : 0.0; }},
    UpstreamMetric{{"bezel_failovers_total", counter, "database", "Changes of the primary that have ended."},
                   [](const pool::UpstreamRow& row) { return double(row.failovers_total); }},
    UpstreamMetric{{"bezel_failover_seconds_total", counter, "database",
                    "How long they took, from the first sign to the new primary's word."},
                   [](const pool::UpstreamRow& row) { return double(row.failover_us_total) * kSecondsPerUs; }},
};

constexpr MetricDescription kMemberServers{"bezel_upstream_member_servers", gauge, "database,member",
                                           "Server connections to the member."};
constexpr MetricDescription kMemberLag{"bezel_upstream_member_lag_bytes", gauge, "database,member",
                                       "How far the replica is behind, where the source tells."};

void add_upstreams(Exposition& out, pool::Fleet& fleet) {
  const std::vector<pool::UpstreamRow> rows = fleet.upstreams();
  for (const UpstreamMetric& metric : kUpstreamMetrics) {
    out.begin(metric.description);
    for (const pool::UpstreamRow& row : rows) out.add(metric.value(row), {{"database", row.databases}});
  }
  out.begin(kMemberServers);
  for (const pool::UpstreamRow& row : rows) {
    for (const pool::MemberRow& member : row.members) {
      out.add(member.servers, {{"database", row.databases}, {"member", member.member.name}});
    }
  }
  out.begin(kMemberLag);
  for (const pool::UpstreamRow& row : rows) {
    for (const pool::MemberRow& member : row.members) {
      if (!member.member.lag_bytes) continue;
      out.add(double(*member.member.lag_bytes), {{"database", row.databases}, {"member", member.member.name}});
    }
  }
}

void add_program(Exposition& out, pool::Fleet& fleet, Program& program) {
  out.begin(kBuildInfo);
  out.add(1, {{"version", program.version()}});
  out.begin(kReady);
  out.add(program.not_ready_reason().empty() ? 1 : 0);
  out.begin(kState);
  const std::string now = fleet.state();
  for (const std::string_view state : {"active", "paused", "suspended"})
    out.add(state == now ? 1 : 0, {{"state", state}});
  out.begin(kMaxClients);
  out.add(fleet.settings()->max_client_conn);
}

void add_process(Exposition& out) {
  const ProcessFigures figures = process_figures();
  for (const ProcessMetric& metric : kProcessMetrics) {
    out.begin(metric.description);
    out.add(metric.value(figures));
  }
}

std::vector<MetricDescription> collect_descriptions() {
  std::vector<MetricDescription> all;
  for (const auto& metric : kTotalMetrics) all.push_back(metric.description);
  for (const auto& description : {kPoolClients, kPoolServers, kPoolMaxWait}) all.push_back(description);
  for (const auto& metric : kDatabaseMetrics) all.push_back(metric.description);
  for (const auto& metric : kUserMetrics) all.push_back(metric.description);
  for (const auto& metric : kWorkerMetrics) all.push_back(metric.description);
  for (const auto& metric : kUpstreamMetrics) all.push_back(metric.description);
  for (const auto& description : {kMemberServers, kMemberLag}) all.push_back(description);
  for (const auto& description : {kBuildInfo, kReady, kState, kMaxClients}) all.push_back(description);
  for (const auto& metric : kProcessMetrics) all.push_back(metric.description);
  return all;
}

}  // namespace

std::span<const MetricDescription> metric_descriptions() {
  static const std::vector<MetricDescription> all = collect_descriptions();
  return all;
}

std::vector<prometheus::MetricFamily> Metrics::Collect() const {
  Exposition out;
  add_totals(out, fleet_.statistics());
  add_pools(out, fleet_.statistics());
  add_databases(out, fleet_);
  add_users(out, fleet_);
  add_workers(out, fleet_.statistics());
  add_upstreams(out, fleet_);
  add_program(out, fleet_, program_);
  add_process(out);
  return out.take();
}

std::string Metrics::scrape() const {
  return prometheus::TextSerializer().Serialize(Collect());
}

}  // namespace bezel::admin
