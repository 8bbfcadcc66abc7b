#include "src/config/cross_checks.h"

#include <fmt/format.h>

#include <algorithm>
#include <set>

#include "pool/hba.h"
#include "src/config/setting.h"
#include "src/config/values.h"
#include "src/login/libpam.h"

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

/// What clients may have to log in by: auth_type, those of databases, and the methods of the rules if they hold.
std::set<AuthType> methods_in_use(const Settings& settings) {
  std::set<AuthType> methods = {settings.auth_type};
  for (const auto& [name, database] : settings.databases) {
    if (database.auth_type) methods.insert(*database.auth_type);
  }
  if (methods.count(AuthType::hba) == 0 || !settings.hba_rules) return methods;
  for (const pool::HbaRule& rule : settings.hba_rules->rules()) methods.insert(rule.method);
  return methods;
}

/// Whether clients may be users that nothing here knows of.
bool asks_others_for_users(const Settings& settings) {
  const std::set<AuthType> methods = methods_in_use(settings);
  return methods.count(AuthType::pam) > 0 || methods.count(AuthType::ldap) > 0 || asks_servers_for_users(settings);
}

/// Whether users of that method must be known here.
bool needs_known_users(const Settings& settings, AuthType type) {
  if (type != AuthType::hba || !settings.hba_rules) {
    return type != AuthType::any && type != AuthType::pam && type != AuthType::ldap && type != AuthType::reject;
  }
  const auto& rules = settings.hba_rules->rules();
  return std::any_of(rules.begin(), rules.end(),
                     [&](const pool::HbaRule& rule) { return needs_known_users(settings, rule.method); });
}

/// What `type`, which stands under the key, needs besides.
void check_auth_type(const Settings& settings, AuthType type, const std::string& key, Findings& findings) {
  if (type == AuthType::hba && settings.auth_hba_file.empty()) {
    findings.push_back({"auth_hba_file", fmt::format("expected a file name, as {} is hba; found none", key)});
  }
  if (type == AuthType::cert &&
      (settings.client_tls_sslmode == pool::TlsMode::disable || settings.client_tls_ca_file.empty())) {
    findings.push_back({key, "cert needs TLS: client_tls_sslmode and client_tls_ca_file must be given too"});
  }
  if (type == AuthType::ldap && !settings.ldap) {
    findings.push_back({"auth_ldap_options", fmt::format("expected options, as {} is ldap; found none", key)});
  }
  if (settings.auth_file.empty() && !asks_servers_for_users(settings) && needs_known_users(settings, type)) {
    const auto word =
        std::find_if(kAuthTypeWords.begin(), kAuthTypeWords.end(), [&](const auto& one) { return one.second == type; });
    findings.push_back({"auth_file", fmt::format("expected a file name, as {} is {}; found none", key, word->first)});
  }
}

void check_login(const Settings& settings, Findings& findings) {
  check_auth_type(settings, settings.auth_type, "auth_type", findings);
  for (const auto& [name, database] : settings.databases) {
    const std::string key = database_key(name) + ".auth_type";
    if (database.auth_type) check_auth_type(settings, *database.auth_type, key, findings);
    if (!database.user.empty() || database.auth_type.value_or(settings.auth_type) != AuthType::any) continue;
    findings.push_back({database_key(name), fmt::format("expected a user, as {} is any; found none",
                                                        database.auth_type ? key : "auth_type")});
  }
  if (methods_in_use(settings).count(AuthType::pam) > 0 && login::Libpam::load() == nullptr) {
    findings.push_back({"auth_type", "pam needs libpam.so.0, which cannot be loaded"});
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
  const std::set<AuthType> methods = methods_in_use(settings);
  if (!settings.auth_hba_file.empty() && methods.count(AuthType::hba) == 0) {
    findings.push_back({"auth_hba_file", "has no effect, as auth_type is not hba"});
  }
  if (settings.ldap && methods.count(AuthType::ldap) == 0) {
    findings.push_back({"auth_ldap_options", "has no effect, as auth_type is not ldap"});
  }
  if (!settings.auth_ident_file.empty() && settings.auth_hba_file.empty()) {
    findings.push_back({"auth_ident_file", "has no effect, as there is no auth_hba_file"});
  }
}

void doubt_unknown_user(const Settings& settings, const std::string& key, const std::string& user, Findings& findings) {
  if (settings.auth_type == AuthType::any || settings.secrets.count(user) > 0) return;
  if (asks_others_for_users(settings)) return;
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
