#include <array>

#include "pool/login_throttle.h"
#include "src/config/ldap_options.h"
#include "src/config/pam_service.h"
#include "src/config/setting.h"
#include "src/config/values.h"

namespace bezel::config {

namespace {

using pool::AuthType;
using pool::BatchedSends;
using pool::PoolMode;
using pool::Settings;
using pool::TlsMode;

constexpr int64_t kTenYearsUs = int64_t{3650} * 86400 * kSecondUs;
constexpr int kConnectionsMax = 1'000'000;
/// What the kernel takes for TCP_KEEPIDLE and TCP_KEEPINTVL.
constexpr int64_t kKeepaliveUsMax = 32767 * kSecondUs;
/// PgBouncer's fixed time when tcp_defer_accept is switched on.
constexpr int64_t kDeferAcceptUs = 45 * kSecondUs;
/// A socket's path holds 107 bytes; "/.s.PGSQL.65535" comes after the folder.
constexpr size_t kSocketDirBytesMax = 107 - 15;

template <typename Value>
using Words = std::pair<std::string_view, Value>;

constexpr std::array<Words<AuthType>, 9> kAuthTypes = {{{"trust", AuthType::trust},
                                                        {"any", AuthType::any},
                                                        {"plain", AuthType::plain},
                                                        {"md5", AuthType::md5},
                                                        {"scram-sha-256", AuthType::scram_sha_256},
                                                        {"cert", AuthType::cert},
                                                        {"pam", AuthType::pam},
                                                        {"ldap", AuthType::ldap},
                                                        {"hba", AuthType::hba}}};
constexpr std::array<Words<PoolMode>, 3> kPoolModes = {
    {{"session", PoolMode::session}, {"transaction", PoolMode::transaction}, {"statement", PoolMode::statement}}};
constexpr std::array<Words<BatchedSends>, 4> kBatchedSends = {{{"auto", BatchedSends::automatic},
                                                               {"io_uring", BatchedSends::io_uring},
                                                               {"aio", BatchedSends::aio},
                                                               {"off", BatchedSends::off}}};

constexpr std::array<Words<TlsMode>, 6> kTlsModes = {{{"disable", TlsMode::disable},
                                                      {"allow", TlsMode::allow},
                                                      {"prefer", TlsMode::prefer},
                                                      {"require", TlsMode::require},
                                                      {"verify-ca", TlsMode::verify_ca},
                                                      {"verify-full", TlsMode::verify_full}}};

const std::array<Words<std::string>, 5>& log_levels() {
  static const std::array<Words<std::string>, 5> kLevels = {
      {{"error", "error"}, {"warning", "warning"}, {"info", "info"}, {"debug", "debug"}, {"trace", "trace"}}};
  return kLevels;
}

bool is_address_byte(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' || c == ':' ||
         c == '-' || c == '_' || c == '%';
}

bool is_address(std::string_view address) {
  if (address == "*") return true;
  for (const char c : address) {
    if (!is_address_byte(c)) return false;
  }
  return !address.empty();
}

bool is_address_list(std::string_view list) {
  if (trimmed(list).empty()) return true;
  while (true) {
    const size_t comma = list.find(',');
    if (!is_address(trimmed(list.substr(0, comma)))) return false;
    if (comma == std::string_view::npos) return true;
    list.remove_prefix(comma + 1);
  }
}

/// The console is no database of a server.
bool is_auth_dbname(std::string_view name) {
  return name != "pgbouncer" && name != "bezel";
}

bool is_socket_dir(std::string_view dir) {
  return dir.empty() || (dir.front() == '/' && dir.size() <= kSocketDirBytesMax);
}

DurationKind seconds(int64_t Settings::*member) {
  return {member, kSecondUs, kTenYearsUs};
}

IntegerKind connections(int Settings::*member, int min) {
  return {member, min, kConnectionsMax};
}

std::vector<Setting> make_table() {
  using enum Section;
  using enum Change;
  return {
      {"admin_users", login, at_runtime, NamesKind{&Settings::admin_users},
       "Users who may log in to the console (the database `pgbouncer` or `bezel`) and run every command there. With "
       "`auth_type: any` every user may."},
      {"application_name_add_host", pooling, at_runtime, BooleanKind{&Settings::application_name_add_host},
       "Appends the client's address and port to the `application_name` that it starts with, so that "
       "`pg_stat_activity` shows where a query comes from. A later `SET application_name` is left as it is."},
      {"auth_dbname", login, at_runtime, TextKind{&Settings::auth_dbname, "the name of a database", is_auth_dbname},
       "The entry of `databases:` that leads to the server, and the database there, on which `auth_query` is run. "
       "Empty: the database that the client asks for. Can be set per database."},
      {"auth_failure_limit", login, at_runtime,
       IntegerKind{&Settings::auth_failure_limit, 0, pool::LoginThrottle::kLimitMax},
       "How many logins from one IP address may fail in a minute. When so many have failed, further ones from there "
       "are refused before anything is checked, until the minute's share of one failure has passed. IPv6 addresses "
       "count by /64; the Unix socket does not count. 0: no limit. "
       "[authentication.md](authentication.md#failed-logins) says more."},
      {"auth_file", login, at_reload, FileKind{&Settings::auth_file},
       "The file of users and their secrets, in the format of PgBouncer's `userlist.txt`: a line `\"user\" \"secret\"` "
       "for each user, where the secret is a plain password, PostgreSQL's md5 hash, or a SCRAM-SHA-256 verifier, "
       "such as `bezel hash` makes of a password that it asks for. The secrets serve to check clients and, where a "
       "database has no `password`, to log in to servers. Needed by every `auth_type` but `any`, `pam` and `ldap`, "
       "unless "
       "there is an `auth_user`. It is read again when it changes, and at each reload; a line that cannot be read "
       "fails the "
       "reload."},
      {"auth_hba_file", login, at_reload, FileKind{&Settings::auth_hba_file},
       "The rules for `auth_type: hba`, in the format of PostgreSQL's `pg_hba.conf`: "
       "[authentication.md](authentication.md#host-based-authentication) says what is supported. It is read again "
       "when it or a file that it includes changes, and at each reload; a line that cannot be read fails the reload."},
      {"auth_ident_file", login, at_reload, FileKind{&Settings::auth_ident_file},
       "The maps from names in certificates and of system users to users, in the format of PostgreSQL's "
       "`pg_ident.conf`, which rules of `auth_hba_file` use by `map=`. It is read again when it "
       "or a file that it includes changes, and at each reload."},
      {"auth_ldap_options", login, at_reload,
       TextKind{&Settings::auth_ldap_options, "options of LDAP", nullptr, false, ldap_options_without_password},
       "Where and how `auth_type: ldap` has passwords checked, as `name=value` with blanks between them: "
       "[authentication.md](authentication.md#ldap) has the options, which are those of PostgreSQL. Rules of "
       "`auth_hba_file` have their own. `SHOW CONFIG` does not show `ldapbindpasswd`."},
      {"auth_pam_service", login, at_runtime,
       TextKind{&Settings::auth_pam_service, kPamServiceExpected, is_pam_service},
       "The PAM service by which passwords are checked with `auth_type: pam`: the name of a file in `/etc/pam.d`. "
       "Rules "
       "of `auth_hba_file` may name another one. See [authentication.md](authentication.md#pam)."},
      {"auth_query", login, at_runtime, TextKind{&Settings::auth_query, "a query"},
       "The query that finds the secret of a user that is not in `auth_file`, run by `auth_user`. `$1` is the user's "
       "name. It answers with one row of two columns, the name and the secret; no row, or a row of NULLs: there is no "
       "such user; a secret that is NULL: no password lets the user in. Names of one's own need their schema, as "
       "`search_path` has none but PostgreSQL's. Can be set per database."},
      {"auth_query_cache_ttl", login, at_runtime, seconds(&Settings::auth_query_cache_ttl_us),
       "How long an answer of `auth_query` serves further logins of the user. A wrong password has it asked for again "
       "at once. 0: each login asks."},
      {"auth_query_stale_max", login, at_runtime, seconds(&Settings::auth_query_stale_max_us),
       "How much longer than `auth_query_cache_ttl` an answer may serve logins while the server cannot be asked. 0: "
       "not at all."},
      {"auth_type", login, at_runtime, ChoiceKind<AuthType>{&Settings::auth_type, kAuthTypes},
       "How clients prove who they are. `md5`: by an md5 challenge, and by SCRAM-SHA-256 for users whose secret is a "
       "SCRAM verifier. `scram-sha-256`: by SCRAM-SHA-256 only; the secret is a verifier or a plain password. "
       "Over TLS both offer SCRAM-SHA-256-PLUS too, which binds the login to the connection. "
       "`plain`: by the password in clear text. `trust`: not at all, but the user must be in `auth_file`, or found by "
       "`auth_query`. `any`: "
       "not at all, any name will do; every database must then have a `user`, and everybody is a console "
       "administrator. `cert`: by a TLS certificate of `client_tls_ca_file` whose common name is the user's. `pam`, "
       "`ldap`: by a password in clear text that PAM or an LDAP server judges; users need not be in `auth_file`. "
       "`hba`: "
       "by what the rules of `auth_hba_file` say. Can be set per database. [authentication.md](authentication.md) "
       "explains them."},
      {"auth_user", login, at_runtime, TextKind{&Settings::auth_user, "the name of a user"},
       "The user that runs `auth_query`, so that the secrets of users need not be in `auth_file`; its own secret must "
       "be there, unless the server lets it in without. Empty: there are no users but those in `auth_file`. Can be set "
       "per database. See [users from the server](authentication-query.md)."},
      {"autodb_idle_timeout", timeouts, at_runtime, seconds(&Settings::autodb_idle_timeout_us),
       "A database that exists only because `*` stands in for its name is forgotten, with its statistics, when it has "
       "been unused for this long."},
      {"batched_sends", listening, at_restart, ChoiceKind<BatchedSends>{&Settings::batched_sends, kBatchedSends},
       "How data is sent to many connections in one system call, which costs less CPU than a call for each. "
       "`io_uring` is best, but containers often forbid it; `aio` is Linux's older asynchronous I/O, which they allow. "
       "With either start-up fails where the kernel does not allow it. `auto`: the best that it allows. `off`: a "
       "system "
       "call for each connection."},
      {"cancel_wait_timeout", timeouts, at_runtime, seconds(&Settings::cancel_wait_timeout_us),
       "How long a cancel request may wait before it is sent on to the server; after that the requester is "
       "disconnected. 0: without limit."},
      {"client_idle_timeout", timeouts, at_runtime, seconds(&Settings::client_idle_timeout_us),
       "Disconnects a client that has been outside a transaction without sending anything for this long. 0: never. "
       "Can be set per user."},
      {"client_login_timeout", login, at_runtime, seconds(&Settings::client_login_timeout_us),
       "Disconnects a client that has not finished its login after this long. 0: never."},
      {"client_tls13_ciphers", tls, at_reload, TextKind{&Settings::client_tls13_ciphers, "a list of TLS 1.3 ciphers"},
       "The TLS 1.3 cipher suites for clients, with colons between them. Empty: OpenSSL's."},
      {"client_tls_ca_file", tls, at_reload, FileKind{&Settings::client_tls_ca_file},
       "The certificates of the authorities (PEM) that clients' certificates are verified with. When it is given, a "
       "client's certificate is asked for; `verify-ca` and `verify-full` insist on one."},
      {"client_tls_cert_file", tls, at_reload, FileKind{&Settings::client_tls_cert_file},
       "The certificate (PEM, with the chain behind it) that clients are shown."},
      {"client_tls_ciphers", tls, at_reload, TextKind{&Settings::client_tls_ciphers, "a list of ciphers"},
       "The ciphers up to TLS 1.2 for clients, in OpenSSL's language, or `default`, `secure`, `normal`, `fast`, "
       "`all`."},
      {"client_tls_crl_file", tls, at_reload, FileKind{&Settings::client_tls_crl_file},
       "Lists of revoked certificates (PEM), one of each authority: clients with such a certificate are refused."},
      {"client_tls_dheparams", tls, at_reload, TextKind{&Settings::client_tls_dheparams, "auto, none or a file"},
       "Parameters of the DHE key exchange: `auto`, `none`, or a file (PEM)."},
      {"client_tls_ecdhcurve", tls, at_reload, TextKind{&Settings::client_tls_ecdhcurve, "auto or names of curves"},
       "The curves of the ECDHE key exchange, with colons between them, or `auto`."},
      {"client_tls_key_file", tls, at_reload, FileKind{&Settings::client_tls_key_file},
       "The private key of `client_tls_cert_file` (PEM, without a passphrase)."},
      {"client_tls_protocols", tls, at_reload, TextKind{&Settings::client_tls_protocols, "a list of protocols"},
       "The versions for clients: `secure` (TLS 1.2 and 1.3), `all`, or a list of `tlsv1.0`, `tlsv1.1`, `tlsv1.2`, "
       "`tlsv1.3`."},
      {"client_tls_sslmode", tls, at_reload, ChoiceKind<TlsMode>{&Settings::client_tls_sslmode, kTlsModes},
       "Whether clients come by TLS. `disable`: not at all. `allow`, `prefer`: as they like. `require`: they must, but "
       "for the Unix socket. `verify-ca`, `verify-full`: they must, and show a certificate of `client_tls_ca_file`. "
       "The PostgreSQL 17 way, TLS from the first byte, is served too. The files are read again when they change."},
      {"default_pool_size", pooling, at_runtime, connections(&Settings::default_pool_size, 1),
       "How many server connections a pool (one database and one user) may have. A database's or user's `pool_size` "
       "comes before it."},
      {"disable_pqexec", pooling, at_runtime, BooleanKind{&Settings::disable_pqexec},
       "Refuses the simple query protocol, in which one message may hold several statements. Clients must then use "
       "the extended protocol for everything."},
      {"dns_max_ttl", servers, at_runtime, seconds(&Settings::dns_max_ttl_us),
       "How long the addresses of a server's name are kept at most before the name is looked up again. Their own time "
       "to live in DNS holds where it is shorter, but not less than a second. While no DNS server answers, the "
       "addresses known before go on being used."},
      {"dns_nxdomain_ttl", servers, at_runtime, seconds(&Settings::dns_nxdomain_ttl_us),
       "How long a failed look-up of a server's name is kept before the next attempt."},
      {"failover_grace", servers, at_runtime, seconds(&Settings::failover_grace_us),
       "How long transactions that are under way on a server may go on when the source says that another one is to be "
       "the "
       "primary. Then, or as soon as that one is, they end with an error, and the connection is closed."},
      {"idle_transaction_timeout", timeouts, at_runtime, seconds(&Settings::idle_transaction_timeout_us),
       "Disconnects a client that has been idle inside a transaction for this long; its transaction is rolled back. "
       "0: never. Can be set per user."},
      {"ignore_startup_parameters", pooling, at_runtime, NamesKind{&Settings::ignore_startup_parameters},
       "Startup parameters of clients that are dropped rather than passed on to the server, such as "
       "`extra_float_digits`. `options` among them drops the unknown parameters inside `options`."},
      {"listen_addr", listening, at_restart,
       TextKind{&Settings::listen_addr, "addresses or names with commas between them, * for all, or nothing",
                is_address_list, true},
       "The addresses to listen on for TCP connections, with commas between them or as a YAML list: IPv4, IPv6 or "
       "names; `*` stands for all. Empty: no TCP, clients come by the Unix socket only."},
      {"listen_backlog", listening, at_restart, IntegerKind{&Settings::listen_backlog, 1, 65535},
       "How many connections the kernel may hold that have not been accepted yet. The kernel's own limit "
       "(`net.core.somaxconn`) applies too."},
      {"listen_port", listening, at_restart, PortKind{&Settings::listen_port, 1},
       "The port to listen on. It is also part of the Unix socket's name, `.s.PGSQL.<port>`."},
      {"log_connections", logs, at_runtime, BooleanKind{&Settings::log_connections}, "Logs each successful login."},
      {"log_disconnections", logs, at_runtime, BooleanKind{&Settings::log_disconnections},
       "Logs each disconnection, with the reason."},
      {"log_level", logs, at_runtime, ChoiceKind<std::string>{&Settings::log_level, log_levels()},
       "How much is logged: messages of this level and of those before it. `debug` tells of single connections, "
       "`trace` of single protocol steps."},
      {"log_pooler_errors", logs, at_runtime, BooleanKind{&Settings::log_pooler_errors},
       "Logs the errors that the pooler itself sends to clients."},
      {"log_stats", logs, at_runtime, BooleanKind{&Settings::log_stats},
       "Writes a line of statistics to the log every `stats_period`."},
      {"logfile", logs, at_reload, FileKind{&Settings::logfile},
       "The file to log to; a reload opens it anew, as log rotation needs. Empty: the standard error."},
      {"max_client_conn", pooling, at_runtime, connections(&Settings::max_client_conn, 1),
       "How many clients may be connected at a time. Each needs a file descriptor, each server connection one more: "
       "see that the process's limit (`ulimit -n`) allows for them."},
      {"max_db_client_connections", pooling, at_runtime, connections(&Settings::max_db_client_connections, 0),
       "How many clients may be connected to one database, all users together. 0: without limit. Can be set per "
       "database."},
      {"max_db_connections", pooling, at_runtime, connections(&Settings::max_db_connections, 0),
       "How many server connections one database may have, all users together. 0: without limit. The database that "
       "clients ask for counts, not the one on the server. Can be set per database."},
      {"max_packet_size", pooling, at_runtime, SizeKind{&Settings::max_packet_size_bytes, 1024, 2147483647},
       "The largest protocol message that is let through: one statement, or one row of a result."},
      {"max_prepared_statements", pooling, at_runtime, IntegerKind{&Settings::max_prepared_statements, 0, 1'000'000},
       "How many named prepared statements are kept on each server connection, the least recently used making room. "
       "They work in transaction and statement mode whichever server a client gets. 0: not supported in these modes."},
      {"max_user_client_connections", pooling, at_runtime, connections(&Settings::max_user_client_connections, 0),
       "How many clients may be connected as one user, all databases together. 0: without limit. Can be set per user."},
      {"max_user_connections", pooling, at_runtime, connections(&Settings::max_user_connections, 0),
       "How many server connections one user may have, all databases together. The user of the server connection "
       "counts: a database's `user`, or else the client's. 0: without limit. Can be set per user."},
      {"metrics_addr", logs, at_restart,
       TextKind{&Settings::metrics_addr, "one address or name, or * for all", is_address},
       "The address on which metrics and health are served."},
      {"metrics_port", logs, at_restart, PortKind{&Settings::metrics_port, 0},
       "The port for HTTP: `/metrics` for Prometheus, `/healthz` and `/readyz`. 0: none."},
      {"min_pool_size", pooling, at_runtime, connections(&Settings::min_pool_size, 0),
       "Pools are kept filled to at least this many server connections, so that they are ready after an idle time. "
       "It applies to pools of a database with a `user`, and to those with a client connected. Can be set per "
       "database."},
      {"pidfile", logs, at_restart, FileKind{&Settings::pidfile},
       "The file to write the process's number to; it is removed at the end. Empty: none."},
      {"pool_mode", pooling, at_runtime, ChoiceKind<PoolMode>{&Settings::pool_mode, kPoolModes},
       "When a server connection goes back to its pool: at the end of the client's `session`, of each `transaction`, "
       "or "
       "of each `statement` (transactions of several statements are then refused). Can be set per database and per "
       "user."},
      {"query_timeout", timeouts, at_runtime, seconds(&Settings::query_timeout_us),
       "Ends a query that runs longer than this: its client and its server connection are closed. 0: never. Meant for "
       "network faults; the server's own `statement_timeout` should be a little shorter. Can be set per user."},
      {"query_wait_notify", timeouts, at_runtime, seconds(&Settings::query_wait_notify_us),
       "Sends a client a NOTICE when it has waited for a server connection this long. 0: never."},
      {"query_wait_timeout", timeouts, at_runtime, seconds(&Settings::query_wait_timeout_us),
       "How long a client may wait for a server connection; then it gets an error and is disconnected. 0: without "
       "limit."},
      {"reserve_pool_size", pooling, at_runtime, connections(&Settings::reserve_pool_size, 0),
       "How many server connections a pool may have beyond its size when clients have waited for "
       "`reserve_pool_timeout`. 0: none. Can be set per database and per user."},
      {"reserve_pool_timeout", pooling, at_runtime, seconds(&Settings::reserve_pool_timeout_us),
       "How long a client waits before the reserve is used for it. 0: the reserve is never used."},
      {"resolv_conf", servers, at_reload, FileKind{&Settings::resolv_conf},
       "The file, in the format of resolv.conf(5), that names the DNS servers for the names of PostgreSQL servers. A "
       "server may have a port (`192.0.2.1:5353`, `[2001:db8::1]:5353`). It is read at each look-up. Empty: "
       "`/etc/resolv.conf`. `/etc/hosts` goes before DNS in any case."},
      {"server_ack_timeout", servers, at_runtime, seconds(&Settings::server_ack_timeout_us),
       "How long the host of a server may leave unacknowledged what was sent to it, before the connection is taken for "
       "lost: it is dead, or cut off. It is looked at once a second. 0: TCP's own rule, which can take a quarter of an "
       "hour. A server that is only slow, or does not read, is not meant: its host acknowledges."},
      {"server_check_delay", servers, at_runtime, seconds(&Settings::server_check_delay_us),
       "A server connection that has been idle for longer than this is checked by `server_check_query` before it is "
       "used again. 0: always."},
      {"server_check_query", servers, at_runtime, TextKind{&Settings::server_check_query, "a query"},
       "The query that tells whether a server connection still works. `<empty>`: an empty query. An empty text: no "
       "check."},
      {"server_connect_timeout", servers, at_runtime, seconds(&Settings::server_connect_timeout_us),
       "Gives up a server connection whose connect and login take longer than this. 0: never."},
      {"server_fast_close", servers, at_runtime, BooleanKind{&Settings::server_fast_close},
       "In session mode, closes a server connection that should go (after `RECONNECT`, a reload that changes it, or a "
       "change of address) at the end of the current transaction rather than of the session, and the client with it."},
      {"server_idle_timeout", servers, at_runtime, seconds(&Settings::server_idle_timeout_us),
       "Closes a server connection that has been idle for this long. 0: never."},
      {"server_lifetime", servers, at_runtime, seconds(&Settings::server_lifetime_us),
       "Closes a server connection that is older than this as soon as it is unused. 0: each connection is used once. "
       "Can be set per database."},
      {"server_login_retry", servers, at_runtime, seconds(&Settings::server_login_retry_us),
       "How long to wait after a failed connect or login to a server before the next attempt. Clients that want a "
       "server connection wait meanwhile, for `query_wait_timeout` at most; where there are several servers and the "
       "failure is about that one (it is full, say), they go to another one that will do."},
      {"server_reset_query", servers, at_runtime, TextKind{&Settings::server_reset_query, "a query"},
       "The query that cleans a server connection before another client gets it, in session mode. Empty: none."},
      {"server_reset_query_always", servers, at_runtime, BooleanKind{&Settings::server_reset_query_always},
       "Runs `server_reset_query` in transaction and statement mode too, after each use. Clients then lose all "
       "session state every time."},
      {"server_round_robin", pooling, at_runtime, BooleanKind{&Settings::server_round_robin},
       "Uses the server connection that has been idle longest, rather than the one used last. Use it when several "
       "servers stand behind one address and should get an equal share."},
      {"server_tls13_ciphers", tls, at_reload, TextKind{&Settings::server_tls13_ciphers, "a list of TLS 1.3 ciphers"},
       "The TLS 1.3 cipher suites for servers, with colons between them. Empty: OpenSSL's."},
      {"server_tls_ca_file", tls, at_reload, FileKind{&Settings::server_tls_ca_file},
       "The certificates of the authorities (PEM) that servers' certificates are verified with."},
      {"server_tls_cert_file", tls, at_reload, FileKind{&Settings::server_tls_cert_file},
       "The certificate (PEM) that servers are shown when they ask for one."},
      {"server_tls_ciphers", tls, at_reload, TextKind{&Settings::server_tls_ciphers, "a list of ciphers"},
       "The ciphers up to TLS 1.2 for servers, as in `client_tls_ciphers`."},
      {"server_tls_crl_file", tls, at_reload, FileKind{&Settings::server_tls_crl_file},
       "Lists of revoked certificates (PEM), one of each authority: servers with such a certificate are refused."},
      {"server_tls_key_file", tls, at_reload, FileKind{&Settings::server_tls_key_file},
       "The private key of `server_tls_cert_file` (PEM, without a passphrase)."},
      {"server_tls_protocols", tls, at_reload, TextKind{&Settings::server_tls_protocols, "a list of protocols"},
       "The versions for servers, as in `client_tls_protocols`."},
      {"server_tls_sslmode", tls, at_reload, ChoiceKind<TlsMode>{&Settings::server_tls_sslmode, kTlsModes},
       "Whether servers are reached by TLS, cancel requests included; Unix sockets never are. `disable`: not at all. "
       "`allow`, `prefer`: where the server offers it. `require`: always. `verify-ca`: always, and the certificate "
       "must be of `server_tls_ca_file`. `verify-full`: it must be for the host's name, too."},
      {"stats_period", logs, at_runtime,
       DurationKind{&Settings::stats_period_us, kSecondUs, 86400 * kSecondUs, kSecondUs},
       "How often the averages of `SHOW STATS` are made and, with `log_stats`, written to the log."},
      {"stats_users", login, at_runtime, NamesKind{&Settings::stats_users},
       "Users who may log in to the console and run its `SHOW` commands there, nothing else."},
      {"suspend_timeout", timeouts, at_runtime, seconds(&Settings::suspend_timeout_us),
       "How long `SUSPEND` waits for buffers to empty; then the connections that have not are closed."},
      {"tcp_defer_accept", tcp, at_restart,
       DurationKind{&Settings::tcp_defer_accept_us, kSecondUs, 3600 * kSecondUs, kSecondUs, kDeferAcceptUs},
       "TCP_DEFER_ACCEPT: the kernel hands a client over only when it has sent something, or this time has passed. 0 "
       "or `off`: at once."},
      {"tcp_keepalive", tcp, at_runtime, BooleanKind{&Settings::tcp_keepalive},
       "Lets the kernel probe idle TCP connections, so that peers that vanished are noticed. Applies to new "
       "connections, as the following do."},
      {"tcp_keepcnt", tcp, at_runtime, IntegerKind{&Settings::tcp_keepcnt, 0, 127},
       "TCP_KEEPCNT: after how many unanswered probes a connection is given up. 0: the kernel's own value; for servers "
       "2."},
      {"tcp_keepidle", tcp, at_runtime, DurationKind{&Settings::tcp_keepidle_us, kSecondUs, kKeepaliveUsMax, kSecondUs},
       "TCP_KEEPIDLE: after how long without traffic the probes begin. 0: the kernel's own value; for servers 2 s."},
      {"tcp_keepintvl", tcp, at_runtime,
       DurationKind{&Settings::tcp_keepintvl_us, kSecondUs, kKeepaliveUsMax, kSecondUs},
       "TCP_KEEPINTVL: how long after a probe the next one is sent. 0: the kernel's own value; for servers 1 s."},
      {"tcp_user_timeout", tcp, at_runtime,
       DurationKind{&Settings::tcp_user_timeout_us, kMillisecondUs, 86400 * kSecondUs, kMillisecondUs},
       "TCP_USER_TIMEOUT: how long data may stay unacknowledged, or unsent because the peer does not read, before the "
       "connection is given up. 0: the kernel's own rule, which can take a quarter of an hour. For servers "
       "`server_ack_timeout` is better: a server that is busy, and reads nothing meanwhile, is not dead."},
      {"transaction_timeout", timeouts, at_runtime, seconds(&Settings::transaction_timeout_us),
       "Disconnects a client whose transaction lasts longer than this; it is rolled back. 0: never. Can be set per "
       "user."},
      {"unix_socket_dir", listening, at_restart,
       TextKind{&Settings::unix_socket_dir, "the absolute path of a folder (of at most 92 bytes), or nothing",
                is_socket_dir},
       "The folder of the Unix socket that clients may use. Empty: none. A database without a `host` is reached by a "
       "Unix socket in this folder too."},
      {"unix_socket_group", listening, at_restart, TextKind{&Settings::unix_socket_group, "a group's name"},
       "The group that the Unix socket is given to. Empty: the process's own."},
      {"unix_socket_mode", listening, at_restart, FileModeKind{&Settings::unix_socket_mode},
       "The Unix socket's file mode, in octal."},
      {"workers", listening, at_restart, IntegerKind{&Settings::workers, 1, 1024, true},
       "How many event loops (threads) share the work. `auto`: as many as the CPU quota of the container, or else the "
       "machine, gives."},
  };
}

}  // namespace

const PoolModeWords kPoolModeWords = kPoolModes;
const AuthTypeWords kAuthTypeWords = kAuthTypes;

const std::vector<Setting>& settings_table() {
  static const std::vector<Setting> kTable = make_table();
  return kTable;
}

}  // namespace bezel::config
