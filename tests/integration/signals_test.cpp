// Signals, as PgBouncer 1.25 takes them.

#include <doctest/doctest.h>

#include <csignal>
#include <string>

#include "integration/bezel_process.h"
#include "integration/postgres_server.h"
#include "integration/waiting.h"

using namespace bezel::integration;

namespace {

bool refuses(const BezelProcess& bezel) {
  return !PgConnection(bezel.conninfo()).connected();
}

}  // namespace

TEST_CASE("SIGINT: transactions end, then the process") {
  BezelProcess bezel;
  PgConnection busy = bezel.connect(), idle = bezel.connect();
  idle.run("SELECT 1");
  busy.run("BEGIN");
  bezel.process().signal(SIGINT);
  wait_until("new clients are refused", [&] { return refuses(bezel); });
  CHECK(busy.value("SELECT 'still'") == "still");
  CHECK_FALSE(idle.exec("SELECT 1").ok());
  busy.run("COMMIT");
  CHECK(bezel.process().wait_for_end() == 0);
}

TEST_CASE("SIGINT twice: at once") {
  BezelProcess bezel;
  PgConnection busy = bezel.connect();
  busy.run("BEGIN");
  bezel.process().signal(SIGINT);
  wait_until("new clients are refused", [&] { return refuses(bezel); });
  bezel.process().signal(SIGINT);
  CHECK(bezel.process().wait_for_end() == 0);
}

TEST_CASE("SIGTERM: waits for the clients") {
  BezelProcess bezel;
  PgConnection client = bezel.connect();
  bezel.process().signal(SIGTERM);
  wait_until("new clients are refused", [&] { return refuses(bezel); });
  CHECK(client.value("SELECT 'still'") == "still");
  CHECK(client.value("SELECT 'and again'") == "and again");
  client.close();
  CHECK(bezel.process().wait_for_end() == 0);
}

TEST_CASE("SIGQUIT: at once, and nothing is left at the server") {
  BezelProcess bezel;
  PgConnection client = bezel.connect();
  client.run("BEGIN");
  bezel.process().signal(SIGQUIT);
  CHECK(bezel.process().wait_for_end() == 0);
  wait_until("the server's connections are gone", [] { return PostgresServer::shared().backend_count("app") == 0; });
}

TEST_CASE("SIGUSR1 pauses, SIGUSR2 resumes") {
  BezelProcess bezel;
  PgConnection client = bezel.connect();
  client.run("SELECT 1");
  bezel.process().signal(SIGUSR1);
  wait_until("it is paused", [&] { return bezel.show("DATABASES", "paused", "name", "app") == "1"; });
  client.send("SELECT 'later'");
  wait_until("the client waits", [&] { return bezel.show("POOLS", "cl_waiting", "database", "app") == "1"; });
  bezel.process().signal(SIGUSR2);
  CHECK(client.last_result().value() == "later");
}

TEST_CASE("SIGPIPE and SIGHUP leave it running") {
  BezelProcess bezel;
  bezel.process().signal(SIGPIPE);
  bezel.process().signal(SIGHUP);
  wait_until("the log tells of the reload",
             [&] { return bezel.log().find("configuration reloaded") != std::string::npos; });
  CHECK(bezel.connect().value("SELECT 1") == "1");
}
