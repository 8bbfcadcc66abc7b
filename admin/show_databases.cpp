#include <map>

#include "admin/commands.h"
#include "admin/known_names.h"
#include "admin/setting_names.h"

namespace bezel::admin {

namespace {

using enum ColumnType;
constexpr Column kColumns[] = {{"name"},
                               {"host"},
                               {"port", int4},
                               {"database"},
                               {"force_user"},
                               {"pool_size", int4},
                               {"min_pool_size", int4},
                               {"reserve_pool_size", int4},
                               {"server_lifetime", int4},
                               {"pool_mode"},
                               {"load_balance_hosts"},
                               {"max_connections", int4},
                               {"current_connections", int4},
                               {"max_client_connections", int4},
                               {"current_client_connections", int4},
                               {"paused", int4},
                               {"disabled", int4}};

/// What a row consists of, before it is written.
struct DatabaseRow {
  pool::DatabaseSettings entry;
  std::string_view pool_mode, load_balance_hosts;  ///< empty: NULL
  pool::DatabaseState state;
};

void text_unless_empty(ResultRows& rows, std::string_view value) {
  if (value.empty()) {
    rows.null();
  } else {
    rows.text(value);
  }
}

std::string host_list(const std::vector<pool::HostAddress>& hosts) {
  std::string list;
  for (const pool::HostAddress& host : hosts) list += (list.empty() ? "" : ",") + host.host;
  return list;
}

void write(ResultRows& rows, const pool::Settings& settings, const DatabaseRow& row) {
  const pool::DatabaseSettings& entry = row.entry;
  const int64_t lifetime_us = entry.server_lifetime_us.value_or(settings.server_lifetime_us);
  rows.text(row.state.name);
  text_unless_empty(rows, host_list(entry.hosts));
  rows.number(entry.hosts.empty() ? pool::HostAddress{}.port : entry.hosts.front().port);
  rows.text(entry.dbname.empty() ? row.state.name : entry.dbname);
  text_unless_empty(rows, entry.user);
  rows.number(entry.pool_size.value_or(settings.default_pool_size));
  rows.number(entry.min_pool_size.value_or(settings.min_pool_size));
  rows.number(entry.reserve_pool_size.value_or(settings.reserve_pool_size));
  rows.number(lifetime_us / 1'000'000);
  text_unless_empty(rows, row.pool_mode);
  text_unless_empty(rows, row.load_balance_hosts);
  rows.number(entry.max_db_connections.value_or(settings.max_db_connections));
  rows.number(row.state.current_connections);
  rows.number(entry.max_db_client_connections.value_or(settings.max_db_client_connections));
  rows.number(row.state.current_client_connections);
  rows.number(row.state.paused ? 1 : 0).number(row.state.disabled ? 1 : 0);
}

/// The console is listed as PgBouncer lists its own.
DatabaseRow console_row(Console& console, const pool::Settings& settings) {
  DatabaseRow row;
  row.entry.user = kConsoleDatabases[0];
  row.entry.pool_size = 2;
  row.entry.hosts = {{"", settings.listen_port}};
  row.pool_mode = pool_mode_name(pool::PoolMode::statement);
  row.state.name = kConsoleDatabases[0];
  row.state.current_client_connections = console.sessions();
  return row;
}

DatabaseRow row_of(const pool::Settings& settings, const pool::DatabaseState& state) {
  DatabaseRow row;
  row.state = state;
  if (const pool::DatabaseSettings* entry = find_database(settings, state.name)) row.entry = *entry;
  if (row.entry.pool_mode) row.pool_mode = pool_mode_name(*row.entry.pool_mode);
  if (row.entry.hosts.size() > 1) row.load_balance_hosts = load_balance_hosts_name(row.entry.load_balance_hosts);
  return row;
}

void run(const CallPtr& call) {
  pool::Fleet& fleet = call->console.fleet();
  const pool::SettingsPtr settings = fleet.settings();
  std::map<std::string, DatabaseRow> rows;
  for (const std::string& name : known_databases(fleet)) {
    pool::DatabaseState state;
    state.name = name;
    rows[name] = row_of(*settings, state);
  }
  for (const pool::DatabaseState& state : fleet.database_states())
    if (state.name != "*") rows[state.name] = row_of(*settings, state);
  rows[std::string(kConsoleDatabases[0])] = console_row(call->console, *settings);
  for (const auto& entry : rows) write(call->rows, *settings, entry.second);
  call->finish("SHOW");
}

}  // namespace

constexpr Command kShowDatabases{
    .name = "databases", .role = pool::ConsoleRole::stats, .columns = kColumns, .run = run};

}  // namespace bezel::admin
