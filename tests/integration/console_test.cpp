// The console's operations do what they say, to clients and servers of the real thing.

#include <doctest/doctest.h>

#include <string>
#include <thread>
#include <vector>

#include "integration/bezel_process.h"
#include "integration/loopback.h"
#include "integration/messages.h"
#include "integration/postgres_server.h"
#include "integration/raw_client.h"
#include "integration/waiting.h"

using namespace bezel::integration;

namespace {

Configuration two_databases() {
  return {.settings = {{"default_pool_size", "2"}},
          .databases = {{"app", database_at(PostgresServer::shared())},
                        {"other", database_at(PostgresServer::shared(), "dbname=app")}}};
}

int waiting(BezelProcess& bezel, const std::string& database = "app") {
  const std::string count = bezel.show("POOLS", "cl_waiting", "database", database);
  return count.empty() ? 0 : std::stoi(count);
}

int servers(BezelProcess& bezel, const std::string& database) {
  PgConnection console = bezel.console();
  const PgResult rows = console.exec("SHOW SERVERS");
  int count = 0;
  for (int row = 0; row < rows.rows(); row++) count += rows.value(row, "database") == database ? 1 : 0;
  return count;
}

/// Whether the answer to what was sent is there without waiting for it.
bool answered(PgConnection& connection) {
  PQconsumeInput(connection.get());
  return PQisBusy(connection.get()) == 0;
}

}  // namespace

TEST_CASE("PAUSE waits for transactions, closes servers, holds clients; RESUME lets them go on") {
  BezelProcess bezel(two_databases());
  PgConnection console = bezel.console(), busy = bezel.connect(), idle = bezel.connect();
  idle.run("SELECT 1");
  busy.run("BEGIN");
  console.send("PAUSE");
  idle.send("SELECT 'after the pause'");
  wait_until("the client waits", [&] { return waiting(bezel) == 1; });
  CHECK_FALSE(answered(console));
  CHECK(busy.value("SELECT 'goes on'") == "goes on");
  busy.run("COMMIT");
  CHECK(console.last_result().command_tag() == "PAUSE");
  wait_until("the servers are gone", [] { return PostgresServer::shared().backend_count("app") == 0; });
  CHECK(waiting(bezel) == 1);
  PgConnection late(bezel.conninfo());  // logins wait as well, or work: here without a server they work
  CHECK(late.connected());
  console.run("RESUME");
  CHECK(idle.last_result().value() == "after the pause");
  CHECK(busy.value("SELECT 1") == "1");
}

TEST_CASE("PAUSE and RESUME of one database leave the other alone") {
  BezelProcess bezel(two_databases());
  PgConnection console = bezel.console(), held = bezel.connect(), free = bezel.connect_as("app", "app-secret", "other");
  held.run("SELECT 1");
  console.run("PAUSE app");
  held.send("SELECT 1");
  wait_until("the client waits", [&] { return waiting(bezel) == 1; });
  CHECK(free.value("SELECT 'free'") == "free");
  CHECK(bezel.show("DATABASES", "paused", "name", "app") == "1");
  console.run("RESUME app");
  CHECK(held.last_result().value() == "1");
  CHECK_FALSE(console.exec("PAUSE nonesuch").ok());
}

TEST_CASE("DISABLE refuses new clients, ENABLE takes them again") {
  BezelProcess bezel(two_databases());
  PgConnection console = bezel.console(), old = bezel.connect();
  console.run("DISABLE app");
  CHECK(old.value("SELECT 1") == "1");
  const PgConnection refused(bezel.conninfo());
  CHECK_FALSE(refused.connected());
  CHECK(refused.error().find("disabled") != std::string::npos);
  CHECK(bezel.connect_as("app", "app-secret", "other").value("SELECT 1") == "1");
  console.run("ENABLE app");
  CHECK(bezel.connect().value("SELECT 1") == "1");
}

TEST_CASE("KILL drops clients and servers of a database at once") {
  BezelProcess bezel(two_databases());
  PgConnection console = bezel.console(), victim = bezel.connect(),
               other = bezel.connect_as("app", "app-secret", "other");
  victim.run("BEGIN");
  other.run("BEGIN");
  console.run("KILL app");
  CHECK_FALSE(victim.exec("SELECT 1").ok());
  CHECK(servers(bezel, "app") == 0);
  CHECK(other.value("SELECT 'alive'") == "alive");
  other.run("COMMIT");
  console.run("RESUME app");
  CHECK(bezel.connect().value("SELECT 1") == "1");
}

TEST_CASE("KILL_CLIENT ends one client") {
  BezelProcess bezel(two_databases());
  PgConnection console = bezel.console(), victim = bezel.connect("application_name=victim"),
               other = bezel.connect("application_name=other");
  victim.run("BEGIN");
  other.run("SELECT 1");
  const std::string id = bezel.show("CLIENTS", "id", "application_name", "victim");
  REQUIRE(id != "");
  console.run("KILL_CLIENT " + id);
  CHECK_FALSE(victim.exec("SELECT 1").ok());
  CHECK(other.value("SELECT 1") == "1");
  CHECK(bezel.show("CLIENTS", "id", "application_name", "victim") == "");
  CHECK_FALSE(console.exec("KILL_CLIENT 99999999").ok());
  wait_until("its transaction is gone", [] {
    return PostgresServer::shared().observer().value(
               "SELECT count(*) FROM pg_stat_activity WHERE usename = 'app' AND state <> 'idle'") == "0";
  });
}

TEST_CASE("RECONNECT replaces servers once they are free, WAIT_CLOSE waits for it") {
  BezelProcess bezel(two_databases());
  PgConnection console = bezel.console(), busy = bezel.connect(), idle = bezel.connect();
  busy.run("BEGIN");
  const std::string before = busy.value("SELECT pg_backend_pid()");
  const std::string idle_before = idle.value("SELECT pg_backend_pid()");
  console.run("RECONNECT app");
  CHECK(idle.value("SELECT pg_backend_pid()") != idle_before);
  CHECK(busy.value("SELECT pg_backend_pid()") == before);
  console.send("WAIT_CLOSE app");
  std::this_thread::sleep_for(std::chrono::milliseconds(50));
  CHECK_FALSE(answered(console));
  busy.run("COMMIT");
  CHECK(console.last_result().command_tag() == "WAIT_CLOSE");
  CHECK(busy.value("SELECT pg_backend_pid()") != before);
}

TEST_CASE("SUSPEND stops everything, RESUME goes on where it was") {
  BezelProcess bezel(two_databases());
  PgConnection console = bezel.console(), client = bezel.connect();
  client.run("BEGIN");
  console.run("SUSPEND");
  client.send("SELECT 'later'");
  std::this_thread::sleep_for(std::chrono::milliseconds(100));
  CHECK_FALSE(answered(client));
  CHECK(bezel.show("STATE", "value", "key", "suspended") == "yes");
  console.run("RESUME");
  CHECK(client.last_result().value() == "later");
  client.run("COMMIT");
}

TEST_CASE("SET changes a setting until the next reload") {
  BezelProcess bezel(two_databases());
  PgConnection console = bezel.console();
  console.run("SET default_pool_size = 9");
  CHECK(bezel.show("CONFIG", "value", "key", "default_pool_size") == "9");
  CHECK_FALSE(console.exec("SET default_pool_size = many").ok());
  CHECK_FALSE(console.exec("SET listen_port = 1").ok());
  console.run("RELOAD");
  CHECK(bezel.show("CONFIG", "value", "key", "default_pool_size") == "2");
}

TEST_CASE("users of the console: admins, who only look, and the rest") {
  BezelProcess bezel(two_databases());
  PgConnection stats = bezel.connect_as("stats", "stats-secret", "pgbouncer");
  CHECK(stats.exec("SHOW POOLS").ok());
  for (const char* command : {"PAUSE", "KILL app", "KILL_CLIENT 1", "SHUTDOWN", "RELOAD", "SET log_stats = 0"}) {
    CHECK(stats.exec(command).message().find("admin access needed") != std::string::npos);
  }
  CHECK_FALSE(PgConnection(bezel.conninfo("", "app", "app-secret", "pgbouncer")).connected());
  CHECK_FALSE(PgConnection(bezel.conninfo("", "admin", "wrong", "pgbouncer")).connected());
  CHECK(bezel.connect_as("admin", "admin-secret", "bezel").exec("SHOW VERSION").ok());
}

TEST_CASE("what SHOW says agrees with what is") {
  BezelProcess bezel(two_databases());
  PgConnection one = bezel.connect("application_name=shown"), two = bezel.connect();
  one.run("BEGIN");
  for (int i = 0; i < 7; i++) two.run("SELECT 1");
  CHECK(bezel.show("POOLS", "cl_active", "database", "app") == "2");
  CHECK(bezel.show("POOLS", "sv_active", "database", "app") == "1");
  CHECK(bezel.show("POOLS", "sv_idle", "database", "app") == "1");
  CHECK(bezel.show("DATABASES", "current_connections", "name", "app") == "2");
  CHECK(bezel.show("STATS", "total_query_count", "database", "app") == "8");
  CHECK(bezel.show("STATS", "total_xact_count", "database", "app") == "7");
  const std::string link = bezel.show("CLIENTS", "link", "application_name", "shown");
  CHECK(bezel.show("SERVERS", "remote_pid", "ptr", link) == one.value("SELECT pg_backend_pid()"));
  one.run("COMMIT");
}

TEST_CASE("SHOW LISTS counts the clients that have not logged in yet, on all workers") {
  BezelProcess bezel({.settings = {{"workers", "3"}}});
  const auto logging_in = [&] { return bezel.show("LISTS", "items", "list", "login_clients"); };
  CHECK(logging_in() == "0");
  PgConnection in = bezel.connect();
  std::vector<RawClient> stopped;
  for (int i = 0; i < 9; i++) {
    // Before its startup packet, in the middle of it, or before its proof.
    stopped.emplace_back(own_address(), bezel.port());
    const std::string packet = startup_packet("app", "app");
    stopped.back().send(i % 3 == 0 ? "" : i % 3 == 1 ? packet.substr(0, 9) : packet);
  }
  wait_until("all have been accepted", [&] { return logging_in() == "9"; });
  CHECK(bezel.show("LISTS", "items", "list", "used_clients") == "11");
  CHECK(stopped.back().authenticate("app-secret", "app").back().type == 'Z');
  CHECK(logging_in() == "8");
  CHECK(RawClient(own_address(), bezel.port()).log_in("app", "wrong", "app").back().type == 'E');
  wait_until("a refused one is not counted", [&] { return logging_in() == "8"; });
  stopped.clear();
  wait_until("they have gone", [&] { return logging_in() == "0"; });
  CHECK(in.value("SELECT 1") == "1");
}

TEST_CASE("SHUTDOWN and its modes") {
  {
    BezelProcess bezel(two_databases());
    PgConnection console = bezel.console(), client = bezel.connect();
    client.run("BEGIN");
    console.exec("SHUTDOWN");
    CHECK(bezel.process().wait_for_end() == 0);
    CHECK_FALSE(client.exec("SELECT 1").ok());
  }
  {
    BezelProcess bezel(two_databases());
    PgConnection console = bezel.console(), busy = bezel.connect(), idle = bezel.connect();
    idle.run("SELECT 1");
    busy.run("BEGIN");
    CHECK(console.exec("SHUTDOWN WAIT_FOR_SERVERS").ok());
    wait_until("new clients are refused", [&] { return !PgConnection(bezel.conninfo()).connected(); });
    CHECK(busy.value("SELECT 'to the end'") == "to the end");
    CHECK(bezel.process().running());
    busy.run("COMMIT");
    CHECK(bezel.process().wait_for_end() == 0);
    CHECK_FALSE(idle.exec("SELECT 1").ok());
  }
  {
    BezelProcess bezel(two_databases());
    PgConnection console = bezel.console(), client = bezel.connect();
    CHECK(console.exec("SHUTDOWN WAIT_FOR_CLIENTS").ok());
    wait_until("new clients are refused", [&] { return !PgConnection(bezel.conninfo()).connected(); });
    CHECK(client.value("SELECT 'as long as I like'") == "as long as I like");
    CHECK(bezel.process().running());
    client.close();
    CHECK(bezel.process().wait_for_end() == 0);
  }
}
