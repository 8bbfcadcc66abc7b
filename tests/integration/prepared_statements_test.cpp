// Named prepared statements in transaction mode.

#include <doctest/doctest.h>

#include <string>
#include <thread>
#include <vector>

#include "integration/bezel_process.h"
#include "integration/postgres_server.h"

using namespace bezel::integration;

TEST_CASE("they work on whichever server a client gets") {
  BezelProcess bezel({.settings = {{"default_pool_size", "3"}}});
  PgConnection client = bezel.connect();
  CHECK(client.prepare("plus", "SELECT $1::int + 1").ok());
  std::vector<PgConnection> others;
  for (int i = 0; i < 2; i++) {
    others.push_back(bezel.connect());
    others.back().run("BEGIN");  // takes the server that was used last
    CHECK(client.exec_prepared("plus", {std::to_string(i)}).value() == std::to_string(i + 1));
  }
  CHECK(client.exec("DEALLOCATE ALL").ok());
  CHECK(client.exec_prepared("plus", {"1"}).sqlstate() == "26000");
}

TEST_CASE("clients may use the same name for different statements, and share the same one") {
  BezelProcess bezel({.settings = {{"default_pool_size", "1"}}});
  std::vector<PgConnection> clients;
  for (int i = 0; i < 10; i++) {
    clients.push_back(bezel.connect());
    CHECK(clients.back().prepare("s", "SELECT " + std::to_string(i % 3)).ok());
  }
  for (int i = 0; i < 10; i++) CHECK(clients[i].exec_prepared("s").value() == std::to_string(i % 3));
  CHECK(clients[0].value("SELECT count(*) FROM pg_prepared_statements") == "3");
}

TEST_CASE("a server holds max_prepared_statements of them, the least recently used ones go") {
  BezelProcess bezel({.settings = {{"default_pool_size", "2"}, {"max_prepared_statements", "5"}}});
  PgConnection client = bezel.connect();
  constexpr int kStatements = 40;
  for (int i = 0; i < kStatements; i++) {
    REQUIRE(client.prepare("s" + std::to_string(i), "SELECT $1::int + " + std::to_string(i)).ok());
  }
  for (int round = 0; round < 3; round++) {
    for (int i = 0; i < kStatements; i++) {
      CHECK(client.exec_prepared("s" + std::to_string(i), {"1"}).value() == std::to_string(i + 1));
    }
  }
  CHECK(std::stoi(client.value("SELECT count(*) FROM pg_prepared_statements")) <= 6);
}

TEST_CASE("many clients, many statements, few servers, little room") {
  BezelProcess bezel({.settings = {{"default_pool_size", "3"}, {"max_prepared_statements", "7"}}});
  constexpr int kClients = 8;
  std::vector<std::string> faults(kClients);
  std::vector<std::thread> threads;
  for (int c = 0; c < kClients; c++) {
    threads.emplace_back([&, c] {
      PgConnection client(bezel.conninfo());
      for (int i = 0; i < 200; i++) {
        const std::string name = "s" + std::to_string((i * 7 + c) % 13);
        const int constant = (i * 7 + c) % 13 * 100 + c % 3;
        if (i < 13) client.prepare(name, "SELECT $1::int + " + std::to_string(constant));
        const PgResult result = client.exec_prepared(name, {"1"});
        if (result.value() != std::to_string(constant + 1)) faults[c] += name + ": " + client.error() + result.value();
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  for (const std::string& fault : faults) CHECK(fault == "");
}

TEST_CASE("max_prepared_statements 0: they are the server's own affair") {
  BezelProcess bezel({.settings = {{"default_pool_size", "1"}, {"max_prepared_statements", "0"}}});
  PgConnection client = bezel.connect();
  CHECK(client.prepare("own", "SELECT 1").ok());
  CHECK(client.value("SELECT name FROM pg_prepared_statements") == "own");
}

TEST_CASE("a statement is described where it was not prepared (Supavisor#1174)") {
  BezelProcess bezel({.settings = {{"default_pool_size", "2"}}});
  PgConnection client = bezel.connect(), other = bezel.connect();
  REQUIRE(client.prepare("mine", "SELECT $1::int AS number").ok());
  const std::string first = client.value("SELECT pg_backend_pid()");
  // The server that has it is taken: what is next runs on another.
  other.run("BEGIN");
  if (other.value("SELECT pg_backend_pid()") != first) {
    other.run("ROLLBACK");
    client.run("BEGIN");
    other.run("BEGIN");
    client.run("ROLLBACK");
  }
  const PgResult described(PQdescribePrepared(client.get(), "mine"));
  CHECK(described.ok());
  CHECK(PQnparams(described.get()) == 1);
  CHECK(std::string(PQfname(described.get(), 0)) == "number");
  CHECK(client.value("SELECT pg_backend_pid()") != other.value("SELECT pg_backend_pid()"));
}

TEST_CASE("a Parse that fails leaves no name behind (Supavisor#1175)") {
  BezelProcess bezel;
  PgConnection client = bezel.connect();
  CHECK(client.prepare("mine", "SELECT nonesuch").sqlstate() == "42703");
  CHECK(client.exec_prepared("mine").sqlstate() == "26000");
  CHECK(client.prepare("mine", "SELECT 'second'").ok());
  CHECK(client.exec_prepared("mine").value() == "second");
}

TEST_CASE("errors speak of the client's names") {
  BezelProcess bezel;
  PgConnection client = bezel.connect();
  CHECK(client.prepare("mine", "SELECT $1::int").ok());
  CHECK(client.exec_prepared("mine").message() ==
        "bind message supplies 0 parameters, but prepared statement \"mine\" requires 1");
  CHECK(client.prepare("mine", "SELECT 2").message() == "prepared statement \"mine\" already exists");
}
