#include "admin/commands.h"
#include "admin/statement.h"

namespace bezel::admin {

namespace {

void run(const CallPtr& call) {
  Program& program = call->console.program();
  if (call->argument.empty()) {
    program.shutdown(ShutdownMode::immediate);
    // As in PgBouncer: the connection's end, not an answer, says that the process has ended.
    return call->finish_unanswered();
  }
  const bool servers = equal_ignoring_case(call->argument, "wait_for_servers");
  program.shutdown(servers ? ShutdownMode::wait_for_servers : ShutdownMode::wait_for_clients);
  call->finish("SHUTDOWN");
}

}  // namespace

constexpr Command kShutdown{.name = "shutdown", .argument = Argument::shutdown_mode, .run = run};

}  // namespace bezel::admin
