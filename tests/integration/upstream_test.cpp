// Several servers behind one database: which of them is the primary, each says itself.

#include <doctest/doctest.h>

#include <csignal>
#include <future>
#include <string>
#include <vector>

#include "fake_dns/fake_dns_server.h"
#include "integration/bezel_process.h"
#include "integration/loopback.h"
#include "integration/postgres_server.h"
#include "integration/raw_client.h"
#include "integration/temporary_folder.h"
#include "integration/waiting.h"

using namespace bezel::fake_dns;
using namespace bezel::integration;

namespace {

/// A primary with one standby.
struct Cluster {
  PostgresServer first = PostgresServer::primary();
  PostgresServer second = PostgresServer::standby_of(first);

  Cluster() {
    first.observer().run("CREATE TABLE public.written (id text)");
    first.observer().run("GRANT ALL ON public.written TO app");
    catch_up();
  }

  /// What has been written so far is on the standby too.
  void catch_up() {
    const std::string place = first.observer().value("SELECT pg_current_wal_insert_lsn()");
    wait_until("the standby has caught up",
               [&] { return second.observer().value("SELECT pg_last_wal_replay_lsn() >= '" + place + "'") == "t"; });
  }

  /// The entry of a database that knows both.
  std::string database(const std::string& further, bool standby_first = false) const {
    const PostgresServer& one = standby_first ? second : first;
    const PostgresServer& other = standby_first ? first : second;
    return "host=" + one.address() + "," + other.address() + " port=" + std::to_string(one.port()) + "," +
           std::to_string(other.port()) + " dbname=postgres " + further;
  }
};

std::string port_of(PgConnection& client) {
  return client.value("SELECT inet_server_port()");
}

/// Direct connections, as many as the server lets `app` have.
std::vector<PgConnection> fill(const PostgresServer& server) {
  std::vector<PgConnection> taken;
  for (;;) {
    PgConnection one(server.conninfo("app", PostgresServer::kAppPassword, "postgres"));
    if (!one.connected()) return taken;
    REQUIRE(taken.size() < 100);
    taken.push_back(std::move(one));
  }
}

}  // namespace

TEST_CASE("writes go to the primary, whichever of the hosts it is, and after a promotion to the new one") {
  Cluster cluster;
  BezelProcess bezel({.databases = {{"app", cluster.database("target_session_attrs=read-write", true)}}});
  PgConnection client = bezel.connect();
  REQUIRE(client.connected());
  CHECK(port_of(client) == std::to_string(cluster.first.port()));
  CHECK(client.exec("INSERT INTO written VALUES ('1')").ok());
  PgConnection idle = bezel.connect();
  CHECK(idle.value("SELECT 1") == "1");
  cluster.catch_up();

  SUBCASE("the old one is stopped") {
    cluster.first.stop();
  }
  SUBCASE("the old one crashes") {
    cluster.first.kill();
  }
  SUBCASE("the old one goes on, and takes itself for the primary") {}
  cluster.second.promote();
  if (cluster.first.running()) {
    // Nobody has a reason to look yet. As soon as somebody does, the timeline decides.
    cluster.first.observer().run("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'app'");
    wait_until("the new primary is found", [&] { return port_of(client) == std::to_string(cluster.second.port()); });
  }
  CHECK(client.exec("INSERT INTO written VALUES ('2')").ok());
  for (int i = 0; i < 20; i++) {
    CHECK(port_of(client) == std::to_string(cluster.second.port()));
    CHECK(port_of(idle) == std::to_string(cluster.second.port()));
  }
  CHECK(idle.value("SELECT count(*) FROM written") == "2");
}

TEST_CASE("clients wait while there is no primary, and go on when there is one") {
  Cluster cluster;
  BezelProcess bezel({.databases = {{"app", cluster.database("role=primary")}}});
  PgConnection client = bezel.connect();
  CHECK(port_of(client) == std::to_string(cluster.first.port()));
  cluster.first.stop();
  client.send("INSERT INTO written VALUES ('waited')");
  wait_until("the client waits", [&] { return bezel.show("POOLS", "cl_waiting", "database", "app") == "1"; });
  // One that comes now logs in, and waits too.
  PgConnection late = bezel.connect();
  REQUIRE(late.connected());
  late.send("SELECT 'late'");
  wait_until("the other one waits too", [&] { return bezel.show("POOLS", "cl_waiting", "database", "app") == "2"; });
  cluster.second.promote();
  CHECK(client.last_result().ok());
  CHECK(late.last_result().value() == "late");
  CHECK(port_of(client) == std::to_string(cluster.second.port()));
}

TEST_CASE("a name that leads to the old primary for a while, after that was made a standby, costs nobody an error") {
  Cluster cluster;
  const TemporaryFolder folder;
  FakeDnsServer names;
  const auto lead_to = [&](const PostgresServer& server) {
    names.set("_pg._tcp.db.test", kSrv, {srv("node.test", server.port(), 0, 0, 1)});
  };
  names.set("node.test", kA, {a(cluster.first.address(), 1)});
  lead_to(cluster.first);
  const std::string conf = folder.write("resolv.conf", names.line() + "options timeout:1\n");
  BezelProcess bezel(
      {.settings = {{"resolv_conf", conf}, {"dns_max_ttl", "1"}},
       .databases = {{"app", "{dbname: postgres, upstream: {source: dns, host: _pg._tcp.db.test, port: 0}}"}}});
  PgConnection client = bezel.connect();
  CHECK(client.exec("INSERT INTO written VALUES ('1')").ok());
  cluster.catch_up();
  cluster.first.demote();
  cluster.second.promote();
  // The name is wrong for many looks at it.
  client.send("INSERT INTO written VALUES ('2')");
  const int asked = names.queries();
  wait_until("the name is looked up again and again", [&] { return names.queries() >= asked + 8; });
  CHECK(bezel.show("POOLS", "cl_waiting", "database", "app") == "1");
  CHECK(bezel.show("UPSTREAM", "upstream", "database", "app") == "changing");
  CHECK(bezel.show("UPSTREAM", "said", "database", "app") == "standby");
  lead_to(cluster.second);
  const PgResult written = client.last_result();
  CHECK(written.ok());
  CHECK(written.sqlstate() == "");
  CHECK(port_of(client) == std::to_string(cluster.second.port()));
  CHECK(client.value("SELECT count(*) FROM written") == "2");
  CHECK(bezel.show("FAILOVERS", "held", "database", "app") == "1");
}

TEST_CASE("all connections hang on a frozen primary, and the name leads to another one: clients go on there") {
  Cluster cluster;
  const TemporaryFolder folder;
  FakeDnsServer names;
  names.set("node.test", kA, {a(cluster.first.address(), 1)});
  names.set("_pg._tcp.db.test", kSrv, {srv("node.test", cluster.first.port(), 0, 0, 1)});
  const std::string conf = folder.write("resolv.conf", names.line());
  BezelProcess bezel(
      {.settings = {{"resolv_conf", conf}, {"dns_max_ttl", "1"}, {"default_pool_size", "2"}, {"failover_grace", "60"}},
       .databases = {{"app", "{dbname: postgres, upstream: {source: dns, host: _pg._tcp.db.test, port: 0}}"}}});
  PgConnection first = bezel.connect(), second = bezel.connect(), third = bezel.connect();
  first.run("BEGIN");
  second.run("BEGIN");
  cluster.catch_up();
  cluster.first.signal(SIGSTOP);
  const int backends[] = {std::stoi(first.value("SELECT pg_backend_pid()")),
                          std::stoi(second.value("SELECT pg_backend_pid()"))};
  for (const int backend : backends) ::kill(backend, SIGSTOP);
  first.send("SELECT 1");
  second.send("SELECT 2");
  third.send("SELECT inet_server_port()");
  wait_until("the third waits", [&] { return bezel.show("POOLS", "cl_waiting", "database", "app") == "1"; });
  cluster.second.promote();
  names.set("_pg._tcp.db.test", kSrv, {srv("node.test", cluster.second.port(), 0, 0, 1)});
  CHECK(third.last_result().value() == std::to_string(cluster.second.port()));
  // What was under way on the old one is lost, though its time was not over: it could only have been in vain.
  CHECK(first.last_result().sqlstate() == "08006");
  CHECK(second.last_result().sqlstate() == "08006");
  CHECK(first.exec("ROLLBACK").ok());
  CHECK(port_of(first) == std::to_string(cluster.second.port()));
  for (const int backend : backends) ::kill(backend, SIGCONT);
  cluster.first.signal(SIGCONT);
}

TEST_CASE("reads go to the standby, and to the primary where there is none if that is allowed") {
  Cluster cluster;
  BezelProcess bezel({.databases = {{"app", cluster.database("role=replica")},
                                    {"either", cluster.database("role=replica fallback_to_primary=yes")},
                                    {"any", cluster.database("target_session_attrs=any")}}});
  PgConnection reader = bezel.connect();
  PgConnection either = bezel.connect_as("app", PostgresServer::kAppPassword, "either");
  CHECK(port_of(reader) == std::to_string(cluster.second.port()));
  CHECK(port_of(either) == std::to_string(cluster.second.port()));
  CHECK(reader.exec("INSERT INTO written VALUES ('1')").sqlstate() == "25006");
  cluster.second.stop();
  wait_until("the primary serves", [&] { return port_of(either) == std::to_string(cluster.first.port()); });
  reader.send("SELECT inet_server_port()");
  wait_until("the reader waits", [&] { return bezel.show("POOLS", "cl_waiting", "database", "app") == "1"; });
  cluster.second.start();
  CHECK(reader.last_result().value() == std::to_string(cluster.second.port()));
}

TEST_CASE("a standby that takes no more logins is passed over, and has its readers again when it does") {
  Cluster cluster;
  cluster.first.observer().run("ALTER ROLE app CONNECTION LIMIT 4");
  cluster.catch_up();
  std::vector<PgConnection> taken = fill(cluster.second);
  REQUIRE(taken.size() == 4);
  BezelProcess bezel({.settings = {{"server_login_retry", "1"}},
                      .databases = {{"app", cluster.database("target_session_attrs=prefer-standby", true)},
                                    {"only", cluster.database("target_session_attrs=standby", true)}}});
  PgConnection reader = bezel.connect();
  REQUIRE(reader.connected());
  CHECK(port_of(reader) == std::to_string(cluster.first.port()));
  auto only = std::async(std::launch::async, [&] {
    PgConnection client = bezel.connect_as("app", PostgresServer::kAppPassword, "only");
    return port_of(client);
  });
  wait_until("who wants nothing but a standby waits",
             [&] { return bezel.show("POOLS", "cl_waiting", "database", "only") == "1"; });
  taken.clear();
  CHECK(only.get() == std::to_string(cluster.second.port()));
  // Nobody needs a new connection, and yet they go back.
  wait_until("the standby serves again", [&] { return port_of(reader) == std::to_string(cluster.second.port()); });
  wait_until("the primary is left alone", [&] { return cluster.first.backend_count("app") == 0; });
}

TEST_CASE("of several hosts one that takes no more logins is passed over") {
  PostgresServer full, free;
  full.observer().run("ALTER ROLE app CONNECTION LIMIT 1");
  const PgConnection taken(full.conninfo());
  REQUIRE(taken.connected());
  std::string balance;
  SUBCASE("in turn") {
    balance = "round-robin";
  }
  SUBCASE("always the first that works") {
    balance = "disable";
  }
  // Nobody is to wait until it is asked again.
  BezelProcess bezel(
      {.settings = {{"server_login_retry", "600"}, {"query_wait_timeout", "20"}},
       .databases = {{"app", "host=" + full.address() + "," + free.address() + " port=" + std::to_string(full.port()) +
                                 "," + std::to_string(free.port()) + " dbname=app load_balance_hosts=" + balance}}});
  std::vector<PgConnection> clients;
  for (int i = 0; i < 4; i++) {
    clients.push_back(bezel.connect());
    REQUIRE(clients.back().connected());
    clients.back().run("BEGIN");  // each has a server of its own
    CHECK(port_of(clients.back()) == std::to_string(free.port()));
  }
}

TEST_CASE("without a primary the pooler is ready as long as clients may wait, and then says why it is not") {
  Cluster cluster;
  const uint16_t http_port = next_port();
  BezelProcess bezel({.settings = {{"metrics_addr", own_address()},
                                   {"metrics_port", std::to_string(http_port)},
                                   {"query_wait_timeout", "2"}},
                      .databases = {{"app", cluster.database("role=primary")}}});
  const auto get = [&](const std::string& path) {
    RawClient client(own_address(), http_port);
    client.send("GET " + path + " HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n");
    std::string text;
    while (const auto byte = client.read_byte()) text += *byte;
    return text;
  };
  PgConnection client = bezel.connect();
  CHECK(client.value("SELECT 1") == "1");
  CHECK(get("/metrics").find("bezel_upstream_primary{database=\"app\"} 1") != std::string::npos);
  cluster.first.stop();
  client.send("SELECT 2");
  wait_until("the client waits", [&] { return bezel.show("POOLS", "cl_waiting", "database", "app") == "1"; });
  CHECK(get("/readyz").find("200 OK") != std::string::npos);
  CHECK(get("/metrics").find("bezel_upstream_primary{database=\"app\"} 0") != std::string::npos);
  // It is told what it waited for in vain, and others go on to look.
  client.last_result();
  CHECK(client.error().find("query_wait_timeout") != std::string::npos);
  wait_until("it is not ready", [&] {
    PgConnection another = bezel.connect();
    if (another.connected()) another.exec("SELECT 1");
    return get("/readyz").find("503 ") != std::string::npos;
  });
  CHECK(get("/readyz").find("no primary of app for longer than query_wait_timeout") != std::string::npos);
  CHECK(get("/healthz").find("200 OK") != std::string::npos);
  cluster.second.promote();
  wait_until("it is ready", [&] { return get("/readyz").find("200 OK") != std::string::npos; });
}

TEST_CASE("a frozen member keeps nobody from finding the primary") {
  Cluster cluster;
  cluster.second.signal(SIGSTOP);
  BezelProcess bezel({.databases = {{"app", cluster.database("role=primary", true)}}});
  PgConnection client = bezel.connect();
  CHECK(port_of(client) == std::to_string(cluster.first.port()));
  cluster.second.signal(SIGCONT);
}
