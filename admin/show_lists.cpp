#include "admin/commands.h"
#include "admin/known_names.h"
#include "admin/pool_figures.h"

namespace bezel::admin {

namespace {

constexpr Column kColumns[] = {{"list"}, {"items", ColumnType::int4}};

void run(const CallPtr& call) {
  pool::Fleet& fleet = call->console.fleet();
  pool::StatisticsRegistry& statistics = fleet.statistics();
  uint64_t clients = 0, login_clients = 0, servers = 0;
  for (int i = 0; i < statistics.workers(); i++) {
    clients += statistics.worker(i).clients.get();
    login_clients += statistics.worker(i).login_clients.get();
  }
  const auto pools = pool_figures(statistics);
  for (const auto& entry : pools) servers += entry.second.servers();
  const auto hosts = call->console.program().resolved_hosts();

  const auto row = [&](std::string_view name, uint64_t items) {
    call->rows.text(name).number(static_cast<int64_t>(items));
  };
  row("databases", known_databases(fleet).size() + 1);  // and the console
  row("users", known_users(fleet).size());
  row("peers", 0);
  row("pools", pools.size());
  row("peer_pools", 0);
  row("free_clients", 0);  // no memory is kept for connections to come
  row("used_clients", clients);
  row("login_clients", login_clients);
  row("free_servers", 0);
  row("used_servers", servers);
  row("dns_names", hosts ? hosts->size() : 0);
  row("dns_zones", 0);
  row("dns_queries", 0);
  row("dns_pending", 0);
  call->finish("SHOW");
}

}  // namespace

constexpr Command kShowLists{.name = "lists", .role = pool::ConsoleRole::stats, .columns = kColumns, .run = run};

}  // namespace bezel::admin
