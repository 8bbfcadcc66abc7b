#include "admin/commands.h"

namespace bezel::admin {

namespace {

constexpr Column kColumns[] = {{"key"}, {"value"}};

void run(const CallPtr& call) {
  const std::string state = call->console.fleet().state();
  for (const std::string_view key : {"active", "paused", "suspended"})
    call->rows.text(key).text(key == state ? "yes" : "no");
  call->finish("SHOW");
}

}  // namespace

constexpr Command kShowState{.name = "state", .role = pool::ConsoleRole::stats, .columns = kColumns, .run = run};

}  // namespace bezel::admin
