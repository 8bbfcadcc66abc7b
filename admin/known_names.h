#pragma once

#include <set>
#include <string>

#include "pool/fleet.h"

namespace bezel::admin {

/// All users that are known: from auth_file, from the configuration, and those that have connected.
std::set<std::string> known_users(pool::Fleet& fleet);

/// All databases that are known, "*" and the console not among them.
std::set<std::string> known_databases(pool::Fleet& fleet);

/// Whether a client may ask for this database: it is known, or "*" stands for it.
bool database_exists(pool::Fleet& fleet, const std::string& name);

/// The settings of a database: its own entry, else that of "*", else none.
const pool::DatabaseSettings* find_database(const pool::Settings& settings, const std::string& name);

}  // namespace bezel::admin
