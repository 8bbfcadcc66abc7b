// Startup parameters, and what SET does to the next server.

#include <doctest/doctest.h>

#include <string>
#include <vector>

#include "integration/bezel_process.h"
#include "integration/loopback.h"
#include "integration/postgres_server.h"
#include "integration/raw_client.h"

using namespace bezel::integration;

namespace {

/// Makes the next query of anybody else go to another server than the last one did.
PgConnection take_last_used_server(const BezelProcess& bezel) {
  PgConnection other = bezel.connect();
  other.run("BEGIN");
  return other;
}

/// How a login with these parameters ends: its last frame, at Bezel and at PostgreSQL.
std::pair<std::string, std::string> refusals(const BezelProcess& bezel, const Parameters& parameters) {
  std::pair<std::string, std::string> result;
  for (const bool direct : {false, true}) {
    RawClient client(own_address(), direct ? PostgresServer::shared().port() : bezel.port());
    const std::vector<Frame> frames = client.log_in("app", "app-secret", "app", 0, parameters);
    (direct ? result.second : result.first) = frames.empty() ? "nothing" : readable(frames.back());
  }
  return result;
}

}  // namespace

TEST_CASE("startup parameters are the client's on every server") {
  BezelProcess bezel({.settings = {{"default_pool_size", "2"}}});
  PgConnection client = bezel.connect(
      "application_name=probe client_encoding=LATIN1 "
      "options='-c search_path=one,pg_catalog -c TimeZone=Asia/Tokyo --work-mem=321kB -c my.own=x\\\\ y'");
  const auto looks_right = [&] {
    CHECK(client.value("SHOW application_name") == "probe");
    CHECK(client.value("SHOW client_encoding") == "LATIN1");
    CHECK(client.value("SHOW search_path") == "one,pg_catalog");
    CHECK(client.value("SHOW TimeZone") == "Asia/Tokyo");
    CHECK(client.value("SHOW work_mem") == "321kB");
    CHECK(client.value("SHOW my.own") == "x y");
  };
  looks_right();
  PgConnection plain = bezel.connect();
  CHECK(plain.value("SHOW work_mem") == "4MB");
  CHECK(plain.value("SHOW TimeZone") != "Asia/Tokyo");
  const PgConnection other = take_last_used_server(bezel);
  looks_right();
  CHECK(client.parameter_status("TimeZone") == "Asia/Tokyo");
  CHECK(client.parameter_status("client_encoding") == "LATIN1");
  CHECK(client.parameter_status("application_name") == "probe");
}

TEST_CASE("what SET changes and the server reports goes with the client") {
  BezelProcess bezel({.settings = {{"default_pool_size", "2"}}});
  PgConnection client = bezel.connect();
  client.run("SET TimeZone = 'America/Lima'");
  client.run("SET DateStyle = 'German, DMY'");
  client.run("SET application_name = 'renamed'");
  const PgConnection other = take_last_used_server(bezel);
  CHECK(client.value("SHOW TimeZone") == "America/Lima");
  CHECK(client.value("SELECT '2024-02-03'::date") == "03.02.2024");
  CHECK(client.value("SHOW application_name") == "renamed");
  client.run("RESET TimeZone");
  PgConnection third = bezel.connect();
  CHECK(third.value("SHOW application_name") != "renamed");
  CHECK(client.value("SHOW TimeZone") != "America/Lima");
}

TEST_CASE("a client that changes nothing causes no SET") {
  BezelProcess bezel({.settings = {{"default_pool_size", "1"}}});
  PgConnection client = bezel.connect("application_name=steady");
  client.run("SELECT 1");
  const std::string before = bezel.show("STATS_TOTALS", "server_assignment_count", "database", "app");
  PostgresServer::shared().observer().run("SELECT 1");
  // Its own queries are all that its backend has run: the last one is what pg_stat_activity shows.
  for (int i = 0; i < 5; i++) client.run("SELECT 'mark " + std::to_string(i) + "'");
  CHECK(PostgresServer::shared().observer().value(
            "SELECT query FROM pg_stat_activity WHERE application_name = 'steady'") == "SELECT 'mark 4'");
  CHECK(std::stoi(bezel.show("STATS_TOTALS", "server_assignment_count", "database", "app")) - std::stoi(before) == 5);
}

TEST_CASE("wrong parameters are refused as PostgreSQL refuses them") {
  BezelProcess bezel;
  const std::vector<Parameters> wrong = {
      {{"TimeZone", "Nowhere/Land"}},
      {{"client_encoding", "KLINGON"}},
      {{"no_such_parameter", "1"}},
      {{"options", "-c work_mem=lots"}},
      {{"options", "-c DateStyle=never"}},
      {{"options", "-c no_such_parameter=1"}},
      {{"shared_buffers", "1GB"}},
      {{"options", "-c max_connections=7"}},
      {{"fsync", "off"}},
      {{"options", "-c log_statement=all"}},
      {{"is_superuser", "on"}},
  };
  for (const Parameters& parameters : wrong) {
    const auto [pooled, direct] = refusals(bezel, parameters);
    CHECK_MESSAGE(pooled == direct, parameters.front().first << " " << parameters.front().second);
    CHECK(pooled.substr(0, 7) == "E FATAL");
  }
  CHECK(bezel.connect().value("SELECT 1") == "1");
}

TEST_CASE("what can only be set when a backend starts is refused, not dropped") {
  BezelProcess bezel;
  RawClient client(own_address(), bezel.port());
  const auto frames = client.log_in("app", "app-secret", "app", 0, {{"options", "-c post_auth_delay=0"}});
  REQUIRE_FALSE(frames.empty());
  CHECK(frames.back().type == 'E');
}

TEST_CASE("ignore_startup_parameters drops parameters") {
  BezelProcess bezel({.settings = {{"ignore_startup_parameters", "extra_float_digits, no_such_parameter"}}});
  PgConnection client = bezel.connect("options='-c extra_float_digits=3'");
  CHECK(client.value("SHOW extra_float_digits") == "1");
  RawClient raw(own_address(), bezel.port());
  CHECK(raw.log_in("app", "app-secret", "app", 0, {{"no_such_parameter", "1"}}).back().type == 'Z');
}

TEST_CASE("application_name_add_host") {
  BezelProcess bezel({.settings = {{"application_name_add_host", "1"}}});
  PgConnection client = bezel.connect("application_name=named");
  CHECK(client.value("SHOW application_name").substr(0, 8) == "named - ");
}

TEST_CASE("parameters of the database's entry are the servers' own") {
  BezelProcess bezel(
      {.databases = {{"app", database_at(PostgresServer::shared(),
                                         "timezone=Asia/Kolkata application_name=pool options='-c work_mem=222kB' "
                                         "connect_query='SET maintenance_work_mem = ''5MB'''")}}});
  PgConnection client = bezel.connect();
  CHECK(client.value("SHOW TimeZone") == "Asia/Kolkata");
  CHECK(client.parameter_status("TimeZone") == "Asia/Kolkata");
  CHECK(client.value("SHOW work_mem") == "222kB");
  CHECK(client.value("SHOW maintenance_work_mem") == "5MB");
}

TEST_CASE("session mode keeps parameters the same way") {
  BezelProcess bezel({.settings = {{"pool_mode", "session"}, {"default_pool_size", "1"}}});
  {
    PgConnection client = bezel.connect("options='-c work_mem=99kB'");
    CHECK(client.value("SHOW work_mem") == "99kB");
    client.run("SET TimeZone = 'America/Lima'");
  }
  PgConnection next = bezel.connect();
  CHECK(next.value("SHOW work_mem") == "4MB");
  CHECK(next.value("SHOW TimeZone") != "America/Lima");
}
