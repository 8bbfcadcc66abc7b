#include "admin/fleet_operation.h"

#include <fmt/format.h>

#include "admin/known_names.h"

namespace bezel::admin {

std::string database_fault(Console& console, const std::string& database, std::string_view verb) {
  if (is_console_database(database)) return fmt::format("cannot {} admin db: {}", verb, database);
  if (!database_exists(console.fleet(), database)) return fmt::format("no such database: {}", database);
  return {};
}

void operate(const CallPtr& call, pool::OperationRequest request, std::string_view tag) {
  call->console.fleet().operate(call->worker, std::move(request),
                                [call, tag](const std::string& error) { call->finish_or_fail(error, tag); });
}

void resume_unheard(Console& console, int worker, const std::string& database) {
  console.fleet().operate(worker, {pool::Operation::resume, database}, [](const std::string&) {});
}

void undo_nothing(const CallPtr&) {}

}  // namespace bezel::admin
