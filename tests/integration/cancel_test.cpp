// Cancel requests: to whom they go, and to whom never.

#include <doctest/doctest.h>

#include <atomic>
#include <random>
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

/// Sends a CancelRequest and waits until the connection is closed, as libpq does.
void request_cancel(const BezelProcess& bezel, const std::string& key) {
  RawClient request(own_address(), bezel.port());
  request.send(int32_bytes(static_cast<uint32_t>(8 + key.size())) + int32_bytes(80877102) + key);
  CHECK(request.read_to_end().empty());
}

bool runs_at_server(const std::string& query) {
  return PostgresServer::shared().observer().value(
             "SELECT count(*) FROM pg_stat_activity WHERE usename = 'app' AND state = 'active' AND query LIKE '%" +
             query + "%'") != "0";
}

}  // namespace

TEST_CASE("the right key cancels, in protocol 3.0 and 3.2") {
  BezelProcess bezel;
  for (const uint16_t minor : {0, 2}) {
    RawClient client(own_address(), bezel.port());
    REQUIRE(client.log_in("app", "app-secret", "app", minor).back().type == 'Z');
    CHECK(client.cancel_key().size() == (minor == 0 ? 8 : 36));
    client.send(Messages().query("SELECT pg_sleep(60)").bytes());
    wait_until("it runs", [] { return runs_at_server("pg_sleep(60)"); });
    request_cancel(bezel, client.cancel_key());
    const auto frames = client.read_until('Z');
    REQUIRE(frames.size() >= 2);
    CHECK(sqlstate_of(frames[frames.size() - 2]) == "57014");
    client.send(Messages().query("SELECT 1").bytes());
    CHECK(client.read_until('Z').size() == 4);
  }
}

TEST_CASE("wrong keys cancel nothing") {
  BezelProcess bezel;
  RawClient client(own_address(), bezel.port());
  REQUIRE(client.log_in("app", "app-secret", "app", 2).back().type == 'Z');
  const std::string key = client.cancel_key();
  client.send(Messages().query("SELECT pg_sleep(1), 'through'").bytes());
  wait_until("it runs", [] { return runs_at_server("through"); });
  std::vector<std::string> wrong;
  for (size_t i = 4; i < key.size(); i += 7) {
    wrong.push_back(key);
    wrong.back()[i] = static_cast<char>(wrong.back()[i] ^ 1);
  }
  wrong.push_back(key.substr(0, 8));  // its beginning
  wrong.push_back(key + "x");         // and more
  wrong.push_back(key.substr(0, 4) + std::string(32, '\0'));
  wrong.push_back(key.substr(0, 4) + std::string(256, 'x'));
  std::string other_process = key;
  other_process[3] = static_cast<char>(other_process[3] + 1);
  wrong.push_back(other_process);
  for (const std::string& one : wrong) request_cancel(bezel, one);
  const auto frames = client.read_until('Z');
  CHECK(frames.size() == 4);
  CHECK(readable(frames[1]).find("through") != std::string::npos);
}

TEST_CASE("the server's own key is never given to a client (pgagroal's cancel)") {
  BezelProcess bezel({.settings = {{"default_pool_size", "1"}}});
  PgConnection client = bezel.connect();
  CHECK(std::to_string(client.server_pid()) != client.value("SELECT pg_backend_pid()"));
}

TEST_CASE("by libpq") {
  BezelProcess bezel;
  PgConnection client = bezel.connect();
  for (int i = 0; i < 3; i++) {
    client.send("SELECT pg_sleep(60)");
    wait_until("it runs", [] { return runs_at_server("pg_sleep(60)"); });
    PGcancel* cancel = PQgetCancel(client.get());
    char error[256];
    CHECK(PQcancel(cancel, error, sizeof error) == 1);
    PQfreeCancel(cancel);
    CHECK(client.last_result().sqlstate() == "57014");
  }
  CHECK(client.value("SELECT 1") == "1");
}

TEST_CASE("a client that waits is cancelled without a server") {
  BezelProcess bezel({.settings = {{"default_pool_size", "1"}}});
  PgConnection holder = bezel.connect();
  holder.run("BEGIN");
  for (const bool extended : {false, true}) {
    RawClient waiting(own_address(), bezel.port());
    REQUIRE(waiting.log_in("app", "app-secret", "app").back().type == 'Z');
    waiting.send(extended ? Messages().parse("", "SELECT 1").bind("", "").execute().sync().bytes()
                          : Messages().query("SELECT 1").bytes());
    wait_until("it waits", [&] { return bezel.show("POOLS", "cl_waiting", "database", "app") == "1"; });
    request_cancel(bezel, waiting.cancel_key());
    const auto frames = waiting.read_until('Z');
    REQUIRE(frames.size() == 2);
    CHECK(sqlstate_of(frames[0]) == "57014");
    waiting.send(Messages().query("SELECT 2").bytes());
    wait_until("it waits again", [&] { return bezel.show("POOLS", "cl_waiting", "database", "app") == "1"; });
  }
  holder.run("COMMIT");
}

TEST_CASE("a cancel of a client that has nothing running reaches nobody") {
  BezelProcess bezel({.settings = {{"default_pool_size", "1"}}});
  RawClient idle(own_address(), bezel.port());
  REQUIRE(idle.log_in("app", "app-secret", "app").back().type == 'Z');
  idle.send(Messages().query("SELECT 1").bytes());
  idle.read_until('Z');
  PgConnection busy = bezel.connect();
  busy.send("SELECT pg_sleep(0.5), 'through'");
  wait_until("it runs", [] { return runs_at_server("through"); });
  request_cancel(bezel, idle.cancel_key());
  CHECK(busy.last_result().value(0, 1) == "through");
}

TEST_CASE("random cancels never reach another client of the same server") {
  BezelProcess bezel({.settings = {{"default_pool_size", "1"}, {"log_level", "info"}}});
  constexpr int kRounds = 2000;
  std::atomic<bool> done{false};
  std::atomic<int> victim_errors{0}, victim_queries{0};
  std::thread victim([&] {
    PgConnection client(bezel.conninfo());
    while (!done) {
      if (client.exec("SELECT pg_sleep(0.0005)").rows() != 1) victim_errors++;
      victim_queries++;
    }
  });
  RawClient client(own_address(), bezel.port());
  REQUIRE(client.log_in("app", "app-secret", "app").back().type == 'Z');
  std::mt19937 random(7);
  int cancelled = 0;
  for (int i = 0; i < kRounds; i++) {
    client.send(Messages().query("SELECT pg_sleep(0.0005)").bytes());
    std::this_thread::sleep_for(std::chrono::microseconds(random() % 1500));
    RawClient request(own_address(), bezel.port());
    request.send(int32_bytes(16) + int32_bytes(80877102) + client.cancel_key());
    if (random() % 2 == 0) request.read_to_end();
    for (const Frame& frame : client.read_until('Z')) {
      if (frame.type == 'E') cancelled += sqlstate_of(frame) == "57014" ? 1 : kRounds;
    }
  }
  done = true;
  victim.join();
  CHECK(victim_errors == 0);
  CHECK(victim_queries > 100);
  CHECK(cancelled > 0);
  CHECK(cancelled < kRounds);
}

TEST_CASE("a storm of cancels does not keep others from working") {
  BezelProcess bezel({.settings = {{"default_pool_size", "2"}, {"log_level", "info"}}});
  RawClient client(own_address(), bezel.port());
  REQUIRE(client.log_in("app", "app-secret", "app").back().type == 'Z');
  client.send(Messages().query("SELECT pg_sleep(60)").bytes());
  wait_until("it runs", [] { return runs_at_server("pg_sleep(60)"); });
  std::vector<RawClient> requests;
  for (int i = 0; i < 300; i++) {
    requests.emplace_back(own_address(), bezel.port());
    requests.back().send(int32_bytes(16) + int32_bytes(80877102) + client.cancel_key());
  }
  PgConnection other = bezel.connect();
  for (int i = 0; i < 20; i++) CHECK(other.value("SELECT " + std::to_string(i)) == std::to_string(i));
  for (RawClient& request : requests) CHECK(request.read_to_end().empty());
  client.read_until('Z');
  client.send(Messages().query("SELECT 1").bytes());
  CHECK(client.read_until('Z').size() == 4);
  CHECK(bezel.show("LISTS", "items", "list", "free_servers") != "");
}
