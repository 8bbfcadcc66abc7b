#include "admin/known_names.h"

namespace bezel::admin {

std::set<std::string> known_users(pool::Fleet& fleet) {
  const pool::SettingsPtr settings = fleet.settings();
  std::set<std::string> names;
  for (const auto& entry : settings->users) names.insert(entry.first);
  for (const auto& entry : settings->secrets) names.insert(entry.first);
  for (const pool::UserState& state : fleet.user_states()) names.insert(state.name);
  return names;
}

std::set<std::string> known_databases(pool::Fleet& fleet) {
  const pool::SettingsPtr settings = fleet.settings();
  std::set<std::string> names;
  for (const auto& entry : settings->databases) names.insert(entry.first);
  for (const pool::DatabaseState& state : fleet.database_states()) names.insert(state.name);
  names.erase("*");
  return names;
}

bool database_exists(pool::Fleet& fleet, const std::string& name) {
  return fleet.settings()->databases.count("*") != 0 || known_databases(fleet).count(name) != 0;
}

const pool::DatabaseSettings* find_database(const pool::Settings& settings, const std::string& name) {
  auto found = settings.databases.find(name);
  if (found == settings.databases.end()) found = settings.databases.find("*");
  return found == settings.databases.end() ? nullptr : &found->second;
}

}  // namespace bezel::admin
