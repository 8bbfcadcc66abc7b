#include <doctest/doctest.h>

#include <string>
#include <vector>

#include "admin/commands.h"
#include "admin/driver_statements.h"
#include "tests/unit/admin_fakes.h"

using namespace bezel;
using namespace bezel::admin;
using namespace bezel::admin::fakes;

// Every command against every role. In PgBouncer KILL_CLIENT was once open to stats users (CVE-2026-6667); so the table
// is written down here again, apart from the console's own.

namespace {

struct Rule {
  std::string text;
  bool stats_users;  ///< whether a stats user may
  size_t changes;    ///< how many changes of the fleet or the program it makes for one who may
};

const std::vector<Rule>& rules() {
  static const std::vector<Rule> all{
      {"SHOW ACTIVE_SOCKETS", true, 0},
      {"SHOW CLIENTS", true, 0},
      {"SHOW CONFIG", true, 0},
      {"SHOW DATABASES", true, 0},
      {"SHOW DNS_HOSTS", true, 0},
      {"SHOW DNS_ZONES", true, 0},
      {"SHOW FAILOVERS", true, 0},
      {"SHOW FDS", false, 0},
      {"SHOW HELP", true, 0},
      {"SHOW LISTS", true, 0},
      {"SHOW MEM", true, 0},
      {"SHOW PEERS", true, 0},
      {"SHOW PEER_POOLS", true, 0},
      {"SHOW POOLS", true, 0},
      {"SHOW SERVERS", true, 0},
      {"SHOW SOCKETS", true, 0},
      {"SHOW STATE", true, 0},
      {"SHOW STATS", true, 0},
      {"SHOW STATS_AVERAGES", true, 0},
      {"SHOW STATS_TOTALS", true, 0},
      {"SHOW TOTALS", true, 0},
      {"SHOW UPSTREAM", true, 0},
      {"SHOW USERS", true, 0},
      {"SHOW VERSION", true, 0},
      {"DISABLE app", false, 1},
      {"ENABLE app", false, 1},
      {"KILL", false, 1},
      {"KILL_CLIENT 7", false, 1},
      {"PAUSE", false, 1},
      {"RECONNECT", false, 1},
      {"RELOAD", false, 1},
      {"RESUME idle", false, 1},
      {"SHUTDOWN", false, 1},
      {"SUSPEND", false, 1},
      {"SWITCHOVER", false, 1},
      {"WAIT_CLOSE", false, 1},
      {"SET max_client_conn = 5", false, 1},
  };
  return all;
}

const std::vector<std::string>& further_forms() {
  static const std::vector<std::string> all{
      "DISABLE",
      "ENABLE",
      "KILL app",
      "KILL_CLIENT",
      "KILL_CLIENT x",
      "PAUSE app",
      "PAUSE nix",
      "RESUME",
      "RECONNECT app",
      "WAIT_CLOSE app",
      "SHUTDOWN wait_for_clients",
      "SHUTDOWN wait_for_servers",
      "SET a TO 'b'",
      "kill_client 7;",
      "/* */ \"kill_client\" 7",
  };
  return all;
}

void prepare(FakeFleet& fleet) {
  fleet.config.databases["app"] = {};
  pool::DatabaseState paused;
  paused.name = "idle";
  paused.paused = true;
  fleet.databases = {paused};
}

size_t changes(const Fixture& fixture) {
  return fixture.fleet.operations.size() + fixture.program.changes();
}

Answer run(Fixture& fixture, const std::string& text, bool extended) {
  if (!extended) return fixture.query(text);
  std::string messages;
  protocol::append_parse(messages, "", text);
  protocol::append_bind(messages, "", "");
  protocol::append_execute(messages, "");
  protocol::append_sync(messages);
  fixture.send(messages);
  return fixture.take();
}

std::string first_words(const Rule& rule) {
  std::string name = rule.text.rfind("SHOW ", 0) == 0 ? rule.text.substr(5) : rule.text.substr(0, rule.text.find(' '));
  for (char& c : name) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  return name;
}

}  // namespace

TEST_CASE("admin: the table of roles has every command") {
  const auto has = [](std::string_view name, bool show) {
    for (const Rule& rule : rules())
      if ((rule.text.rfind("SHOW ", 0) == 0) == show && first_words(rule) == name) return true;
    return false;
  };
  for (const Command* command : show_commands()) CHECK_MESSAGE(has(command->name, true), command->name);
  for (const Command* command : action_commands()) CHECK_MESSAGE(has(command->name, false), command->name);
  CHECK(rules().size() == show_commands().size() + action_commands().size() + 1);
}

TEST_CASE("admin: every command, every role, both protocols (CVE-2026-6667)") {
  for (const Rule& rule : rules()) {
    for (const bool extended : {false, true}) {
      CAPTURE(rule.text);
      CAPTURE(extended);
      Fixture admin(pool::ConsoleRole::admin);
      prepare(admin.fleet);
      if (rule.text == "SUSPEND") admin.fleet.databases.clear();
      CHECK(run(admin, rule.text, extended).error != "admin access needed");
      CHECK(changes(admin) == rule.changes);
      CHECK(admin.program.log.size() == (rule.stats_users ? 0 : 1));

      Fixture stats(pool::ConsoleRole::stats);
      prepare(stats.fleet);
      const Answer answer = run(stats, rule.text, extended);
      CHECK((answer.error == "admin access needed") == !rule.stats_users);
      if (!rule.stats_users) CHECK(answer.sqlstate == "08P01");
      CHECK(changes(stats) == 0);
      CHECK(stats.program.log.empty());
    }
  }
}

TEST_CASE("admin: no form of a command is open to a stats user") {
  for (const std::string& text : further_forms()) {
    CAPTURE(text);
    Fixture stats(pool::ConsoleRole::stats);
    prepare(stats.fleet);
    CHECK(stats.query(text).error == "admin access needed");
    CHECK(changes(stats) == 0);
  }
}

TEST_CASE("admin: what everybody may set changes nothing") {
  Fixture stats(pool::ConsoleRole::stats);
  for (const std::string_view name : ignored_settings()) {
    CAPTURE(name);
    const Answer answer = stats.query("SET " + std::string(name) + " = 'x'");
    CHECK(answer.tag == "SET");
  }
  CHECK(changes(stats) == 0);
}
