#include <fmt/format.h>

#include "admin/commands.h"

namespace bezel::admin {

namespace {

constexpr Column kColumns[] = {{"version"}};

void run(const CallPtr& call) {
  // Tools look for PgBouncer's name and number to know which columns they may expect.
  call->rows.text(fmt::format("PgBouncer 1.25.0 compatible, Bezel {}", call->console.program().version()));
  call->finish("SHOW");
}

}  // namespace

constexpr Command kShowVersion{.name = "version", .role = pool::ConsoleRole::stats, .columns = kColumns, .run = run};

}  // namespace bezel::admin
