#include <fmt/format.h>

#include "admin/commands.h"

namespace bezel::admin {

namespace {

void run(const CallPtr& call) {
  const std::string error = call->console.program().set_config(call->key, call->argument);
  if (!error.empty()) return call->fail({"SET failed", protocol::sqlstate::kProtocolViolation, error});
  call->finish(fmt::format("SET {}={}", call->key, call->argument));
}

}  // namespace

constexpr Command kSet{.name = "set", .run = run};

}  // namespace bezel::admin
