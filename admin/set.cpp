#include <fmt/format.h>

#include "admin/commands.h"

namespace bezel::admin {

namespace {

void run(const CallPtr& call) {
  call->console.program().set_config(call->worker, call->key, call->argument, [call](const std::string& error) {
    if (!error.empty()) return call->fail({"SET failed", protocol::sqlstate::kProtocolViolation, error});
    call->finish(fmt::format("SET {}={}", call->key, call->argument));
  });
}

}  // namespace

constexpr Command kSet{.name = "set", .run = run};

}  // namespace bezel::admin
