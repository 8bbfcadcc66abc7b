#include "admin/commands.h"
#include "admin/known_names.h"
#include "admin/pool_figures.h"
#include "admin/setting_names.h"

namespace bezel::admin {

namespace {

using enum ColumnType;
constexpr Column kColumns[] = {{"database"},
                               {"user"},
                               {"cl_active", int4},
                               {"cl_waiting", int4},
                               {"cl_active_cancel_req", int4},
                               {"cl_waiting_cancel_req", int4},
                               {"sv_active", int4},
                               {"sv_active_cancel", int4},
                               {"sv_being_canceled", int4},
                               {"sv_idle", int4},
                               {"sv_used", int4},
                               {"sv_tested", int4},
                               {"sv_login", int4},
                               {"maxwait", int4},
                               {"maxwait_us", int4},
                               {"pool_mode"},
                               {"load_balance_hosts"}};

void run(const CallPtr& call) {
  const pool::SettingsPtr settings = call->console.fleet().settings();
  const int64_t now_us = call->console.now_us();
  ResultRows& rows = call->rows;
  for (const auto& [name, pool] : pool_figures(call->console.fleet().statistics())) {
    rows.text(name.first).text(name.second);
    for (const uint64_t count :
         {pool.cl_active, pool.cl_waiting, pool.cl_active_cancel_req, pool.cl_waiting_cancel_req, pool.sv_active,
          pool.sv_active_cancel, pool.sv_being_canceled, pool.sv_idle, pool.sv_used, pool.sv_tested, pool.sv_login})
      rows.number(static_cast<int64_t>(count));
    const int64_t max_wait_us = pool.max_wait_us(now_us);
    rows.number(max_wait_us / 1'000'000).number(max_wait_us % 1'000'000).text(pool_mode_name(pool.mode));
    const pool::DatabaseSettings* database =
        is_console_database(name.first) ? nullptr : find_database(*settings, name.first);
    const bool several_hosts = database != nullptr && database->hosts.size() > 1;
    if (several_hosts) {
      rows.text(load_balance_hosts_name(database->load_balance_hosts));
    } else {
      rows.null();
    }
  }
  call->finish("SHOW");
}

}  // namespace

constexpr Command kShowPools{.name = "pools", .role = pool::ConsoleRole::stats, .columns = kColumns, .run = run};

}  // namespace bezel::admin
