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
