#include "admin/commands.h"
#include "admin/fleet_operation.h"

// DISABLE, ENABLE, KILL, RECONNECT and WAIT_CLOSE: one operation of the fleet each.

namespace bezel::admin {

namespace {

/// On the database that is named, or on all when none is.
void run(const CallPtr& call, pool::Operation operation, std::string_view verb, std::string_view tag) {
  if (!call->argument.empty())
    if (const std::string fault = database_fault(call->console, call->argument, verb); !fault.empty())
      return call->fail({fault});
  operate(call, {operation, call->argument}, tag);
}

void run_on_named(const CallPtr& call, pool::Operation operation, std::string_view verb, std::string_view tag) {
  if (call->argument.empty()) return call->fail({"a database is required"});
  run(call, operation, verb, tag);
}

void run_kill(const CallPtr& call) {
  if (call->console.fleet().state() != "active") return call->fail({"already suspended/paused"});
  run(call, pool::Operation::kill, "kill", "KILL");
}

}  // namespace

constexpr Command kDisable{.name = "disable", .argument = Argument::database, .run = [](const CallPtr& call) {
                             run_on_named(call, pool::Operation::disable, "disable", "DISABLE");
                           }};
constexpr Command kEnable{.name = "enable", .argument = Argument::database, .run = [](const CallPtr& call) {
                            run_on_named(call, pool::Operation::enable, "enable", "ENABLE");
                          }};
constexpr Command kKill{.name = "kill", .argument = Argument::optional_database, .run = run_kill};
constexpr Command kReconnect{
    .name = "reconnect", .argument = Argument::optional_database, .run = [](const CallPtr& call) {
      run(call, pool::Operation::reconnect, "reconnect", "RECONNECT");
    }};
constexpr Command kWaitClose{
    .name = "wait_close",
    .argument = Argument::optional_database,
    .run = [](const CallPtr& call) { run(call, pool::Operation::wait_close, "wait in", "WAIT_CLOSE"); },
    .undo = undo_nothing};

}  // namespace bezel::admin
