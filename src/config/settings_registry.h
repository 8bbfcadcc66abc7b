#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "pool/settings.h"

namespace bezel::config {

/// One row of SHOW CONFIG, as PgBouncer prints it: durations in the setting's unit (mostly seconds), booleans 0 or 1,
/// unix_socket_mode in octal.
struct ConfigRow {
  std::string key, value, default_value;
  bool changeable = false;  ///< without a restart; PgBouncer prints yes or no
};

/// All settings in alphabetical order, PgBouncer's. Holds no secret: databases and users are not part of it.
std::vector<ConfigRow> show_config(const pool::Settings& settings);

/// The console's `SET key = value`. Nothing when it was done; otherwise a message for the client, and `settings` is as
/// it was. Settings that need a restart, or a file to be read, are refused; so is a value that contradicts the other
/// settings.
std::optional<std::string> set_value(pool::Settings& settings, std::string_view key, std::string_view value);

/// The settings that differ between the two and take effect at a restart only, in alphabetical order.
std::vector<std::string> restart_only_changes(const pool::Settings& running, const pool::Settings& loaded);

/// Gives `loaded` the running values of all settings that need a restart. Call after restart_only_changes.
void keep_restart_only_values(const pool::Settings& running, pool::Settings& loaded);

}  // namespace bezel::config
