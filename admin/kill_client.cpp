#include <charconv>

#include "admin/commands.h"
#include "admin/fleet_operation.h"

namespace bezel::admin {

namespace {

/// The whole text must be a number; PgBouncer takes "12x" for 12.
void run(const CallPtr& call) {
  const std::string& text = call->argument;
  uint64_t id = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), id);
  if (error != std::errc() || end != text.data() + text.size()) return call->fail({"invalid client pointer supplied"});
  operate(call, {pool::Operation::kill_client, {}, id}, "KILL_CLIENT");
}

}  // namespace

constexpr Command kKillClient{.name = "kill_client", .argument = Argument::client_id, .run = run};

}  // namespace bezel::admin
