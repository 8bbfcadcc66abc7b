#include "src/config/cross_checks.h"

#include <fmt/format.h>

#include <algorithm>

#include "src/config/setting.h"
#include "src/config/values.h"

namespace bezel::config {

namespace {

using pool::AuthType;
using pool::DatabaseSettings;
using pool::Settings;
using Findings = std::vector<Finding>;

std::string database_key(const std::string& name) {
  return "databases." + name;
}

void check_listening(const Settings& settings, Findings& findings) {
  if (trimmed(settings.listen_addr).empty() && settings.unix_socket_dir.empty()) {
    findings.push_back({"listen_addr",
                        "expected an address here or a folder in unix_socket_dir: with both empty there is "
                        "nowhere to listen"});
  }
  if (settings.metrics_port == 0 || settings.metrics_port != settings.listen_port) return;
  for (const std::string& address : split_names(settings.listen_addr)) {
    if (address != "*" && settings.metrics_addr != "*" && address != settings.metrics_addr) continue;
    findings.push_back({"metrics_port", fmt::format("expected another port than listen_port, found {} for both",
                                                    settings.metrics_port)});
    return;
  }
}

/// Whether there may be users that auth_file does not have.
bool asks_servers_for_users(const Settings& settings) {
  if (!settings.auth_user.empty()) return true;
  return std::any_of(settings.databases.begin(), settings.databases.end(),
                     [](const auto& database) { return !database.second.auth_user.empty(); });
}

void check_direct_tls(const Settings& settings, Findings& findings) {
  if (settings.server_tls_sslmode >= pool::TlsMode::require) return;
  for (const auto& [name, database] : settings.databases) {
    if (!database.direct_tls) continue;
    findings.push_back({database_key(name) + ".sslnegotiation",
                        "direct needs a server_tls_sslmode of require, verify-ca or verify-full"});
  }
}

void check_login(const Settings& settings, Findings& findings) {
  if (settings.auth_type == AuthType::hba && settings.auth_hba_file.empty()) {
    findings.push_back({"auth_hba_file", "expected a file name, as auth_type is hba; found none"});
  }
  if (settings.auth_type == AuthType::cert &&
      (settings.client_tls_sslmode == pool::TlsMode::disable || settings.client_tls_ca_file.empty())) {
    findings.push_back({"auth_type", "cert needs TLS: client_tls_sslmode and client_tls_ca_file must be given too"});
  }
  if (settings.auth_type != AuthType::any) {
    if (!settings.auth_file.empty() || asks_servers_for_users(settings)) return;
    const std::string type = format_value(settings, *find_setting("auth_type"));
    findings.push_back({"auth_file", fmt::format("expected a file name, as auth_type is {}; found none", type)});
    return;
  }
  for (const auto& [name, database] : settings.databases) {
    if (!database.user.empty()) continue;
    findings.push_back({database_key(name), "expected a user, as auth_type is any; found none"});
  }
}

void doubt_pool_sizes(const Settings& settings, const std::string& key, const DatabaseSettings* database,
                      Findings& findings) {
  const auto effective = [&](std::optional<int> DatabaseSettings::*own, int global) {
    return database != nullptr ? (database->*own).value_or(global) : global;
  };
  const int size = effective(&DatabaseSettings::pool_size, settings.default_pool_size);
  const int size_min = effective(&DatabaseSettings::min_pool_size, settings.min_pool_size);
  const int connections_max = effective(&DatabaseSettings::max_db_connections, settings.max_db_connections);
  if (size_min > size) {
    findings.push_back(
        {key + "min_pool_size", fmt::format("{} is more than the pool's size, {}, which holds", size_min, size)});
  }
  if (connections_max > 0 && size > connections_max) {
    findings.push_back({key + (database != nullptr ? "pool_size" : "default_pool_size"),
                        fmt::format("{} is more than max_db_connections, {}, which holds", size, connections_max)});
  }
}

void doubt_databases(const Settings& settings, Findings& findings) {
  if (settings.databases.empty()) {
    findings.push_back({"databases", "there is none: clients can reach only the console"});
  }
  for (const auto& [name, database] : settings.databases) {
    if (database.pool_size || database.min_pool_size || database.max_db_connections) {
      doubt_pool_sizes(settings, database_key(name) + ".", &database, findings);
    }
    if (database.user.empty() || !database.password.empty()) continue;
    const auto secret = settings.secrets.find(database.user);
    if (secret == settings.secrets.end() || secret->second.kind != protocol::SecretKind::scram_sha_256) continue;
    findings.push_back(
        {database_key(name) + ".user",
         fmt::format("the secret of {} in auth_file is a SCRAM verifier, with which no password login to "
                     "the server is possible; give a password here or a plain one there",
                     database.user)});
  }
}

void doubt_rules(const Settings& settings, Findings& findings) {
  if (!settings.auth_hba_file.empty() && settings.auth_type != AuthType::hba) {
    findings.push_back({"auth_hba_file", "has no effect, as auth_type is not hba"});
  }
  if (!settings.auth_ident_file.empty() && settings.auth_hba_file.empty()) {
    findings.push_back({"auth_ident_file", "has no effect, as there is no auth_hba_file"});
  }
}

void doubt_unknown_user(const Settings& settings, const std::string& key, const std::string& user, Findings& findings) {
  if (settings.auth_type == AuthType::any || settings.secrets.count(user) > 0) return;
  if (asks_servers_for_users(settings)) return;
  findings.push_back({key, fmt::format("{} is not in auth_file and so cannot log in", user)});
}

}  // namespace

Findings contradictions(const Settings& settings) {
  Findings findings;
  check_listening(settings, findings);
  check_login(settings, findings);
  check_direct_tls(settings, findings);
  return findings;
}

/// `key` names what the three settings belong to: a database, or, if it is empty, all.
void doubt_auth_query(const Settings& settings, const std::string& key, const std::string& user,
                      const std::string& dbname, Findings& findings) {
  if (!dbname.empty() && settings.databases.count(dbname) == 0 && settings.databases.count("*") == 0) {
    findings.push_back(
        {key + "auth_dbname", fmt::format("there is no database {}: nobody's secret can be asked for", dbname)});
  }
  const auto secret = settings.secrets.find(user);
  if (user.empty() || (secret != settings.secrets.end() && secret->second.kind != protocol::SecretKind::scram_sha_256))
    return;
  findings.push_back(
      {key + "auth_user",
       fmt::format("auth_file has no password of {}, only a server that asks for none lets it in", user)});
}

Findings doubts(const Settings& settings) {
  Findings findings;
  doubt_pool_sizes(settings, "", nullptr, findings);
  if (settings.reserve_pool_size > 0 && settings.reserve_pool_timeout_us == 0) {
    findings.push_back({"reserve_pool_size", "has no effect, as reserve_pool_timeout is 0"});
  }
  if (settings.server_reset_query_always && settings.server_reset_query.empty()) {
    findings.push_back({"server_reset_query_always", "has no effect, as server_reset_query is empty"});
  }
  doubt_databases(settings, findings);
  doubt_rules(settings, findings);
  doubt_auth_query(settings, "", settings.auth_user, settings.auth_dbname, findings);
  for (const auto& [name, database] : settings.databases)
    doubt_auth_query(settings, database_key(name) + ".", database.auth_user, database.auth_dbname, findings);
  for (const std::string& user : settings.admin_users) doubt_unknown_user(settings, "admin_users", user, findings);
  for (const std::string& user : settings.stats_users) doubt_unknown_user(settings, "stats_users", user, findings);
  for (const auto& [name, user] : settings.users) doubt_unknown_user(settings, "users." + name, name, findings);
  return findings;
}

}  // namespace bezel::config
