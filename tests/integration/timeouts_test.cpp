// Every timeout: what it ends, what it says, and what it leaves alone.

#include <doctest/doctest.h>

#include <string>
#include <thread>
#include <vector>

#include "integration/bezel_process.h"
#include "integration/fake_server.h"
#include "integration/loopback.h"
#include "integration/postgres_server.h"
#include "integration/raw_client.h"
#include "integration/waiting.h"

using namespace bezel::integration;

namespace {

/// Waits for the end that the pooler makes of a client; what it was told.
std::string end_of(PgConnection& client) {
  wait_until("the pooler ends the client",
             [&] { return PQconsumeInput(client.get()) == 0 || PQstatus(client.get()) == CONNECTION_BAD; });
  const PgResult last = client.exec("SELECT 1");
  CHECK_FALSE(last.ok());
  return client.complaints();
}

bool has(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

int backends_in_transactions() {
  return std::stoi(PostgresServer::shared().observer().value(
      "SELECT count(*) FROM pg_stat_activity WHERE usename = 'app' AND state <> 'idle'"));
}

}  // namespace

TEST_CASE("query_wait_timeout") {
  BezelProcess bezel({.settings = {{"default_pool_size", "1"}, {"query_wait_timeout", "300ms"}}});
  PgConnection holder = bezel.connect(), waiting = bezel.connect();
  holder.run("BEGIN");
  CHECK_FALSE(waiting.exec("SELECT 1").ok());
  CHECK(has(waiting.error(), "query_wait_timeout"));
  CHECK(PQstatus(waiting.get()) == CONNECTION_BAD);
  CHECK(holder.value("SELECT 'still here'") == "still here");
  CHECK(bezel.log().find("query_wait_timeout") != std::string::npos);
}

TEST_CASE("query_wait_notify") {
  BezelProcess bezel({.settings = {{"default_pool_size", "1"}, {"query_wait_notify", "100ms"}}});
  PgConnection holder = bezel.connect(), waiting = bezel.connect();
  holder.run("BEGIN");
  waiting.send("SELECT 'served'");
  wait_until("there is a notice", [&] {
    PQconsumeInput(waiting.get());
    PQisBusy(waiting.get());
    return !waiting.notices().empty();
  });
  holder.run("COMMIT");
  CHECK(waiting.last_result().value() == "served");
  CHECK(waiting.notices().size() == 1);
  CHECK(has(waiting.notices().front(), "No server connection available"));
}

TEST_CASE("client_idle_timeout") {
  BezelProcess bezel({.settings = {{"client_idle_timeout", "400ms"}}});
  PgConnection idle = bezel.connect();
  PgConnection busy = bezel.connect();
  idle.run("SELECT 1");
  busy.send("SELECT pg_sleep(1), 'awake'");
  CHECK(has(end_of(idle), "client_idle_timeout"));
  CHECK(busy.last_result().value(0, 1) == "awake");
}

TEST_CASE("idle_transaction_timeout") {
  BezelProcess bezel({.settings = {{"idle_transaction_timeout", "400ms"}, {"default_pool_size", "2"}}});
  PgConnection idle = bezel.connect(), outside = bezel.connect(), busy = bezel.connect();
  outside.run("SELECT 1");
  idle.run("BEGIN");
  busy.run("BEGIN");
  busy.send("SELECT pg_sleep(1), 'awake'");
  CHECK(has(end_of(idle), "idle transaction timeout"));
  CHECK(busy.last_result().value(0, 1) == "awake");
  busy.run("COMMIT");
  CHECK(outside.value("SELECT 'fine'") == "fine");
  CHECK(backends_in_transactions() == 0);
}

TEST_CASE("query_timeout ends the query, not the idle") {
  BezelProcess bezel({.settings = {{"query_timeout", "500ms"}, {"default_pool_size", "2"}}});
  PgConnection slow = bezel.connect(), idle = bezel.connect();
  idle.run("BEGIN");
  slow.send("SELECT pg_sleep(60)");
  CHECK(has(end_of(slow), "query timeout"));
  CHECK(idle.value("SELECT 'fine'") == "fine");
  idle.run("COMMIT");
  wait_until("nothing runs at the server", [] { return backends_in_transactions() == 0; });
  for (int i = 0; i < 5; i++) {
    CHECK(idle.value("SELECT 'again'") == "again");
    std::this_thread::sleep_for(std::chrono::milliseconds(150));
  }
}

TEST_CASE("transaction_timeout") {
  BezelProcess bezel({.settings = {{"transaction_timeout", "500ms"}}});
  PgConnection client = bezel.connect(), other = bezel.connect();
  client.run("BEGIN");
  CHECK(has(end_of(client), "transaction timeout"));
  for (int i = 0; i < 6; i++) {
    CHECK(other.value("SELECT 'short ones go on'") != "");
    std::this_thread::sleep_for(std::chrono::milliseconds(100));
  }
  wait_until("the transaction is gone", [] { return backends_in_transactions() == 0; });
}

TEST_CASE("timeouts of single users") {
  PostgresServer::shared().create_user("patient", "patient-secret", "scram-sha-256");
  BezelProcess bezel({.settings = {{"idle_transaction_timeout", "300ms"}},
                      .users = {{"patient", "idle_transaction_timeout=5min"}},
                      .userlist = "\"app\" \"app-secret\"\n\"patient\" \"patient-secret\"\n"});
  PgConnection patient = bezel.connect_as("patient", "patient-secret"), hasty = bezel.connect();
  patient.run("BEGIN");
  hasty.run("BEGIN");
  CHECK(has(end_of(hasty), "idle transaction timeout"));
  CHECK(patient.value("SELECT 'still here'") == "still here");
}

TEST_CASE("client_login_timeout") {
  BezelProcess bezel({.settings = {{"client_login_timeout", "300ms"}}});
  RawClient silent(own_address(), bezel.port());
  RawClient half(own_address(), bezel.port());
  half.send(startup_packet("app", "app"));
  for (RawClient* client : {&silent, &half}) {
    const auto frames = client->read_to_end();
    REQUIRE_FALSE(frames.empty());
    CHECK(message_of(frames.back()) == "client_login_timeout");
  }
}

TEST_CASE("server_idle_timeout and server_lifetime") {
  for (const char* setting : {"server_idle_timeout", "server_lifetime"}) {
    BezelProcess bezel({.settings = {{setting, "300ms"}}});
    PgConnection client = bezel.connect();
    const std::string before = client.value("SELECT pg_backend_pid()");
    wait_until("the server is gone", [] { return PostgresServer::shared().backend_count("app") == 0; });
    CHECK(client.value("SELECT pg_backend_pid()") != before);
  }
}

TEST_CASE("server_lifetime does not end a transaction") {
  BezelProcess bezel({.settings = {{"server_lifetime", "200ms"}}});
  PgConnection client = bezel.connect();
  client.run("BEGIN");
  const std::string before = client.value("SELECT pg_backend_pid()");
  client.run("SELECT pg_sleep(0.5)");
  CHECK(client.value("SELECT pg_backend_pid()") == before);
  client.run("COMMIT");
  CHECK(client.value("SELECT pg_backend_pid()") != before);
}

TEST_CASE("server_connect_timeout against a server that is silent, and server_login_retry") {
  FakeServer silent([](RawClient& peer) {
    FakeServer::read_startup(peer);
    peer.read_to_end();
  });
  BezelProcess bezel({.settings = {{"server_connect_timeout", "200ms"},
                                   {"server_login_retry", "100ms"},
                                   {"query_wait_timeout", "1500ms"}},
                      .databases = {{"app", silent.database()}}});
  RawClient client(own_address(), bezel.port());
  const auto frames = client.log_in("app", "app-secret", "app");
  REQUIRE_FALSE(frames.empty());
  CHECK(frames.back().type == 'E');
  CHECK(silent.connection_count() >= 2);
  CHECK(has(bezel.log(), "connect timeout"));
}

TEST_CASE("server_login_retry: who waits is served once the server is back") {
  std::atomic<bool> broken{true};
  FakeServer server([&](RawClient& peer) {
    if (broken) return;  // closes the connection
    if (FakeServer::log_in(peer)) FakeServer::answer_queries(peer, "back");
  });
  BezelProcess bezel({.settings = {{"server_login_retry", "100ms"}}, .databases = {{"app", server.database()}}});
  std::thread repair([&] {
    while (server.connection_count() < 3) std::this_thread::sleep_for(std::chrono::milliseconds(5));
    broken = false;
  });
  PgConnection client(bezel.conninfo());
  repair.join();
  REQUIRE_MESSAGE(client.connected(), client.error());
  CHECK(client.value("SELECT 1") == "back");
}

TEST_CASE("server_check_query finds dead servers before a client does") {
  for (const char* query : {"\"<empty>\"", "SELECT 1"}) {
    BezelProcess bezel(
        {.settings = {{"server_check_delay", "1ms"}, {"server_check_query", query}, {"default_pool_size", "1"}}});
    PgConnection client = bezel.connect();
    client.run("SELECT 1");
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
    CHECK(client.value("SELECT 'checked'") == "checked");
  }
}

TEST_CASE("a server that does not answer its check is replaced") {
  std::atomic<int> alive{0};
  FakeServer server([&](RawClient& peer) {
    if (!FakeServer::log_in(peer)) return;
    const bool answers = alive++ > 0;
    while (const auto frame = peer.read_frame()) {
      if (frame->type != 'Q') continue;
      if (!answers && frame->body.find("check") != std::string::npos) return;  // dies of it
      peer.send(frame_bytes('C', std::string("SELECT 0\0", 9)) + frame_bytes('Z', "I"));
    }
  });
  BezelProcess bezel({.settings = {{"server_check_delay", "1ms"}, {"server_check_query", "SELECT 'check'"}},
                      .databases = {{"app", server.database()}}});
  PgConnection client = bezel.connect();
  for (int i = 0; i < 3; i++) {
    CHECK(client.exec("SELECT 1").ok());
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
  }
  CHECK(alive >= 2);
}
