#include <fmt/format.h>

#include <algorithm>

#include "admin/commands.h"
#include "admin/fleet_operation.h"
#include "admin/known_names.h"

// PAUSE, SUSPEND and what undoes both.

namespace bezel::admin {

namespace {

bool is_active(Console& console) {
  return console.fleet().state() == "active";
}

bool any_paused(Console& console) {
  const auto states = console.fleet().database_states();
  return std::any_of(states.begin(), states.end(), [](const pool::DatabaseState& state) { return state.paused; });
}

void run_pause(const CallPtr& call) {
  if (!is_active(call->console)) return call->fail({"already suspended/paused"});
  if (!call->argument.empty())
    if (const std::string fault = database_fault(call->console, call->argument, "pause"); !fault.empty())
      return call->fail({fault});
  operate(call, {pool::Operation::pause, call->argument}, "PAUSE");
}

void run_suspend(const CallPtr& call) {
  if (!is_active(call->console)) return call->fail({"already suspended/paused"});
  if (any_paused(call->console)) return call->fail({"cannot suspend with paused databases"});
  operate(call, {pool::Operation::suspend, {}}, "SUSPEND");
}

/// KILL without a database pauses every one; RESUME without a database undoes that too, unlike PgBouncer's.
void run_resume(const CallPtr& call) {
  Console& console = call->console;
  const std::string& database = call->argument;
  if (database.empty()) {
    if (is_active(console) && !any_paused(console)) return call->fail({"pooler is not paused/suspended"});
    return operate(call, {pool::Operation::resume, {}}, "RESUME");
  }
  for (const pool::DatabaseState& state : console.fleet().database_states()) {
    if (state.name != database) continue;
    if (!state.paused) return call->fail({fmt::format("database {} is not paused", database)});
    return operate(call, {pool::Operation::resume, database}, "RESUME");
  }
  const bool known = is_console_database(database) || known_databases(console.fleet()).count(database) != 0;
  if (known) return call->fail({fmt::format("database {} is not paused", database)});
  call->fail({fmt::format("no such database: {}", database)});
}

void undo(const CallPtr& call) {
  resume_unheard(call->console, call->worker, call->argument);
}

}  // namespace

constexpr Command kPause{.name = "pause", .argument = Argument::optional_database, .run = run_pause, .undo = undo};
constexpr Command kSuspend{.name = "suspend", .run = run_suspend, .undo = undo};
constexpr Command kResume{.name = "resume", .argument = Argument::optional_database, .run = run_resume};

}  // namespace bezel::admin
