#include <map>

#include "admin/commands.h"
#include "admin/known_names.h"
#include "admin/setting_names.h"

namespace bezel::admin {

namespace {

using enum ColumnType;
// The sizes are text in PgBouncer.
constexpr Column kColumns[] = {{"name"},
                               {"pool_size"},
                               {"reserve_pool_size"},
                               {"pool_mode"},
                               {"max_user_connections", int4},
                               {"current_connections", int4},
                               {"max_user_client_connections", int4},
                               {"current_client_connections", int4}};

void number_or_null(ResultRows& rows, const std::optional<int>& value) {
  if (value) {
    rows.number(*value);
  } else {
    rows.null();
  }
}

void run(const CallPtr& call) {
  pool::Fleet& fleet = call->console.fleet();
  const pool::SettingsPtr settings = fleet.settings();
  std::map<std::string, pool::UserState> states;
  for (pool::UserState& state : fleet.user_states()) states[state.name] = state;

  ResultRows& rows = call->rows;
  const pool::UserSettings unset;
  for (const std::string& name : known_users(fleet)) {
    const auto entry = settings->users.find(name);
    const pool::UserSettings& user = entry == settings->users.end() ? unset : entry->second;
    const pool::UserState& state = states[name];
    rows.text(name);
    number_or_null(rows, user.pool_size);
    number_or_null(rows, user.reserve_pool_size);
    if (user.pool_mode) {
      rows.text(pool_mode_name(*user.pool_mode));
    } else {
      rows.null();
    }
    rows.number(user.max_user_connections.value_or(settings->max_user_connections));
    rows.number(state.current_connections);
    rows.number(user.max_user_client_connections.value_or(settings->max_user_client_connections));
    rows.number(state.current_client_connections);
  }
  call->finish("SHOW");
}

}  // namespace

constexpr Command kShowUsers{.name = "users", .role = pool::ConsoleRole::stats, .columns = kColumns, .run = run};

}  // namespace bezel::admin
