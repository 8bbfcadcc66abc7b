// Clients that vanish and servers that die, at every bad moment.

#include <doctest/doctest.h>

#include <functional>
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

PgConnection& observer() {
  return PostgresServer::shared().observer();
}

void empty_table() {
  PgConnection owner = PostgresServer::shared().superuser();
  owner.run("DROP TABLE IF EXISTS work; CREATE TABLE work (a int); GRANT ALL ON work TO app");
}

/// That nobody's work is left at the server, and that the pool goes on.
void check_nothing_left(const BezelProcess& bezel) {
  wait_until("no backend is in a transaction", [] {
    return observer().value("SELECT count(*) FROM pg_stat_activity WHERE usename = 'app' AND state <> 'idle'") == "0";
  });
  CHECK(observer().value("SELECT count(*) FROM pg_locks l JOIN pg_stat_activity a USING (pid) "
                         "WHERE a.usename = 'app' AND a.state = 'idle'") == "0");
  PgConnection next = bezel.connect();
  CHECK(next.value("SELECT count(*) FROM work") == "0");
  CHECK(next.value("SELECT pg_current_xact_id_if_assigned() IS NULL") == "t");
}

}  // namespace

TEST_CASE("a client vanishes") {
  empty_table();
  BezelProcess bezel({.settings = {{"default_pool_size", "1"}}});
  const Messages insert_in_transaction = Messages().query("BEGIN").query("INSERT INTO work VALUES (1)");
  struct Moment {
    const char* name;
    std::string bytes;
    std::string until;  // frames to wait for before it goes
  };
  const Messages copy = Messages().query("COPY work FROM STDIN");
  const std::string parse = Messages().parse("s", "INSERT INTO work VALUES (2)").bind("", "s").execute().bytes();
  const std::vector<Moment> moments = {
      {"idle in a transaction", insert_in_transaction.bytes(), "ZZ"},
      {"in a failed transaction", Messages(insert_in_transaction).query("SELECT 1/0").bytes(), "ZZZ"},
      {"in the middle of a query", Messages(insert_in_transaction).query("SELECT pg_sleep(60)").bytes(), "ZZ"},
      {"in the middle of a long answer",
       Messages(insert_in_transaction).query("SELECT repeat('x', 1000) FROM generate_series(1, 1000000)").bytes(),
       "ZZT"},
      {"in the middle of COPY IN", Messages(copy).copy_data("1\n").bytes(), "G"},
      {"in the middle of CopyData", Messages(copy).copy_data("1\n").bytes() + "d" + int32_bytes(1000) + "1\n2", "G"},
      {"in the middle of COPY OUT",
       Messages(insert_in_transaction)
           .query("COPY (SELECT repeat('x', 1000) FROM generate_series(1, 1000000)) TO STDOUT")
           .bytes(),
       "ZZH"},
      {"in the middle of a Query message", insert_in_transaction.bytes() + "Q" + int32_bytes(5000) + "SELECT", "ZZ"},
      {"in the middle of a header", insert_in_transaction.bytes() + std::string("Q\0\0", 3), "ZZ"},
      {"in the middle of a Bind",
       Messages().query("BEGIN").parse("", "SELECT $1").bytes() + "B" + int32_bytes(5000) + std::string("\0\0\0\0", 4),
       "Z"},
      {"without Sync", parse, ""},
      {"without Sync, after Flush", parse + Messages().flush().bytes(), "12C"},
      {"after an error, without Sync", Messages().parse("", "SELEC").flush().bytes(), "E"},
  };
  for (const Moment& moment : moments) {
    for (const bool reset : {false, true}) {
      INFO(std::string(moment.name));
      CAPTURE(reset);
      {
        RawClient client(own_address(), bezel.port());
        REQUIRE(client.log_in("app", "app-secret", "app").back().type == 'Z');
        client.send(moment.bytes);
        for (const char type : moment.until) client.read_until(type);
        if (reset) client.reset();
      }
      check_nothing_left(bezel);
    }
  }
}

TEST_CASE("Terminate in a transaction rolls it back") {
  empty_table();
  BezelProcess bezel({.settings = {{"default_pool_size", "1"}}});
  std::string backend;
  {
    PgConnection client = bezel.connect();
    client.run("BEGIN; INSERT INTO work VALUES (1)");
    backend = client.value("SELECT pg_backend_pid()");
  }
  check_nothing_left(bezel);
}

TEST_CASE("clients vanish while they wait") {
  empty_table();
  BezelProcess bezel({.settings = {{"default_pool_size", "1"}}});
  PgConnection holder = bezel.connect();
  holder.run("BEGIN");
  for (int i = 0; i < 20; i++) {
    PgConnection client = bezel.connect();
    client.send("INSERT INTO work VALUES (3)");
  }
  wait_until("they are gone", [&] {
    return bezel.show("POOLS", "cl_waiting", "database", "app") == "0" &&
           bezel.show("POOLS", "cl_active", "database", "app") == "1";
  });
  holder.run("COMMIT");
  check_nothing_left(bezel);
}

TEST_CASE("idle servers that were terminated are never handed out") {
  BezelProcess bezel({.settings = {{"default_pool_size", "3"}}});
  for (int round = 0; round < 20; round++) {
    std::vector<PgConnection> clients;
    for (int i = 0; i < 3; i++) {
      clients.push_back(bezel.connect());
      clients.back().run("BEGIN");
    }
    for (PgConnection& client : clients) client.run("COMMIT");
    // pg_terminate_backend with a timeout returns when the backend is gone: its FATAL and FIN are on their way then.
    observer().run("SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE usename = 'app'");
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
    for (PgConnection& client : clients) CHECK(client.value("SELECT 'first query'") == "first query");
  }
}

TEST_CASE("a server that is terminated at work leaves its client in doubt, and connected") {
  BezelProcess bezel({.settings = {{"default_pool_size", "1"}}});
  PgConnection busy = bezel.connect(), other = bezel.connect();
  other.run("SELECT 1");
  busy.send("SELECT pg_sleep(60)");
  wait_until("the query runs", [] {
    return observer().value(
               "SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%pg_sleep(60)%' AND state = 'active' AND "
               "usename = 'app'") == "1";
  });
  observer().run("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'app'");
  CHECK(busy.last_result().sqlstate() == "08007");
  CHECK(busy.value("SELECT 'as well'") == "as well");
  CHECK(other.value("SELECT 'fine'") == "fine");
}

TEST_CASE("a server dies inside a transaction") {
  BezelProcess bezel({.settings = {{"default_pool_size", "1"}}});
  PgConnection client = bezel.connect();
  client.run("BEGIN");
  observer().run("SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE usename = 'app'");
  CHECK(client.exec("SELECT 1").sqlstate() == "57P01");
  CHECK(client.exec("SELECT 1").sqlstate() == "25P02");
  CHECK(client.exec("COMMIT").command_tag() == "ROLLBACK");
  CHECK(client.value("SELECT 'fine'") == "fine");
}

TEST_CASE("PostgreSQL restarts under idle clients, who notice nothing") {
  PostgresServer server;
  BezelProcess bezel({.settings = {{"server_login_retry", "50ms"}}, .databases = {{"app", database_at(server)}}});
  std::vector<PgConnection> clients;
  for (int i = 0; i < 5; i++) {
    clients.push_back(bezel.connect());
    clients.back().prepare("s", "SELECT $1::int + 1");
    CHECK(clients.back().exec_prepared("s", {"1"}).value() == "2");
  }
  server.stop();
  clients[0].send("SELECT 'waited'");
  server.start();
  CHECK_MESSAGE(clients[0].last_result().value() == "waited", clients[0].complaints());
  for (int i = 1; i < 5; i++) CHECK(clients[i].exec_prepared("s", {"5"}).value() == "6");
  server.kill();
  clients[1].send("SELECT 'waited again'");
  server.start();
  CHECK_MESSAGE(clients[1].last_result().value() == "waited again", clients[1].complaints());
  CHECK(clients[2].exec_prepared("s", {"7"}).value() == "8");
}

TEST_CASE("the first login after a restart, with keys of SCRAM only") {
  PostgresServer server;
  BezelProcess bezel({.settings = {{"server_login_retry", "50ms"}},
                      .databases = {{"app", database_at(server)}},
                      .userlist = "\"app\" \"" + server.stored_secret("app") + "\"\n"});
  CHECK(bezel.connect().value("SELECT 1") == "1");
  server.stop();
  server.start();
  CHECK(bezel.connect().value("SELECT 2") == "2");
}
