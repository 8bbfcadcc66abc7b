#include <doctest/doctest.h>

#include "tests/unit/admin_fakes.h"

using namespace bezel;
using namespace bezel::admin;
using namespace bezel::admin::fakes;

namespace {

struct ActionFixture : Fixture {
  ActionFixture() {
    fleet.config.databases["app"] = {};
    pool::DatabaseState app, paused;
    app.name = "app";
    paused.name = "idle";
    paused.paused = true;
    fleet.databases = {app, paused};
  }
  std::string error(std::string_view text) { return query(text).error; }
};

}  // namespace

TEST_CASE("admin: operations reach the fleet, on the session's worker") {
  using pool::Operation;
  struct Case {
    const char* text;
    Operation operation;
    const char* database;
    const char* tag;
  };
  for (const Case& expected :
       {Case{"PAUSE", Operation::pause, "", "PAUSE"}, Case{"PAUSE app", Operation::pause, "app", "PAUSE"},
        Case{"RESUME", Operation::resume, "", "RESUME"}, Case{"RESUME idle", Operation::resume, "idle", "RESUME"},
        Case{"DISABLE app", Operation::disable, "app", "DISABLE"},
        Case{"ENABLE app", Operation::enable, "app", "ENABLE"}, Case{"KILL", Operation::kill, "", "KILL"},
        Case{"KILL app", Operation::kill, "app", "KILL"}, Case{"RECONNECT", Operation::reconnect, "", "RECONNECT"},
        Case{"RECONNECT app", Operation::reconnect, "app", "RECONNECT"},
        Case{"WAIT_CLOSE", Operation::wait_close, "", "WAIT_CLOSE"},
        Case{"WAIT_CLOSE app", Operation::wait_close, "app", "WAIT_CLOSE"}}) {
    CAPTURE(expected.text);
    ActionFixture fixture;
    fixture.client.worker = 1;
    fixture.open(pool::ConsoleRole::admin);
    CHECK(fixture.query(expected.text).tag == expected.tag);
    REQUIRE(fixture.fleet.operations.size() == 1);
    CHECK(fixture.fleet.operations[0].operation == expected.operation);
    CHECK(fixture.fleet.operations[0].database == expected.database);
    CHECK(fixture.fleet.callers[0] == 1);
  }
}

TEST_CASE("admin: KILL_CLIENT takes a whole number") {
  ActionFixture fixture;
  CHECK(fixture.query("KILL_CLIENT 18446744073709551615").tag == "KILL_CLIENT");
  CHECK(fixture.fleet.operations.at(0).client_id == UINT64_MAX);
  for (const char* text :
       {"KILL_CLIENT", "KILL_CLIENT x", "KILL_CLIENT 7x", "KILL_CLIENT \"-1\"", "KILL_CLIENT 18446744073709551616"})
    CHECK(fixture.error(text) == "invalid client pointer supplied");
  fixture.fleet.operation_error = "client not found";
  CHECK(fixture.error("KILL_CLIENT 8") == "client not found");
}

TEST_CASE("admin: databases that an operation cannot work on") {
  ActionFixture fixture;
  CHECK(fixture.error("PAUSE nix") == "no such database: nix");
  CHECK(fixture.error("RESUME nix") == "no such database: nix");
  CHECK(fixture.error("RESUME app") == "database app is not paused");
  CHECK(fixture.error("DISABLE") == "a database is required");
  CHECK(fixture.error("ENABLE") == "a database is required");
  CHECK(fixture.error("PAUSE pgbouncer") == "cannot pause admin db: pgbouncer");
  CHECK(fixture.error("KILL bezel") == "cannot kill admin db: bezel");
  CHECK(fixture.error("DISABLE pgbouncer") == "cannot disable admin db: pgbouncer");
  CHECK(fixture.error("ENABLE pgbouncer") == "cannot enable admin db: pgbouncer");
  CHECK(fixture.error("RECONNECT pgbouncer") == "cannot reconnect admin db: pgbouncer");
  CHECK(fixture.error("WAIT_CLOSE pgbouncer") == "cannot wait in admin db: pgbouncer");
  CHECK(fixture.fleet.operations.empty());
  fixture.fleet.config.databases["*"] = {};
  CHECK(fixture.error("PAUSE nix") == "");
}

TEST_CASE("admin: what a state forbids") {
  ActionFixture fixture;
  CHECK(fixture.error("SUSPEND") == "cannot suspend with paused databases");
  fixture.fleet.databases.clear();
  CHECK(fixture.error("RESUME") == "pooler is not paused/suspended");
  CHECK(fixture.error("SUSPEND") == "");
  fixture.fleet.now = "suspended";
  for (const char* text : {"PAUSE", "PAUSE app", "SUSPEND", "KILL", "KILL app"})
    CHECK(fixture.error(text) == "already suspended/paused");
  CHECK(fixture.error("RESUME") == "");
}

TEST_CASE("admin: the fleet's error is the answer") {
  ActionFixture fixture;
  fixture.fleet.operation_error = "pooler is shutting down";
  const Answer answer = fixture.query("PAUSE");
  CHECK(answer.error == "pooler is shutting down");
  CHECK(answer.sqlstate == "08P01");
}

TEST_CASE("admin: RELOAD") {
  ActionFixture fixture;
  CHECK(fixture.query("RELOAD").tag == "RELOAD");
  fixture.program.reload_error = "bezel.yaml:3: unknown key";
  const Answer answer = fixture.query("RELOAD");
  CHECK(answer.error == "RELOAD failed, see logs for additional details");
  CHECK(answer.sqlstate == "F0000");
  CHECK(answer.detail == "bezel.yaml:3: unknown key");
}

TEST_CASE("admin: SET") {
  ActionFixture fixture;
  CHECK(fixture.query("SET log_stats = 'off'").tag == "SET log_stats=off");
  CHECK(fixture.program.sets.at(0) == std::pair<std::string, std::string>("log_stats", "off"));
  fixture.program.set_error = "unknown setting";
  const Answer answer = fixture.query("SET nix = 1");
  CHECK(answer.error == "SET failed");
  CHECK(answer.detail == "unknown setting");
}

TEST_CASE("admin: SHUTDOWN") {
  ActionFixture fixture;
  CHECK(fixture.query("SHUTDOWN").types.empty());
  CHECK(fixture.client.done == 1);
  CHECK(fixture.query("SHUTDOWN WAIT_FOR_SERVERS").tag == "SHUTDOWN");
  CHECK(fixture.query("shutdown wait_for_clients").tag == "SHUTDOWN");
  using enum ShutdownMode;
  CHECK(fixture.program.shutdowns == std::vector{immediate, wait_for_servers, wait_for_clients});
}

TEST_CASE("admin: commands are logged on one line") {
  ActionFixture fixture;
  fixture.query("PAUSE \"a\nb\"");
  fixture.query("SET log_stats = 'x\ny'");
  fixture.query("RELOAD");
  CHECK(fixture.program.log == std::vector<std::string>{"PAUSE 'a?b' command issued by alice",
                                                        "SET log_stats = 'x?y' command issued by alice",
                                                        "RELOAD command issued by alice"});
}
