// Who gets which server connection, and when: pool modes, sharing, simple and extended protocol.

#include <doctest/doctest.h>

#include <set>
#include <string>
#include <thread>
#include <vector>

#include "integration/bezel_process.h"
#include "integration/postgres_server.h"
#include "integration/waiting.h"

using namespace bezel::integration;

namespace {

std::string backend_of(PgConnection& client) {
  return client.value("SELECT pg_backend_pid()");
}

}  // namespace

TEST_CASE("transaction mode: many clients share few servers") {
  BezelProcess bezel({.settings = {{"default_pool_size", "3"}}});
  std::set<std::string> backends;
  std::vector<PgConnection> clients;
  for (int i = 0; i < 40; i++) clients.push_back(bezel.connect());
  for (int round = 0; round < 5; round++) {
    for (PgConnection& client : clients) backends.insert(backend_of(client));
  }
  CHECK(backends.size() <= 3);
  CHECK(PostgresServer::shared().backend_count("app") <= 3);
}

TEST_CASE("transaction mode: a transaction keeps its server, and others get another one") {
  BezelProcess bezel({.settings = {{"default_pool_size", "2"}}});
  PgConnection first = bezel.connect();
  PgConnection second = bezel.connect();
  first.run("BEGIN");
  const std::string own = backend_of(first);
  for (int i = 0; i < 10; i++) {
    CHECK(backend_of(second) != own);
    CHECK(backend_of(first) == own);
  }
  first.run("COMMIT");
}

TEST_CASE("session mode: a client keeps its server, and leaves it clean") {
  BezelProcess bezel({.settings = {{"pool_mode", "session"}, {"default_pool_size", "1"}}});
  std::string own;
  {
    PgConnection first = bezel.connect();
    own = backend_of(first);
    first.run("SET statement_timeout = '5min'");
    first.run("CREATE TEMPORARY TABLE mine (a int)");
    first.run("LISTEN news");
    first.run("NOTIFY news, 'hello'");
    PQconsumeInput(first.get());
    PGnotify* notification = PQnotifies(first.get());
    REQUIRE(notification != nullptr);
    CHECK(std::string(notification->extra) == "hello");
    PQfreemem(notification);
    first.run("PREPARE p AS SELECT 1");
    CHECK(first.value("EXECUTE p") == "1");
    CHECK(first.prepare("q", "SELECT 2").ok());
    CHECK(first.exec_prepared("q").value() == "2");
    CHECK(backend_of(first) == own);
  }
  PgConnection second = bezel.connect();
  CHECK(backend_of(second) == own);
  CHECK(second.value("SHOW statement_timeout") == "0");
  CHECK(second.exec("SELECT * FROM mine").sqlstate() == "42P01");
  CHECK(second.exec("EXECUTE p").sqlstate() == "26000");
  CHECK(second.value("SELECT count(*) FROM pg_listening_channels()") == "0");
}

TEST_CASE("session mode: who comes next waits for the session's end") {
  BezelProcess bezel({.settings = {{"pool_mode", "session"}, {"default_pool_size", "1"}}});
  PgConnection first = bezel.connect();
  first.run("SELECT 1");
  PgConnection second = bezel.connect();
  second.send("SELECT 'served'");
  wait_until("the second client waits", [&] { return bezel.show("POOLS", "cl_waiting", "database", "app") == "1"; });
  first.close();
  CHECK(second.next_result().value() == "served");
}

TEST_CASE("statement mode: no transactions of several statements") {
  BezelProcess bezel({.settings = {{"pool_mode", "statement"}, {"default_pool_size", "1"}}});
  PgConnection first = bezel.connect();
  PgConnection second = bezel.connect();
  CHECK(backend_of(first) == backend_of(second));
  // The server answers, and the pooler's FATAL follows.
  first.exec("BEGIN");
  CHECK_FALSE(first.exec("SELECT 1").ok());
  CHECK(first.complaints().find("transaction blocks not allowed in statement pooling mode") != std::string::npos);
  CHECK(second.value("SELECT 'fine'") == "fine");
}

TEST_CASE("the mode can be set for a database and for a user, who comes first") {
  PostgresServer& server = PostgresServer::shared();
  server.create_user("settled", "settled-secret", "scram-sha-256");
  BezelProcess bezel(
      {.settings = {{"default_pool_size", "3"}},
       .databases = {{"app", database_at(server)}, {"sessions", database_at(server, "dbname=app pool_mode=session")}},
       .users = {{"settled", "pool_mode=transaction"}},
       .userlist = "\"app\" \"app-secret\"\n\"settled\" \"settled-secret\"\n"
                   "\"admin\" \"admin-secret\"\n"});
  PgConnection of_session = bezel.connect_as("app", "app-secret", "sessions");
  of_session.run("SET work_mem = '123kB'");
  CHECK(of_session.value("SHOW work_mem") == "123kB");
  CHECK(bezel.show("POOLS", "pool_mode", "database", "sessions") == "session");
  CHECK(bezel.show("SERVERS", "state", "database", "sessions") == "active");
  PgConnection of_transaction = bezel.connect_as("settled", "settled-secret", "sessions");
  of_transaction.run("SELECT 1");
  CHECK(bezel.show("POOLS", "pool_mode", "user", "settled") == "transaction");
  CHECK(bezel.show("SERVERS", "state", "user", "settled") == "idle");
  PgConnection by_default = bezel.connect();
  by_default.run("SELECT 1");
  CHECK(bezel.show("POOLS", "pool_mode", "database", "app") == "transaction");
}

TEST_CASE("pipelines by libpq, with errors and many Syncs") {
  BezelProcess bezel({.settings = {{"default_pool_size", "1"}}});
  PgConnection client = bezel.connect();
  REQUIRE(PQenterPipelineMode(client.get()) == 1);
  constexpr int kBatches = 200;
  for (int i = 0; i < kBatches; i++) {
    const std::string number = std::to_string(i);
    const char* values[] = {number.c_str()};
    PQsendQueryParams(client.get(), i % 10 == 3 ? "SELECT 1 / ($1::int - $1::int)" : "SELECT $1::int * 2", 1, nullptr,
                      values, nullptr, nullptr, 0);
    PQpipelineSync(client.get());
  }
  for (int i = 0; i < kBatches; i++) {
    const PgResult result = client.next_result();
    if (i % 10 == 3) {
      CHECK(result.sqlstate() == "22012");
    } else {
      CHECK(result.value() == std::to_string(2 * i));
    }
    CHECK(client.next_result().get() == nullptr);
    CHECK(client.next_result().status() == PGRES_PIPELINE_SYNC);
  }
  CHECK(PQexitPipelineMode(client.get()) == 1);
  CHECK(client.value("SELECT 1") == "1");
}

TEST_CASE("large objects by function calls") {
  BezelProcess bezel({.settings = {{"default_pool_size", "1"}}});
  PgConnection client = bezel.connect();
  client.run("BEGIN");
  constexpr int kWrite = 0x20000, kRead = 0x40000;  // INV_WRITE and INV_READ of libpq-fs.h
  const Oid object = lo_creat(client.get(), kRead | kWrite);
  REQUIRE(object != InvalidOid);
  const int fd = lo_open(client.get(), object, kRead | kWrite);
  const std::string written(300'000, 'L');
  CHECK(lo_write(client.get(), fd, written.data(), written.size()) == static_cast<int>(written.size()));
  CHECK(lo_lseek(client.get(), fd, 0, SEEK_SET) == 0);
  std::string got(written.size(), '\0');
  CHECK(lo_read(client.get(), fd, got.data(), got.size()) == static_cast<int>(got.size()));
  CHECK(got == written);
  CHECK(lo_unlink(client.get(), object) == 1);
  client.run("COMMIT");
}

TEST_CASE("server_round_robin uses all servers, and the default the last one") {
  for (const bool round_robin : {false, true}) {
    BezelProcess bezel({.settings = {{"default_pool_size", "3"}, {"server_round_robin", round_robin ? "1" : "0"}}});
    std::vector<PgConnection> holders;
    for (int i = 0; i < 3; i++) {
      holders.push_back(bezel.connect());
      holders.back().run("BEGIN");
    }
    for (PgConnection& holder : holders) holder.run("COMMIT");
    PgConnection client = bezel.connect();
    std::set<std::string> backends;
    for (int i = 0; i < 6; i++) backends.insert(backend_of(client));
    CHECK(backends.size() == (round_robin ? 3 : 1));
  }
}

TEST_CASE("disable_pqexec refuses the simple protocol") {
  BezelProcess bezel({.settings = {{"disable_pqexec", "1"}}});
  PgConnection client = bezel.connect();
  CHECK(client.exec_params("SELECT $1::int", {"5"}).value() == "5");
  CHECK_FALSE(client.exec("SELECT 1").ok());
  CHECK(client.error().find("PQexec disallowed") != std::string::npos);
}

TEST_CASE("Unix sockets on both sides") {
  PostgresServer& server = PostgresServer::shared();
  const TemporaryFolder sockets;
  BezelProcess bezel(
      {.settings = {{"unix_socket_dir", sockets.path()}, {"unix_socket_mode", "0700"}},
       .databases = {{"app", "host=" + server.socket_folder() + " port=" + std::to_string(server.port())}}});
  PgConnection client("host=" + sockets.path() + " port=" + std::to_string(bezel.port()) +
                      " user=app password=app-secret dbname=app");
  REQUIRE_MESSAGE(client.connected(), client.error());
  CHECK(client.value("SELECT inet_client_addr() IS NULL") == "t");
}

TEST_CASE("several hosts, one of them down") {
  PostgresServer& server = PostgresServer::shared();
  const std::string nobody = std::to_string(server.port() + 5000);
  for (const char* balance : {"round-robin", "disable"}) {
    BezelProcess bezel(
        {.settings = {{"server_login_retry", "50ms"}, {"default_pool_size", "4"}},
         .databases = {{"app", "host=" + server.address() + "," + server.address() + " port=" + nobody + "," +
                                   std::to_string(server.port()) + " load_balance_hosts=" + balance}}});
    std::vector<PgConnection> clients;
    for (int i = 0; i < 4; i++) {
      clients.push_back(bezel.connect());
      clients.back().run("BEGIN");
    }
    for (PgConnection& client : clients) client.run("COMMIT");
    CHECK(clients.front().value("SELECT 1") == "1");
  }
}
