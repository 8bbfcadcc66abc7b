#include "admin/commands.h"

namespace bezel::admin {

namespace {

constexpr Column kColumns[] = {{"key"}, {"value"}, {"default"}, {"changeable"}};

void run(const CallPtr& call) {
  for (const ConfigRow& row : call->console.program().config_rows())
    call->rows.text(row.key).text(row.value).text(row.default_value).text(row.changeable ? "yes" : "no");
  call->finish("SHOW");
}

}  // namespace

constexpr Command kShowConfig{.name = "config", .role = pool::ConsoleRole::stats, .columns = kColumns, .run = run};

}  // namespace bezel::admin
