#include <doctest/doctest.h>
#include <malloc.h>

#include <string>
#include <vector>

#include "admin/commands.h"
#include "tests/unit/admin_fakes.h"

using namespace bezel;
using namespace bezel::admin;
using namespace bezel::admin::fakes;

namespace {

/// PgBouncer 1.25's columns as "name:type", written down apart from the code: s text, i int4, q int8, N numeric.
struct Shape {
  const char* command;
  std::vector<std::string> columns;
};

const std::vector<std::string>& connection_columns() {
  static const std::vector<std::string> columns{"type:s",
                                                "user:s",
                                                "database:s",
                                                "replication:s",
                                                "state:s",
                                                "addr:s",
                                                "port:i",
                                                "local_addr:s",
                                                "local_port:i",
                                                "connect_time:s",
                                                "request_time:s",
                                                "wait:i",
                                                "wait_us:i",
                                                "close_needed:i",
                                                "ptr:s",
                                                "link:s",
                                                "remote_pid:i",
                                                "tls:s",
                                                "application_name:s",
                                                "prepared_statements:i",
                                                "id:i"};
  return columns;
}

std::vector<std::string> socket_columns() {
  std::vector<std::string> columns = connection_columns();
  for (const char* name : {"recv_pos:i", "pkt_pos:i", "pkt_remain:i", "send_pos:i", "send_remain:i", "pkt_avail:i",
                           "send_avail:i", "ktls:i"})
    columns.emplace_back(name);
  return columns;
}

std::vector<Shape> shapes() {
  return {
      {"CLIENTS", connection_columns()},
      {"SERVERS", connection_columns()},
      {"SOCKETS", socket_columns()},
      {"ACTIVE_SOCKETS", socket_columns()},
      {"POOLS",
       {"database:s", "user:s", "cl_active:i", "cl_waiting:i", "cl_active_cancel_req:i", "cl_waiting_cancel_req:i",
        "sv_active:i", "sv_active_cancel:i", "sv_being_canceled:i", "sv_idle:i", "sv_used:i", "sv_tested:i",
        "sv_login:i", "maxwait:i", "maxwait_us:i", "pool_mode:s", "load_balance_hosts:s"}},
      {"DATABASES",
       {"name:s", "host:s", "port:i", "database:s", "force_user:s", "pool_size:i", "min_pool_size:i",
        "reserve_pool_size:i", "server_lifetime:i", "pool_mode:s", "load_balance_hosts:s", "max_connections:i",
        "current_connections:i", "max_client_connections:i", "current_client_connections:i", "paused:i", "disabled:i"}},
      {"USERS",
       {"name:s", "pool_size:s", "reserve_pool_size:s", "pool_mode:s", "max_user_connections:i",
        "current_connections:i", "max_user_client_connections:i", "current_client_connections:i"}},
      {"LISTS", {"list:s", "items:i"}},
      {"CONFIG", {"key:s", "value:s", "default:s", "changeable:s"}},
      {"VERSION", {"version:s"}},
      {"MEM", {"name:s", "size:i", "used:i", "free:i", "memtotal:i"}},
      {"STATE", {"key:s", "value:s"}},
      {"TOTALS", {"name:s", "value:N"}},
      {"DNS_HOSTS", {"hostname:s", "ttl:q", "addrs:s"}},
      {"STATS",
       {"database:s",
        "total_server_assignment_count:N",
        "total_xact_count:N",
        "total_query_count:N",
        "total_received:N",
        "total_sent:N",
        "total_xact_time:N",
        "total_query_time:N",
        "total_wait_time:N",
        "total_client_parse_count:N",
        "total_server_parse_count:N",
        "total_bind_count:N",
        "avg_server_assignment_count:N",
        "avg_xact_count:N",
        "avg_query_count:N",
        "avg_recv:N",
        "avg_sent:N",
        "avg_xact_time:N",
        "avg_query_time:N",
        "avg_wait_time:N",
        "avg_client_parse_count:N",
        "avg_server_parse_count:N",
        "avg_bind_count:N"}},
      {"STATS_TOTALS",
       {"database:s", "server_assignment_count:N", "xact_count:N", "query_count:N", "bytes_received:N", "bytes_sent:N",
        "xact_time:N", "query_time:N", "wait_time:N", "client_parse_count:N", "server_parse_count:N", "bind_count:N"}},
      {"STATS_AVERAGES",
       {"database:s", "server_assignment_count:N", "xact_count:N", "query_count:N", "bytes_received:N", "bytes_sent:N",
        "xact_time:N", "query_time:N", "wait_time:N", "avg_client_parse_count:N", "avg_server_parse_count:N",
        "avg_bind_count:N"}},
  };
}

char type_letter(uint32_t oid) {
  switch (oid) {
    case protocol::type_oid::kText:
      return 's';
    case protocol::type_oid::kInt4:
      return 'i';
    case protocol::type_oid::kInt8:
      return 'q';
    case protocol::type_oid::kNumeric:
      return 'N';
    default:
      return '?';
  }
}

pool::ConnectionRow connection(uint64_t id, const char* state, bool server = false) {
  pool::ConnectionRow row;
  row.is_server = server;
  row.id = id;
  row.user = "u";
  row.database = "app";
  row.state = state;
  row.connected_at_us = 1'700'000'000'000'000;
  return row;
}

std::vector<std::string> column(const Answer& answer, std::string_view name) {
  std::vector<std::string> values;
  for (size_t i = 0; i < answer.rows.size(); i++) values.push_back(answer.row_map(i).at(std::string(name)));
  return values;
}

}  // namespace

TEST_CASE("admin: columns are PgBouncer's, with their order and types") {
  Fixture fixture;
  fixture.program.hosts.emplace();
  for (const Shape& shape : shapes()) {
    CAPTURE(shape.command);
    const Answer answer = fixture.query(std::string("SHOW ") + shape.command);
    std::vector<std::string> columns;
    for (size_t i = 0; i < answer.columns.size(); i++)
      columns.push_back(answer.columns[i] + ":" + type_letter(answer.oids[i]));
    CHECK(columns == shape.columns);
    CHECK(answer.tag == "SHOW");
  }
  // The others return no rows: HELP, and what is not supported; or PgBouncer does not have them.
  CHECK(shapes().size() + 5 + 2 == show_commands().size());
}

TEST_CASE("admin: what is not supported says so") {
  Fixture fixture;
  for (const char* text : {"SHOW FDS", "SHOW PEERS", "SHOW PEER_POOLS", "SHOW DNS_ZONES", "SHOW DNS_HOSTS"}) {
    CAPTURE(text);
    const Answer answer = fixture.query(text);
    CHECK(answer.error == std::string(text) + " is not supported");
    CHECK(answer.sqlstate == "0A000");
  }
}

namespace {

/// A cluster of two, in the middle of a change.
pool::UpstreamRow changing_cluster() {
  pool::UpstreamRow row;
  row.databases = "app,reports";
  row.source = pool::UpstreamSource::patroni;
  pool::MemberRow leader;
  leader.member = {"db-0", {"10.0.0.1", 5432}, pool::MemberRole::primary, "running", 6};
  leader.said = "standby";
  leader.servers = 3;
  pool::MemberRow replica;
  replica.member = {"db-1", {"10.0.0.2", 5433}, pool::MemberRole::replica, "streaming", 6, 1024};
  row.members = {leader, replica};
  row.state = "changing";
  row.why = "db-1: server closed the connection";
  row.since_wall_us = 1'700'000'000'000'000;
  row.source_answers = true;
  pool::Failover failover;
  failover.number = 4;
  failover.began_us = 1'000'000;
  failover.ended_us = 3'500'000;
  failover.reason = "db-0 is stopping";
  failover.from = "db-0";
  failover.to = "db-1";
  failover.timeline = 6;
  failover.held = 12;
  failover.in_doubt = 1;
  row.failovers = {failover};
  return row;
}

}  // namespace

TEST_CASE("admin: SHOW UPSTREAM and SHOW FAILOVERS") {
  Fixture fixture;
  CHECK(fixture.query("SHOW UPSTREAM").rows.empty());
  fixture.fleet.clusters = {changing_cluster()};
  const Answer members = fixture.query("SHOW UPSTREAM");
  REQUIRE(members.rows.size() == 2);
  CHECK(column(members, "member") == std::vector<std::string>{"db-0", "db-1"});
  CHECK(column(members, "role") == std::vector<std::string>{"primary", "replica"});
  CHECK(column(members, "serves") == std::vector<std::string>{"no", "no"});
  CHECK(members.row_map(0).at("said") == "standby");
  CHECK(members.row_map(1).at("lag") == "1024");
  CHECK(members.row_map(0).at("upstream") == "changing");
  CHECK(members.row_map(0).at("why") == "db-1: server closed the connection");
  const Answer failovers = fixture.query("SHOW FAILOVERS");
  REQUIRE(failovers.rows.size() == 1);
  CHECK(failovers.row_map(0).at("duration_ms") == "2500");
  CHECK(failovers.row_map(0).at("held") == "12");
  CHECK(failovers.row_map(0).at("in_doubt") == "1");
  CHECK(failovers.row_map(0).at("database") == "app,reports");
  // The source is silent.
  fixture.fleet.clusters[0].source_answers = false;
  fixture.fleet.clusters[0].silence = "refused";
  CHECK(fixture.query("SHOW UPSTREAM").row_map(0).at("remark") == "no answer from the source: refused");
}

TEST_CASE("admin: SWITCHOVER takes members' names as they are") {
  Fixture fixture;
  for (const char* text :
       {"SWITCHOVER", "switchover db_1;", "SWITCHOVER jewelry-shop-db-1", "SWITCHOVER \"db 1\"", "SWITCHOVER 'db-2'"}) {
    CHECK(fixture.query(text).tag == "SWITCHOVER");
  }
  CHECK(fixture.program.switchovers == std::vector<std::string>{"", "db_1", "jewelry-shop-db-1", "db 1", "db-2"});
  CHECK(!fixture.query("SWITCHOVER a b").error.empty());
  CHECK(!fixture.query("SWITCHOVER a = b").error.empty());
  fixture.program.switchover_error = "no cluster has a member \"x\"";
  CHECK(fixture.query("SWITCHOVER x").error == "no cluster has a member \"x\"");
}

TEST_CASE("admin: SHOW POOLS sums the workers") {
  Fixture fixture;
  fixture.fleet.config.databases["app"].hosts = {{"a", 1}, {"b", 2}};
  const auto first = fixture.fleet.registry.add_pool("app", "u", 0);
  const auto second = fixture.fleet.registry.add_pool("app", "u", 1);
  fixture.fleet.registry.add_pool("other", "u", 1);
  first->cl_active.set(3);
  second->cl_active.set(4);
  second->sv_idle.set(2);
  first->pool_mode.set(static_cast<uint64_t>(pool::PoolMode::transaction));
  second->pool_mode.set(static_cast<uint64_t>(pool::PoolMode::transaction));
  first->oldest_wait_since_us.set(static_cast<uint64_t>(Fixture::now_us - 2'500'000));
  second->oldest_wait_since_us.set(static_cast<uint64_t>(Fixture::now_us - 1'000'000));
  const Answer answer = fixture.query("SHOW POOLS");
  CHECK(column(answer, "database") == std::vector<std::string>{"app", "other", "pgbouncer"});
  const auto row = answer.row_map(0);
  CHECK(row.at("cl_active") == "7");
  CHECK(row.at("sv_idle") == "2");
  CHECK(row.at("maxwait") == "2");
  CHECK(row.at("maxwait_us") == "500000");
  CHECK(row.at("pool_mode") == "transaction");
  CHECK(row.at("load_balance_hosts") == "round-robin");
  const auto console = answer.row_map(2);
  CHECK(console.at("cl_active") == "1");
  CHECK(console.at("maxwait") == "0");
  CHECK(console.at("pool_mode") == "statement");
  CHECK(console.at("load_balance_hosts") == "(null)");
}

TEST_CASE("admin: SHOW DATABASES") {
  Fixture fixture;
  auto& config = fixture.fleet.config;
  auto& app = config.databases["app"];
  app.hosts = {{"db1", 5433}, {"db2", 5434}};
  app.dbname = "application";
  app.user = "forced";
  app.pool_size = 7;
  app.pool_mode = pool::PoolMode::session;
  app.server_lifetime_us = 60'000'000;
  config.databases["*"].hosts = {{"star", 5432}};
  config.databases["unused"] = {};
  pool::DatabaseState app_state, star_state;
  app_state.name = "app";
  app_state.paused = true;
  app_state.current_connections = 5;
  app_state.current_client_connections = 6;
  star_state.name = "made_by_star";
  star_state.disabled = true;
  fixture.fleet.databases = {star_state, app_state};

  const Answer answer = fixture.query("SHOW DATABASES");
  CHECK(column(answer, "name") == std::vector<std::string>{"app", "made_by_star", "pgbouncer", "unused"});
  CHECK(answer.rows[0] == TextRow{"app", "db1,db2", "5433", "application", "forced", "7", "0", "0", "60", "session",
                                  "round-robin", "100", "5", "0", "6", "1", "0"});
  CHECK(answer.rows[1] == TextRow{"made_by_star", "star", "5432", "made_by_star", "(null)", "25", "0", "0", "3600",
                                  "(null)", "(null)", "100", "0", "0", "0", "0", "1"});
  CHECK(answer.rows[2] == TextRow{"pgbouncer", "(null)", "6432", "pgbouncer", "pgbouncer", "2", "0", "0", "3600",
                                  "statement", "(null)", "100", "0", "0", "1", "0", "0"});
}

TEST_CASE("admin: SHOW USERS lists those of the configuration, of auth_file and those that connected") {
  Fixture fixture;
  auto& entry = fixture.fleet.config.users["limited"];
  entry.pool_size = 3;
  entry.pool_mode = pool::PoolMode::statement;
  entry.max_user_connections = 9;
  fixture.fleet.config.secrets["from_file"] = {};
  fixture.fleet.config.max_user_client_connections = 40;
  pool::UserState state;
  state.name = "seen";
  state.current_connections = 1;
  state.current_client_connections = 2;
  fixture.fleet.users = {state};
  const Answer answer = fixture.query("SHOW USERS");
  CHECK(answer.rows == std::vector<TextRow>{{"from_file", "(null)", "(null)", "(null)", "0", "0", "40", "0"},
                                            {"limited", "3", "(null)", "statement", "9", "0", "40", "0"},
                                            {"seen", "(null)", "(null)", "(null)", "0", "1", "40", "2"}});
}

TEST_CASE("admin: SHOW CLIENTS") {
  Fixture fixture;
  auto linked = connection(0x2a, "active");
  linked.link = 0xff;
  linked.ends = {"10.1.2.3", 40000, "10.0.0.1", 6432};
  linked.application_name = "psql";
  linked.tls = "TLSv1.3";
  linked.request_at_us = linked.connected_at_us + 1'000'000;
  auto waiting = connection(3, "waiting");
  waiting.wait_us = 1'250'000;
  auto nobody = connection(9, "login");
  nobody.user.clear();
  nobody.database.clear();
  fixture.fleet.client_rows = {linked, nobody, waiting, connection(1, "active")};
  const Answer answer = fixture.query("SHOW CLIENTS");
  CHECK(column(answer, "id") == std::vector<std::string>{"1", "3", "42"});
  CHECK(column(answer, "state") == std::vector<std::string>{"idle", "waiting", "active"});
  CHECK(column(answer, "type") == std::vector<std::string>{"C", "C", "C"});
  const auto row = answer.row_map(2);
  CHECK(row.at("ptr") == "0x2a");
  CHECK(row.at("link") == "0xff");
  CHECK(row.at("addr") == "10.1.2.3");
  CHECK(row.at("port") == "40000");
  CHECK(row.at("local_port") == "6432");
  CHECK(row.at("tls") == "TLSv1.3");
  CHECK(row.at("connect_time").substr(0, 8) == "2023-11-");
  CHECK(row.at("connect_time") != row.at("request_time"));
  CHECK(answer.row_map(1).at("wait") == "1");
  CHECK(answer.row_map(1).at("wait_us") == "250000");
  CHECK(answer.row_map(1).at("request_time") == answer.row_map(1).at("connect_time"));
  CHECK(answer.row_map(0).at("link").empty());
}

TEST_CASE("admin: SHOW SERVERS and SHOW SOCKETS") {
  Fixture fixture;
  auto server = connection(5, "active", true);
  server.close_needed = true;
  server.remote_pid = 4711;
  server.prepared_statements = 8;
  auto login = connection(6, "new", true);
  login.unsent_bytes = 12;
  fixture.fleet.server_rows = {server, login};
  auto nobody = connection(9, "login");
  nobody.database.clear();
  auto client = connection(2, "idle");
  client.buffered_bytes = 34;
  fixture.fleet.client_rows = {nobody, client};

  const Answer servers = fixture.query("SHOW SERVERS");
  CHECK(column(servers, "state") == std::vector<std::string>{"active", "new"});
  CHECK(servers.row_map(0).at("close_needed") == "1");
  CHECK(servers.row_map(0).at("remote_pid") == "4711");
  CHECK(servers.row_map(0).at("prepared_statements") == "8");

  const Answer sockets = fixture.query("SHOW SOCKETS");
  CHECK(column(sockets, "state") == std::vector<std::string>{"cl_login", "cl_active", "sv_active", "sv_login"});
  CHECK(sockets.row_map(0).at("database") == "(nodb)");
  CHECK(sockets.row_map(1).at("pkt_avail") == "34");
  const Answer active = fixture.query("SHOW ACTIVE_SOCKETS");
  CHECK(column(active, "id") == std::vector<std::string>{"2", "6"});
  CHECK(active.row_map(1).at("send_avail") == "12");
  CHECK(active.row_map(1).at("ktls") == "0");
}

TEST_CASE("admin: SHOW LISTS") {
  Fixture fixture;
  fixture.fleet.config.databases["app"] = {};
  fixture.fleet.config.users["u"] = {};
  fixture.fleet.registry.worker(0).clients.set(3);
  fixture.fleet.registry.worker(1).clients.set(4);
  fixture.fleet.registry.worker(1).login_clients.set(2);
  const auto pool = fixture.fleet.registry.add_pool("app", "u", 0);
  pool->sv_idle.set(5);
  pool->sv_login.set(1);
  fixture.program.hosts = {ResolvedHost{"db", 0, {}}};
  const Answer answer = fixture.query("SHOW LISTS");
  CHECK(answer.rows == std::vector<TextRow>{{"databases", "2"},
                                            {"users", "1"},
                                            {"peers", "0"},
                                            {"pools", "2"},
                                            {"peer_pools", "0"},
                                            {"free_clients", "0"},
                                            {"used_clients", "7"},
                                            {"login_clients", "2"},
                                            {"free_servers", "0"},
                                            {"used_servers", "6"},
                                            {"dns_names", "1"},
                                            {"dns_zones", "0"},
                                            {"dns_queries", "0"},
                                            {"dns_pending", "0"}});
}

TEST_CASE("admin: SHOW MEM has real figures") {
  Fixture fixture;
  auto client = connection(1, "idle");
  client.prepared_statements = 3;
  client.buffered_bytes = 100;
  client.unsent_bytes = 20;
  fixture.fleet.client_rows = {client, connection(2, "idle")};
  const Answer answer = fixture.query("SHOW MEM");
  std::map<std::string, TextRow> rows;
  for (const TextRow& row : answer.rows) rows[row[0]] = row;
  CHECK(std::stoll(rows.at("resident")[4]) > 1'000'000);
  // Sanitizers bring an allocator of their own, which mallinfo2() does not know.
  CHECK((std::stoll(rows.at("heap")[2]) > 0) == (mallinfo2().uordblks > 0));
  CHECK(rows.at("clients") == TextRow{"clients", "0", "2", "0", "120"});
  CHECK(rows.at("client_prepared_statements")[2] == "3");
  CHECK(rows.at("servers")[2] == "0");
}

TEST_CASE("admin: SHOW CONFIG, SHOW VERSION, SHOW DNS_HOSTS") {
  Fixture fixture;
  fixture.program.config = {{"a", "1", "2", true}, {"b", "", "x", false}};
  CHECK(fixture.query("SHOW CONFIG").rows == std::vector<TextRow>{{"a", "1", "2", "yes"}, {"b", "", "x", "no"}});
  CHECK(fixture.query("SHOW VERSION").rows == std::vector<TextRow>{{"PgBouncer 1.25.0 compatible, Bezel 9.8.7"}});
  fixture.program.hosts = {ResolvedHost{"db", 14'900'000, {"10.0.0.1", "10.0.0.2"}}, ResolvedHost{"gone", 0, {}}};
  CHECK(fixture.query("SHOW DNS_HOSTS").rows ==
        std::vector<TextRow>{{"db", "14", "10.0.0.1,10.0.0.2"}, {"gone", "0", ""}});
}
