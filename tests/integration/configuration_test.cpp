// The program's command line and configuration: what is refused, and reloads that change all or nothing.

#include <doctest/doctest.h>
#include <unistd.h>

#include <csignal>
#include <string>
#include <vector>

#include "integration/bezel_process.h"
#include "integration/loopback.h"
#include "integration/postgres_server.h"
#include "integration/waiting.h"

using namespace bezel::integration;

namespace {

struct Ended {
  int status;
  std::string output;
};

Ended run_bezel(const TemporaryFolder& folder, std::vector<std::string> arguments,
                std::vector<std::string> environment = {}) {
  arguments.insert(arguments.begin(), BEZEL_PROGRAM);
  ChildProcess process({arguments, folder.path_of("output"), environment});
  const auto status = process.wait_for_end();
  const Ended ended{status.value_or(-1), process.log()};
  write_file(folder.path_of("output"), "");
  return ended;
}

}  // namespace

TEST_CASE("--check-config says all that is wrong, with file and line") {
  const TemporaryFolder folder;
  const std::string path = folder.write("bezel.yaml",
                                        "listen_prt: 1\n"
                                        "pool_mode: sometimes\n"
                                        "default_pool_size: -3\n"
                                        "query_timeout: 5 parsecs\n"
                                        "auth_type: any\n"
                                        "databases:\n"
                                        "  app: host=127.0.0.1 prot=5432\n");
  const Ended bad = run_bezel(folder, {"--check-config", path});
  CHECK(bad.status != 0);
  for (const char* text : {"bezel.yaml:1: listen_prt", "bezel.yaml:2: pool_mode", "bezel.yaml:3: default_pool_size",
                           "bezel.yaml:4: query_timeout", "bezel.yaml:7: databases.app"}) {
    CHECK_MESSAGE(bad.output.find(text) != std::string::npos, bad.output);
  }
  CHECK(bad.output.find("did you mean \"listen_port\"?") != std::string::npos);
  const Ended started = run_bezel(folder, {path});
  CHECK(started.status == 1);
  CHECK(started.output.find("bezel.yaml:1: listen_prt") != std::string::npos);
  const Ended missing = run_bezel(folder, {"--check-config", folder.path_of("none.yaml")});
  CHECK(missing.status != 0);
  CHECK(missing.output.find("none.yaml") != std::string::npos);
}

TEST_CASE("--check-config of a good file, --version, and wrong options") {
  const TemporaryFolder folder;
  const std::string path = folder.write("bezel.yaml", "auth_type: any\ndatabases:\n  app: host=127.0.0.1 user=app\n");
  CHECK(run_bezel(folder, {"--check-config", path}).status == 0);
  const Ended version = run_bezel(folder, {"--version"});
  CHECK(version.status == 0);
  CHECK(version.output.substr(0, 6) == "bezel ");
  CHECK(run_bezel(folder, {"--nonsense"}).status != 0);
}

TEST_CASE("includes and variables of the environment") {
  const TemporaryFolder folder;
  PostgresServer& server = PostgresServer::shared();
  folder.write("more.yaml",
               "default_pool_size: ${POOL_SIZE:-7}\ndatabases:\n  app: \"host=${DB_HOST} port=${DB_PORT}\"\n");
  BezelProcess bezel({.databases = {{"other", database_at(server, "dbname=app")}},
                      .further_lines = "\"%include\": " + folder.path_of("more.yaml") + "\n",
                      .environment = {"DB_HOST=" + server.address(), "DB_PORT=" + std::to_string(server.port())}});
  CHECK(bezel.connect().value("SELECT 1") == "1");
  CHECK(bezel.show("CONFIG", "value", "key", "default_pool_size") == "7");
  const std::string path = folder.write("unset.yaml", "auth_type: any\nlisten_port: ${NOT_SET_AT_ALL}\n");
  const Ended unset = run_bezel(folder, {"--check-config", path});
  CHECK(unset.status != 0);
  CHECK(unset.output.find("NOT_SET_AT_ALL") != std::string::npos);
}

TEST_CASE("a URI, and passwords that appear nowhere") {
  PostgresServer& server = PostgresServer::shared();
  BezelProcess bezel({.settings = {{"log_level", "trace"}},
                      .databases = {{"app", "postgresql://app:app-secret@" + server.address() + ":" +
                                                std::to_string(server.port()) + "/app?pool_size=3"}},
                      .userlist = "\"guest\" \"guest-secret\"\n\"admin\" \"admin-secret\"\n"});
  CHECK(bezel.connect_as("guest", "guest-secret").value("SELECT current_user") == "app");
  PgConnection console = bezel.console();
  for (const char* what : {"DATABASES", "CONFIG", "USERS", "POOLS", "CLIENTS", "SERVERS"}) {
    const PgResult rows = console.exec(std::string("SHOW ") + what);
    for (int row = 0; row < rows.rows(); row++) {
      for (int column = 0; column < PQnfields(rows.get()); column++) {
        CHECK(rows.value(row, column).find("secret") == std::string::npos);
      }
    }
  }
  CHECK(bezel.log().find("-secret") == std::string::npos);
}

TEST_CASE("a reload with an error changes nothing; a good one keeps connections") {
  Configuration configuration{.settings = {{"default_pool_size", "3"}}};
  BezelProcess bezel(configuration);
  PgConnection client = bezel.connect(), console = bezel.console();
  client.run("BEGIN");
  const std::string backend = client.value("SELECT pg_backend_pid()");

  Configuration broken = configuration;
  broken.settings["default_pool_size"] = "4";
  broken.settings["no_such_setting"] = "1";
  bezel.write_configuration(broken);
  const PgResult refused = console.exec("RELOAD");
  CHECK_FALSE(refused.ok());
  CHECK(console.error().find("no_such_setting") != std::string::npos);
  bezel.process().signal(SIGHUP);
  wait_until("the log tells of it", [&] { return bezel.log().find("stays as it was") != std::string::npos; });
  CHECK(bezel.show("CONFIG", "value", "key", "default_pool_size") == "3");

  configuration.settings["default_pool_size"] = "5";
  configuration.databases = {{"app", database_at(PostgresServer::shared())},
                             {"added", database_at(PostgresServer::shared(), "dbname=app")}};
  bezel.write_configuration(configuration);
  bezel.process().signal(SIGHUP);
  wait_until("it is read", [&] { return bezel.show("CONFIG", "value", "key", "default_pool_size") == "5"; });
  CHECK(client.value("SELECT pg_backend_pid()") == backend);
  client.run("COMMIT");
  CHECK(bezel.connect_as("app", "app-secret", "added").value("SELECT current_database()") == "app");
}

TEST_CASE("a reload that moves a database: new servers for it, and open transactions end where they began") {
  PostgresServer& server = PostgresServer::shared();
  server.observer().run("CREATE DATABASE moved OWNER app");
  Configuration configuration{.databases = {{"app", database_at(server)}}};
  BezelProcess bezel(configuration);
  PgConnection busy = bezel.connect(), idle = bezel.connect();
  busy.run("BEGIN");
  CHECK(idle.value("SELECT current_database()") == "app");
  configuration.databases["app"] = database_at(server, "dbname=moved");
  bezel.write_configuration(configuration);
  bezel.console().run("RELOAD");
  CHECK(busy.value("SELECT current_database()") == "app");
  CHECK(idle.value("SELECT current_database()") == "moved");
  busy.run("COMMIT");
  CHECK(busy.value("SELECT current_database()") == "moved");
}

TEST_CASE("what needs a restart keeps its value, with a warning") {
  Configuration configuration;
  BezelProcess bezel(configuration);
  configuration.settings["listen_backlog"] = "77";
  bezel.write_configuration(configuration);
  bezel.console().run("RELOAD");
  CHECK(bezel.show("CONFIG", "value", "key", "listen_backlog") == "128");
  CHECK(bezel.log().find("listen_backlog") != std::string::npos);
}

TEST_CASE("a port that is taken is an error at the start") {
  const uint16_t port = next_port();
  const int taken = listen_at(port);
  CHECK_THROWS(BezelProcess({.settings = {{"listen_port", std::to_string(port)}}}));
  close(taken);
}

TEST_CASE("pidfile and logfile") {
  const TemporaryFolder folder;
  BezelProcess bezel({.settings = {{"pidfile", folder.path_of("pid")}}});
  CHECK(read_file(folder.path_of("pid")) == std::to_string(bezel.process().pid()) + "\n");
  bezel.process().signal(SIGQUIT);
  CHECK(bezel.process().wait_for_end() == 0);
  CHECK(read_file(folder.path_of("pid")) == "");
}

TEST_CASE("every way of sending") {
  for (const char* mode : {"off", "aio", "auto"}) {
    BezelProcess bezel({.settings = {{"batched_sends", mode}}});
    PgConnection client = bezel.connect();
    CHECK(client.value("SELECT length(repeat('x', 5000000))") == "5000000");
    CHECK(client.value("SELECT repeat('x', 5000000)").size() == 5000000);
  }
}
