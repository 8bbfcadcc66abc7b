#include "admin/commands.h"

namespace bezel::admin {

namespace {

void run(const CallPtr& call) {
  call->console.program().reload(call->worker, [call](const std::string& errors) {
    if (errors.empty()) return call->finish("RELOAD");
    call->fail({"RELOAD failed, see logs for additional details", protocol::sqlstate::kConfigFileError, errors});
  });
}

}  // namespace

constexpr Command kReload{.name = "reload", .run = run};

}  // namespace bezel::admin
