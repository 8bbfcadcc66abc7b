#include "src/config/settings_registry.h"

#include <fmt/format.h>

#include "src/config/cross_checks.h"
#include "src/config/setting.h"
#include "src/config/spelling.h"

namespace bezel::config {

using pool::Settings;

std::vector<ConfigRow> show_config(const Settings& settings) {
  const Settings defaults;
  std::vector<ConfigRow> rows;
  for (const Setting& setting : settings_table()) {
    rows.push_back({std::string(setting.name), format_value(settings, setting), format_value(defaults, setting),
                    setting.change != Change::at_restart});
  }
  return rows;
}

std::optional<std::string> set_value(Settings& settings, std::string_view key, std::string_view value) {
  const Setting* setting = find_setting(key);
  if (setting == nullptr) return fmt::format("{}: {}", key.substr(0, 64), unknown_setting_message(key));
  if (setting->change == Change::at_restart) return fmt::format("{}: can be changed by a restart only", key);
  if (setting->change == Change::at_reload) {
    return fmt::format("{}: change it in the configuration file, then RELOAD", key);
  }
  if (value.find('\0') != std::string_view::npos) return fmt::format("{}: a NUL byte is not allowed", key);
  Settings before;
  copy_value(settings, before, *setting);
  if (const std::optional<std::string> expected = assign(settings, *setting, value)) {
    return fmt::format("{}: expected {}, found {}", key, *expected, quoted(value));
  }
  const std::vector<Finding> findings = contradictions(settings);
  if (findings.empty()) return std::nullopt;
  copy_value(before, settings, *setting);
  return fmt::format("{}: {}", findings.front().key, findings.front().message);
}

std::vector<std::string> restart_only_changes(const Settings& running, const Settings& loaded) {
  std::vector<std::string> names;
  for (const Setting& setting : settings_table()) {
    if (setting.change != Change::at_restart || equal_value(running, loaded, setting)) continue;
    names.emplace_back(setting.name);
  }
  return names;
}

void keep_restart_only_values(const Settings& running, Settings& loaded) {
  for (const Setting& setting : settings_table()) {
    if (setting.change == Change::at_restart) copy_value(running, loaded, setting);
  }
}

}  // namespace bezel::config
