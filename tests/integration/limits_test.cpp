// How many servers and clients there may be.

#include <doctest/doctest.h>
#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <string>
#include <thread>
#include <vector>

#include "integration/bezel_process.h"
#include "integration/loopback.h"
#include "integration/postgres_server.h"
#include "integration/raw_client.h"
#include "integration/waiting.h"

using namespace bezel::integration;

namespace {

constexpr const char* kUserlist =
    "\"app\" \"app-secret\"\n\"one\" \"one-secret\"\n\"two\" \"two-secret\"\n\"three\" \"three-secret\"\n"
    "\"admin\" \"admin-secret\"\n";

void make_users() {
  static const bool made = [] {
    for (const char* user : {"one", "two", "three"}) {
      PostgresServer::shared().create_user(user, std::string(user) + "-secret", "scram-sha-256");
    }
    return true;
  }();
  CHECK(made);
}

/// Looks again and again, until it is stopped, how many backends there are.
class BackendWatch {
 public:
  /// `which`: further conditions on pg_stat_activity.
  explicit BackendWatch(std::string which) : which_(std::move(which)) {
    thread_ = std::thread([this] {
      PgConnection observer = PostgresServer::shared().superuser("postgres");
      while (!stop_) {
        const int count = std::stoi(observer.value(fmt::format(
            "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend' AND usename <> 'postgres' "
            "AND {}",
            which_)));
        most_ = std::max(most_.load(), count);
        looks_++;
      }
    });
  }
  int stop() {
    stop_ = true;
    thread_.join();
    CHECK(looks_ > 0);
    return most_;
  }

 private:
  std::string which_;
  std::atomic<bool> stop_{false};
  std::atomic<int> most_{0};
  std::atomic<int> looks_{0};
  std::thread thread_;
};

/// Runs short transactions on that many connections at once; the number of those that went wrong.
int run_load(const BezelProcess& bezel, int clients, int transactions, const std::vector<std::string>& users) {
  std::atomic<int> faults{0};
  std::vector<std::thread> threads;
  for (int c = 0; c < clients; c++) {
    threads.emplace_back([&, c] {
      const std::string& user = users[static_cast<size_t>(c) % users.size()];
      PgConnection client(bezel.conninfo("", user, user + "-secret"));
      for (int i = 0; i < transactions; i++) {
        if (!client.exec("BEGIN").ok() || client.exec("SELECT pg_sleep(0.002)").rows() != 1 ||
            !client.exec("COMMIT").ok()) {
          faults++;
        }
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  return faults;
}

/// The last frame of a login.
std::string login_ends_with(const BezelProcess& bezel, const std::string& user = "app") {
  RawClient client(own_address(), bezel.port());
  const auto frames = client.log_in(user, user + "-secret", "app");
  return frames.empty() ? "nothing" : readable(frames.back());
}

}  // namespace

TEST_CASE("default_pool_size is exact under load") {
  BezelProcess bezel({.settings = {{"default_pool_size", "5"}}});
  BackendWatch watch("usename = 'app'");
  CHECK(run_load(bezel, 30, 40, {"app"}) == 0);
  CHECK(watch.stop() == 5);
}

TEST_CASE("a pool fills in a moment") {
  BezelProcess bezel({.settings = {{"default_pool_size", "20"}}});
  std::vector<PgConnection> clients;
  for (int i = 0; i < 20; i++) {
    clients.push_back(bezel.connect());
    clients.back().send("BEGIN");
  }
  for (PgConnection& client : clients) CHECK(client.last_result().ok());
  CHECK(PostgresServer::shared().backend_count("app") == 20);
}

TEST_CASE("the reserve is used when clients have waited long enough") {
  BezelProcess bezel(
      {.settings = {{"default_pool_size", "1"}, {"reserve_pool_size", "1"}, {"reserve_pool_timeout", "200ms"}}});
  PgConnection first = bezel.connect(), second = bezel.connect(), third = bezel.connect();
  first.run("BEGIN");
  CHECK(second.exec("BEGIN").ok());  // by the reserve: nobody else could serve it
  third.send("SELECT 1");
  wait_until("the third client waits", [&] { return bezel.show("POOLS", "cl_waiting", "database", "app") == "1"; });
  CHECK(PostgresServer::shared().backend_count("app") == 2);
  first.run("COMMIT");
  CHECK(third.last_result().value() == "1");
}

TEST_CASE("without reserve_pool_timeout the reserve is never used") {
  BezelProcess bezel({.settings = {{"default_pool_size", "1"},
                                   {"reserve_pool_size", "1"},
                                   {"reserve_pool_timeout", "0"},
                                   {"query_wait_timeout", "500ms"}}});
  PgConnection first = bezel.connect(), second = bezel.connect();
  first.run("BEGIN");
  CHECK_FALSE(second.exec("BEGIN").ok());
  CHECK(PostgresServer::shared().backend_count("app") == 1);
}

TEST_CASE("max_db_connections is exact over several users, and idle servers make room") {
  make_users();
  BezelProcess bezel({.settings = {{"default_pool_size", "4"}, {"max_db_connections", "5"}}, .userlist = kUserlist});
  // A backend that has been told to go may be there a little longer than its connection: it is idle.
  BackendWatch watch("state <> 'idle'");
  CHECK(run_load(bezel, 24, 12, {"one", "two", "three"}) == 0);
  CHECK(watch.stop() <= 5);
  // All five belong to two users now; the third one gets room.
  std::vector<PgConnection> holders;
  for (const char* user : {"one", "one", "one", "two", "two"}) {
    holders.push_back(bezel.connect_as(user, std::string(user) + "-secret"));
    holders.back().run("BEGIN");
  }
  for (PgConnection& holder : holders) holder.run("COMMIT");
  CHECK(bezel.connect_as("three", "three-secret").value("SELECT 3") == "3");
  wait_until("who made room is gone", [] { return PostgresServer::shared().backend_count() <= 5; });
}

TEST_CASE("max_user_connections counts over databases") {
  make_users();
  BezelProcess bezel({.settings = {{"default_pool_size", "4"}},
                      .databases = {{"app", database_at(PostgresServer::shared())},
                                    {"other", database_at(PostgresServer::shared(), "dbname=app")}},
                      .users = {{"one", "max_user_connections=2"}},
                      .userlist = kUserlist});
  PgConnection first = bezel.connect_as("one", "one-secret"), second = bezel.connect_as("one", "one-secret", "other");
  first.run("BEGIN");
  second.run("BEGIN");
  PgConnection third(bezel.conninfo("", "one", "one-secret"));
  third.send("SELECT 'third'");
  wait_until("the third client waits", [&] { return bezel.show("POOLS", "cl_waiting", "database", "app") == "1"; });
  CHECK(PostgresServer::shared().backend_count("one") == 2);
  second.run("COMMIT");  // its server makes room in the other database
  CHECK(third.last_result().value() == "third");
  wait_until("who made room is gone", [] { return PostgresServer::shared().backend_count("one") == 2; });
}

TEST_CASE("max_client_conn") {
  BezelProcess bezel({.settings = {{"max_client_conn", "3"}}});
  std::vector<PgConnection> clients;
  for (int i = 0; i < 3; i++) clients.push_back(bezel.connect());
  CHECK(login_ends_with(bezel) == "E FATAL 53300 no more connections allowed (max_client_conn)");
  CHECK(bezel.show("LISTS", "items", "list", "used_clients") != "");  // the console is not for clients only
  clients.pop_back();
  wait_until("a place is free", [&] { return login_ends_with(bezel).front() == 'Z'; });
}

TEST_CASE("client limits of users and databases") {
  make_users();
  BezelProcess bezel({.settings = {{"max_user_client_connections", "2"}},
                      .databases = {{"app", database_at(PostgresServer::shared(), "max_db_client_connections=4")}},
                      .users = {{"two", "max_user_client_connections=9"}},
                      .userlist = kUserlist});
  std::vector<PgConnection> clients;
  for (const char* user : {"one", "one", "two", "two"}) {
    if (clients.size() == 2) {
      CHECK(login_ends_with(bezel, "one") == "E FATAL 53300 no more connections allowed (max_user_client_connections)");
    }
    clients.push_back(bezel.connect_as(user, std::string(user) + "-secret"));
  }
  CHECK(login_ends_with(bezel, "two") == "E FATAL 53300 no more connections allowed (max_db_client_connections)");
}

TEST_CASE("a limit of clients is told after the password was checked, and only then") {
  BezelProcess bezel({.settings = {{"max_client_conn", "1"}}});
  const PgConnection only = bezel.connect();
  RawClient client(own_address(), bezel.port());
  const auto frames = client.log_in("app", "wrong", "app");
  REQUIRE_FALSE(frames.empty());
  CHECK(sqlstate_of(frames.back()) == "28P01");
}

TEST_CASE("min_pool_size is kept") {
  BezelProcess bezel(
      {.settings = {{"server_idle_timeout", "300ms"}, {"log_level", "debug"}},
       .databases = {{"app", database_at(PostgresServer::shared(), "user=app password=app-secret min_pool_size=3")}}});
  wait_until("three servers are ready", [] { return PostgresServer::shared().backend_count("app") == 3; });
  PostgresServer::shared().observer().run(
      "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'app'");
  wait_until("they are back", [] { return PostgresServer::shared().backend_count("app") == 3; });
  // More than that go when they are idle.
  std::vector<PgConnection> clients;
  for (int i = 0; i < 6; i++) {
    clients.push_back(bezel.connect());
    clients.back().run("BEGIN");
  }
  CHECK(PostgresServer::shared().backend_count("app") == 6);
  for (PgConnection& client : clients) client.run("COMMIT");
  wait_until("the surplus has gone", [] { return PostgresServer::shared().backend_count("app") == 3; });
}

TEST_CASE("a reload changes limits at once") {
  BezelProcess bezel({.settings = {{"default_pool_size", "1"}}});
  PgConnection first = bezel.connect(), second = bezel.connect();
  first.run("BEGIN");
  second.send("SELECT 'second'");
  wait_until("the second client waits", [&] { return bezel.show("POOLS", "cl_waiting", "database", "app") == "1"; });
  bezel.write_configuration({.settings = {{"default_pool_size", "2"}}});
  bezel.console().run("RELOAD");
  CHECK(second.last_result().value() == "second");
  first.run("COMMIT");
}
