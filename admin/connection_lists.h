#pragma once

#include <functional>
#include <vector>

#include "admin/command.h"

namespace bezel::admin {

/// Asks the fleet for all clients and then for all servers; `done` runs on the call's worker.
void list_all_connections(
    const CallPtr& call,
    std::function<void(std::vector<pool::ConnectionRow> clients, std::vector<pool::ConnectionRow> servers)> done);

}  // namespace bezel::admin
