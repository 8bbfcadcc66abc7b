#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "pool/host_address.h"
#include "pool/tls.h"
#include "pool/upstream_settings.h"
#include "protocol/secret.h"

namespace bezel::pool {

class HbaRules;
struct LdapSettings;

/// When a server goes back to its pool: at the end of the client's session, transaction or statement.
enum class PoolMode : uint8_t { session, transaction, statement };

/// How clients prove who they are. md5 also serves users whose secret is a SCRAM verifier, by SCRAM, as PgBouncer does.
/// any: like trust, but the user name need not be known and the database must force a user. cert: by a TLS certificate
/// for the user's name. pam, ldap: by a password that PAM or an LDAP server judges; the user need not be known here.
/// hba: as the rules of auth_hba_file say. The last two are for such rules only: peer, by the system user that a Unix
/// socket's client runs as; reject, not at all.
enum class AuthType : uint8_t { trust, any, plain, md5, scram_sha_256, cert, pam, ldap, hba, peer, reject };

/// How the sends of a turn of the event loop reach the kernel in one system call: the best way that it allows, a
/// certain one (start-up fails without it), or not at all.
enum class BatchedSends : uint8_t { automatic, io_uring, aio, off };

/// Which of several hosts of a database is tried first: each in turn, or always the first one that works.
enum class LoadBalanceHosts : uint8_t { round_robin, disable };

/// libpq's channel_binding: whether logins to servers are bound to their TLS connections (SCRAM-SHA-256-PLUS): never,
/// where both sides can, or else not at all.
enum class ChannelBindingMode : uint8_t { disable, prefer, require };

/// libpq's target_session_attrs: which servers of an upstream a database's connections may go to. A server says itself
/// what it is.
enum class TargetSessionAttrs : uint8_t { any, read_write, read_only, primary, standby, prefer_standby };

/// One entry of `databases:`. An absent value means: the global setting holds.
struct DatabaseSettings {
  std::string name;                ///< what clients ask for; "*" stands for every name that has no entry
  std::string dbname;              ///< its name on the server; empty: the name that the client asked for
  std::vector<HostAddress> hosts;  ///< at least one
  LoadBalanceHosts load_balance_hosts = LoadBalanceHosts::round_robin;
  std::optional<UpstreamSettings> upstream;  ///< nothing: `hosts` are all the same to it
  TargetSessionAttrs target_session_attrs = TargetSessionAttrs::any;
  int64_t replica_lag_bytes_max = 0;  ///< standby, prefer_standby: replicas further behind get nobody; 0: no limit
  std::string user;                   ///< forced user of server connections; empty: the client's own
  std::string password;               ///< the forced user's password; empty: its secret from auth_file
  ChannelBindingMode channel_binding = ChannelBindingMode::prefer;
  std::optional<int> pool_size, min_pool_size, reserve_pool_size, max_db_connections, max_db_client_connections;
  std::optional<PoolMode> pool_mode;
  std::optional<int64_t> server_lifetime_us;
  std::optional<AuthType> auth_type;
  std::string auth_user, auth_query, auth_dbname;  ///< empty: the global ones
  bool direct_tls = false;                         ///< sslnegotiation=direct: TLS from the first byte (PostgreSQL 17)
  std::string connect_query;                       ///< run on each new server connection before its first use
  /// Startup parameters of every server connection (client_encoding, datestyle, timezone, application_name).
  std::vector<std::pair<std::string, std::string>> server_parameters;
  bool operator==(const DatabaseSettings&) const = default;
};

/// One entry of `users:`. An absent value means: the database's or global setting holds.
struct UserSettings {
  std::string name;
  std::optional<PoolMode> pool_mode;
  std::optional<int> pool_size, reserve_pool_size, max_user_connections, max_user_client_connections;
  std::optional<int64_t> query_timeout_us, idle_transaction_timeout_us, transaction_timeout_us, client_idle_timeout_us;
  bool operator==(const UserSettings&) const = default;
};

/// All settings, under PgBouncer's names where it has them. One immutable object is shared by all threads; a reload
/// makes a new one. A timeout of 0 is off; a limit of 0 is "no limit" where PgBouncer means it so.
struct Settings {
  // Listening.
  std::string listen_addr = "127.0.0.1";  ///< comma-separated addresses; "*": all; empty: no TCP
  uint16_t listen_port = 6432;
  int listen_backlog = 128;
  std::string unix_socket_dir = "/tmp";  ///< empty: no Unix socket
  uint32_t unix_socket_mode = 0777;
  std::string unix_socket_group;
  std::string metrics_addr = "127.0.0.1";
  uint16_t metrics_port = 0;  ///< 0: no metrics, no health
  int workers = 0;            ///< event loops; 0 (`auto`): as many as the cgroup's CPU quota gives
  BatchedSends batched_sends = BatchedSends::automatic;

  // Login.
  AuthType auth_type = AuthType::md5;
  std::string auth_file;
  std::string auth_hba_file, auth_ident_file;
  std::string auth_pam_service = "pgbouncer";
  std::string auth_ldap_options;
  int auth_failure_limit = 30;  ///< failed logins of one address in a minute; 0: no limit
  std::string auth_user;        ///< empty: only auth_file has users
  std::string auth_query =
      "SELECT rolname, CASE WHEN rolvaliduntil < pg_catalog.now() THEN NULL ELSE rolpassword END "
      "FROM pg_catalog.pg_authid WHERE rolname = $1 AND rolcanlogin";
  std::string auth_dbname;  ///< empty: the database that the client asks for
  int64_t auth_query_cache_ttl_us = 30'000'000;
  int64_t auth_query_stale_max_us = 3600'000'000;
  std::vector<std::string> admin_users, stats_users;
  int64_t client_login_timeout_us = 60'000'000;

  // TLS, of clients and of servers.
  TlsMode client_tls_sslmode = TlsMode::disable;
  std::string client_tls_ca_file, client_tls_crl_file, client_tls_cert_file, client_tls_key_file;
  std::string client_tls_protocols = "secure";
  std::string client_tls_ciphers = "default";
  std::string client_tls13_ciphers;
  std::string client_tls_dheparams = "auto";
  std::string client_tls_ecdhcurve = "auto";
  TlsMode server_tls_sslmode = TlsMode::prefer;
  std::string server_tls_ca_file, server_tls_crl_file, server_tls_cert_file, server_tls_key_file;
  std::string server_tls_protocols = "secure";
  std::string server_tls_ciphers = "default";
  std::string server_tls13_ciphers;

  // Pooling.
  PoolMode pool_mode = PoolMode::transaction;
  int max_client_conn = 1000;
  int default_pool_size = 25;
  int min_pool_size = 0;
  int reserve_pool_size = 0;
  int64_t reserve_pool_timeout_us = 5'000'000;
  int max_db_connections = 100;
  int max_db_client_connections = 0;
  int max_user_connections = 0;
  int max_user_client_connections = 0;
  bool server_round_robin = false;
  int max_prepared_statements = 200;
  int64_t max_packet_size_bytes = 2147483647;
  std::vector<std::string> ignore_startup_parameters;
  bool application_name_add_host = false;
  bool disable_pqexec = false;

  // Servers.
  std::string server_reset_query = "DISCARD ALL";
  bool server_reset_query_always = false;
  std::string server_check_query = "<empty>";  ///< "<empty>": an empty query; "": no check
  int64_t server_check_delay_us = 30'000'000;
  bool server_fast_close = false;
  int64_t server_ack_timeout_us = 3'000'000;
  int64_t server_lifetime_us = 3600'000'000;
  int64_t server_idle_timeout_us = 600'000'000;
  int64_t server_connect_timeout_us = 15'000'000;
  int64_t server_login_retry_us = 1'000'000;  // PgBouncer: 15 s; clients wait here, so trying often is cheap
  int64_t failover_grace_us =
      2'000'000;  ///< for transactions on a server, when the source names another one as the primary
  int64_t dns_max_ttl_us = 15'000'000;
  int64_t dns_nxdomain_ttl_us = 15'000'000;
  std::string resolv_conf;  ///< empty: /etc/resolv.conf
  int64_t autodb_idle_timeout_us = 3600'000'000;

  // Timeouts.
  int64_t query_wait_timeout_us = 120'000'000;
  int64_t query_wait_notify_us = 5'000'000;
  int64_t cancel_wait_timeout_us = 10'000'000;
  int64_t client_idle_timeout_us = 0;
  int64_t idle_transaction_timeout_us = 0;
  int64_t query_timeout_us = 0;
  int64_t transaction_timeout_us = 0;
  int64_t suspend_timeout_us = 10'000'000;

  // TCP.
  bool tcp_keepalive = true;
  int tcp_keepcnt = 0;           ///< 0: the kernel's
  int64_t tcp_keepidle_us = 0;   ///< 0: the kernel's
  int64_t tcp_keepintvl_us = 0;  ///< 0: the kernel's
  int64_t tcp_user_timeout_us = 0;
  int64_t tcp_defer_accept_us = 0;

  // Logs and statistics.
  std::string log_level = "info";  ///< error, warning, info, debug, trace
  std::string logfile;             ///< empty: standard error
  std::string pidfile;
  bool log_connections = true;
  bool log_disconnections = true;
  bool log_pooler_errors = true;
  bool log_stats = true;
  int64_t stats_period_us = 60'000'000;

  std::optional<UpstreamSettings> upstream;           ///< of databases that say nothing else
  std::map<std::string, DatabaseSettings> databases;  ///< by name, "*" among them
  std::map<std::string, UserSettings> users;
  /// The contents of auth_file, by user.
  std::map<std::string, protocol::StoredSecret> secrets;
  /// The contents of auth_hba_file, with those of auth_ident_file that they use. Null: there is no such file.
  std::shared_ptr<const HbaRules> hba_rules;
  /// What else than these two files the rules depend on: the files and folders that they include.
  std::vector<std::string> included_files;
  /// What auth_ldap_options comes to. Null: there are none.
  std::shared_ptr<const LdapSettings> ldap;
  /// What the TLS settings come to, their files read. Null: no TLS on that side.
  std::shared_ptr<const TlsContext> client_tls, server_tls;
};

using SettingsPtr = std::shared_ptr<const Settings>;

}  // namespace bezel::pool
