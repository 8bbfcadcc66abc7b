#include "admin/connection_lists.h"

namespace bezel::admin {

void list_all_connections(
    const CallPtr& call,
    std::function<void(std::vector<pool::ConnectionRow> clients, std::vector<pool::ConnectionRow> servers)> done) {
  pool::Fleet& fleet = call->console.fleet();
  const int worker = call->worker;
  fleet.list_connections(worker, false, [&fleet, worker, done](std::vector<pool::ConnectionRow> clients) {
    fleet.list_connections(worker, true, [done, clients](std::vector<pool::ConnectionRow> servers) mutable {
      done(std::move(clients), std::move(servers));
    });
  });
}

}  // namespace bezel::admin
