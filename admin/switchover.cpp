#include "admin/commands.h"

namespace bezel::admin {

namespace {

void run(const CallPtr& call) {
  call->console.program().switch_over(call->worker, call->argument,
                                      [call](const std::string& error) { call->finish_or_fail(error, "SWITCHOVER"); });
}

}  // namespace

constexpr Command kSwitchover{.name = "switchover", .argument = Argument::optional_member, .run = run};

}  // namespace bezel::admin
