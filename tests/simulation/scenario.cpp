#include "tests/simulation/scenario.h"

#include <fmt/format.h>

#include <algorithm>

#include "pool/upstream.h"
#include "tests/simulation/replicas.h"

namespace bezel::simulation {

using pool::AuthType;
using pool::PoolMode;

namespace {

constexpr int64_t kMillisecond = 1000;

PoolMode random_mode(Random& random) {
  return random.chance(75) ? PoolMode::transaction : random.chance(60) ? PoolMode::session : PoolMode::statement;
}

}  // namespace

Scenario::Scenario(Random& random) : settings(std::make_shared<pool::Settings>()) {
  workers = random.chance(50) ? 1 : static_cast<int>(random.between(2, 3));
  clients = static_cast<int>(random.chance(20) ? 1 : random.between(2, random.chance(20) ? 12 : 6));
  actions = static_cast<int>(random.between(1, 7));
  reports_at_once = random.chance(30);
  choose_authentication(random);
  choose_databases(random);
  choose_limits(random);
  if (random.chance(35)) cluster.emplace();
  choose_misfortunes(random);
  if (cluster) choose_cluster(random);
}

Scenario::Scenario() : settings(std::make_shared<pool::Settings>()), slow_queries(0), big_results(0), bytewise(0) {}

void Scenario::choose_authentication(Random& random) {
  using protocol::SecretKind;
  const size_t kind = random.below(10);
  const SecretKind secret_kind = kind < 6 ? SecretKind::plain : kind < 8 ? SecretKind::md5 : SecretKind::scram_sha_256;
  server_auth = static_cast<ServerAuth>(random.below(4));
  if (random.chance(50)) {
    tls_facts.emplace();
    if (random.chance(90)) tls_facts->server_end_point = std::string(32, static_cast<char>(random.below(256)));
    servers_offer_plus = random.chance(80) && !tls_facts->server_end_point.empty();
  }
  settings->auth_failure_limit = 0;  // all clients come from one address
  switch (secret_kind) {
    case SecretKind::plain: {
      static constexpr AuthType kTypes[] = {AuthType::trust, AuthType::plain, AuthType::md5, AuthType::scram_sha_256};
      settings->auth_type = kTypes[random.below(random.chance(10) ? 4 : 3)];  // the last one takes real time
      break;
    }
    case SecretKind::md5: {
      static constexpr AuthType kTypes[] = {AuthType::trust, AuthType::plain, AuthType::md5};
      settings->auth_type = kTypes[random.below(3)];
      if (server_auth == ServerAuth::cleartext || server_auth == ServerAuth::scram) server_auth = ServerAuth::md5;
      break;
    }
    case SecretKind::scram_sha_256:
      settings->auth_type = random.chance(50) ? AuthType::md5 : AuthType::scram_sha_256;
      if (server_auth != ServerAuth::trust) server_auth = ServerAuth::scram;
      break;
  }
  add_users(secret_kind);
}

void Scenario::add_users(protocol::SecretKind kind) {
  using protocol::SecretKind;
  for (const char* user : {"u1", "u2", "shared"}) passwords[user] = std::string("pw_") + user;
  for (const auto& [user, password] : passwords) {
    const std::string salt = "salt of " + user;
    const int iterations = 2;
    const protocol::ScramVerifier verifier =
        protocol::make_verifier(*protocol::derive_keys(password, salt, iterations), salt, iterations);
    verifiers[user] = verifier;
    settings->secrets[user] = kind == SecretKind::plain ? protocol::parse_secret(password)
                              : kind == SecretKind::md5 ? protocol::parse_secret(*protocol::md5_of(password, user))
                                                        : protocol::parse_secret(protocol::build_verifier(verifier));
  }
}

void Scenario::choose_databases(Random& random) {
  const auto add = [&](const std::string& name) -> pool::DatabaseSettings& {
    pool::DatabaseSettings& entry = settings->databases[name];
    entry.name = name;
    entry.hosts = {{"primary", 5432}};
    if (random.chance(20)) entry.hosts.push_back({"secondary", 5433});
    if (random.chance(20)) entry.server_parameters.emplace_back("TimeZone", "Europe/Rome");
    if (random.chance(15)) entry.pool_mode = random_mode(random);
    if (random.chance(20)) entry.pool_size = static_cast<int>(random.between(1, 3));
    if (random.chance(20)) entry.max_db_connections = static_cast<int>(random.between(1, 3));
    using Binding = pool::ChannelBindingMode;
    const bool bound = server_auth == ServerAuth::scram && tls_facts && servers_offer_plus;
    entry.channel_binding = bound && random.chance(50) ? Binding::require
                            : random.chance(20)        ? Binding::disable
                                                       : Binding::prefer;
    if (random.chance(10)) entry.connect_query = "select connect 1 0";
    return entry;
  };
  add("db1");
  if (random.chance(50)) add("db2").dbname = "real2";
  if (random.chance(30)) {
    pool::DatabaseSettings& forced = add("db3");
    forced.user = "shared";
    forced.password = passwords["shared"];
    if (random.chance(50)) forced.min_pool_size = 1;
  }
  if (random.chance(20)) add("*");
}

void Scenario::choose_limits(Random& random) {
  settings->pool_mode = random_mode(random);
  settings->default_pool_size = static_cast<int>(random.between(1, 5));
  if (random.chance(20)) settings->min_pool_size = static_cast<int>(random.between(1, 3));
  if (random.chance(25)) {
    settings->reserve_pool_size = static_cast<int>(random.between(1, 2));
    settings->reserve_pool_timeout_us = random.between(1, 50) * kMillisecond;
  }
  if (random.chance(40)) settings->max_db_connections = static_cast<int>(random.between(1, 6));
  if (random.chance(25)) settings->max_user_connections = static_cast<int>(random.between(1, 4));
  if (random.chance(10)) settings->max_client_conn = static_cast<int>(random.between(1, 5));
  if (random.chance(10)) settings->max_user_client_connections = static_cast<int>(random.between(1, 4));
  if (random.chance(10)) settings->max_db_client_connections = static_cast<int>(random.between(1, 4));
  settings->server_round_robin = random.chance(30);
  settings->server_reset_query_always = random.chance(15);
  if (random.chance(15)) settings->server_check_delay_us = random.between(1, 100) * kMillisecond;
  if (random.chance(20)) settings->server_check_query = "select check 1 0";
  if (random.chance(15)) settings->server_lifetime_us = random.between(5, 500) * kMillisecond;
  if (random.chance(15)) settings->server_idle_timeout_us = random.between(5, 500) * kMillisecond;
  settings->server_login_retry_us = random.between(30, 300) * kMillisecond;
  settings->query_wait_timeout_us = 10'000 * kMillisecond;
  settings->max_prepared_statements = random.chance(40) ? static_cast<int>(random.between(1, 3)) : 100;
  if (random.chance(3)) settings->max_prepared_statements = 0;
  settings->application_name_add_host = random.chance(5);
  if (random.chance(10)) settings->ignore_startup_parameters = {"search_path"};
}

void Scenario::choose_misfortunes(Random& random) {
  if (random.chance(25)) refused_dials = static_cast<int>(random.between(1, 40));
  if (random.chance(25)) failing_logins = static_cast<int>(random.between(1, 40));
  if (random.chance(15)) server_slots = static_cast<int>(random.between(1, 5));
  slow_queries = static_cast<int>(random.chance(50) ? 10 : random.between(0, 90));
  big_results = random.chance(30) ? 15 : 1;
  server_faults = random.chance(25);
  standbys = random.chance(15) && !cluster;
  if (standbys) {
    for (auto& [name, entry] : settings->databases) entry.target_session_attrs = pool::TargetSessionAttrs::primary;
  }
  half_dead = random.chance(8) && !cluster;
  async_notices = random.chance(30);
  client_faults = random.chance(50);
  cancels = random.chance(50);
  operations = random.chance(25);
  reloads = random.chance(15);
  odd_clients = random.chance(25);
  timeouts = random.chance(15) && !cluster;
  if (!timeouts) return;
  if (random.chance(40)) settings->query_wait_timeout_us = random.between(1, 100) * kMillisecond;
  if (random.chance(40)) settings->query_wait_notify_us = random.between(1, 50) * kMillisecond;
  if (random.chance(30)) settings->query_timeout_us = random.between(1, 100) * kMillisecond;
  if (random.chance(30)) settings->transaction_timeout_us = random.between(1, 100) * kMillisecond;
  if (random.chance(30)) settings->idle_transaction_timeout_us = random.between(1, 50) * kMillisecond;
  if (random.chance(30)) settings->client_idle_timeout_us = random.between(1, 100) * kMillisecond;
  if (random.chance(30)) settings->server_connect_timeout_us = random.between(5, 100) * kMillisecond;
  if (random.chance(20)) settings->client_login_timeout_us = random.between(5, 100) * kMillisecond;
  if (random.chance(30)) settings->cancel_wait_timeout_us = random.between(1, 20) * kMillisecond;
}

void Scenario::choose_cluster(Random& random) {
  using pool::TargetSessionAttrs;
  static constexpr pool::UpstreamSource kSources[] = {pool::UpstreamSource::fixed, pool::UpstreamSource::dns,
                                                      pool::UpstreamSource::patroni, pool::UpstreamSource::patroni};
  cluster->source = kSources[random.below(4)];
  for (int64_t i = random.between(2, 4); i > 0; i--) cluster->hosts.push_back({fmt::format("m{}", i), 5432});
  reports_hot_standby = random.chance(80);
  source_tells_timelines = random.chance(70);
  source_falls_silent = random.chance(30);
  bool first = true;
  for (auto& [name, entry] : settings->databases) {
    entry.upstream = cluster;
    entry.target_session_attrs = first || random.chance(50) ? TargetSessionAttrs::primary
                                 : random.chance(50)        ? TargetSessionAttrs::standby
                                                            : TargetSessionAttrs::prefer_standby;
    first = false;
  }
  switchovers = cluster->source == pool::UpstreamSource::patroni && random.chance(50);
  replicas_lag = random.chance(50);
  for (auto& [name, entry] : settings->databases) {
    const bool reads = !pool::wants_primary(entry.target_session_attrs);
    if (reads && random.chance(60)) entry.replica_lag_bytes_max = kReplicaLagBytesMax;
  }
  actions = static_cast<int>(random.between(3, 20));
  settings->failover_grace_us = random.between(1, 2000) * kMillisecond;
  // Misfortunes that the cluster has of its own.

  server_slots = 1000;
  if (random.chance(70)) refused_dials = failing_logins = 0;
  if (random.chance(50)) operations = false;
  if (random.chance(70)) reloads = false;
  // Not drawn from the rest, so that seeds without it are what they were before there was this.
  Random aside = random;
  replicas_leave = aside.chance(15);
  read_only = aside.chance(10);
  replicas_fill = aside.chance(15);
  if (!read_only) return;
  for (auto& [name, entry] : settings->databases) {
    if (entry.target_session_attrs == TargetSessionAttrs::primary) {
      entry.target_session_attrs = TargetSessionAttrs::read_write;
    }
  }
}

pool::TargetSessionAttrs Scenario::target_of(const std::string& database) const {
  auto entry = settings->databases.find(database);
  if (entry == settings->databases.end()) entry = settings->databases.find("*");
  return entry == settings->databases.end() ? pool::TargetSessionAttrs::any : entry->second.target_session_attrs;
}

PoolMode Scenario::mode_of(const std::string& database, const std::string& user) const {
  auto entry = settings->databases.find(database);
  if (entry == settings->databases.end()) entry = settings->databases.find("*");
  const std::string& server_user =
      entry != settings->databases.end() && !entry->second.user.empty() ? entry->second.user : user;
  const auto named = settings->users.find(server_user);
  if (named != settings->users.end() && named->second.pool_mode) return *named->second.pool_mode;
  if (entry != settings->databases.end() && entry->second.pool_mode) return *entry->second.pool_mode;
  return settings->pool_mode;
}

std::shared_ptr<pool::Settings> with_other_limits(const pool::Settings& settings, Random& random) {
  auto changed = std::make_shared<pool::Settings>(settings);
  changed->default_pool_size = static_cast<int>(random.between(1, 5));
  changed->max_db_connections = static_cast<int>(random.between(1, 6));
  changed->max_user_connections = random.chance(50) ? 0 : static_cast<int>(random.between(1, 4));
  changed->min_pool_size = random.chance(70) ? 0 : static_cast<int>(random.between(1, 3));
  changed->max_client_conn = static_cast<int>(random.between(3, 100));
  const bool prepares = settings.max_prepared_statements > 0;
  if (prepares && random.chance(30)) changed->max_prepared_statements = static_cast<int>(random.between(1, 100));
  if (random.chance(30)) changed->databases.begin()->second.hosts = {{"secondary", 5433}};
  if (random.chance(10) && changed->databases.size() > 1) changed->databases.erase(changed->databases.begin());
  return changed;
}

}  // namespace bezel::simulation
