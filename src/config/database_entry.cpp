#include "src/config/database_entry.h"

#include <fmt/format.h>
#include <strings.h>

#include <algorithm>
#include <array>
#include <optional>
#include <utility>

#include "protocol/startup.h"
#include "src/config/setting.h"
#include "src/config/spelling.h"
#include "src/config/upstream_entry.h"
#include "src/config/values.h"

namespace bezel::config {

namespace {

using pool::ChannelBindingMode;
using pool::DatabaseSettings;
using pool::HostAddress;
using pool::LoadBalanceHosts;
using pool::PoolMode;
using pool::UserSettings;

using pool::TargetSessionAttrs;
using pool::UpstreamSettings;
using pool::UpstreamSource;

constexpr size_t kHostsMax = 64;

constexpr std::array<std::pair<std::string_view, TargetSessionAttrs>, 6> kSessionAttrs = {
    {{"any", TargetSessionAttrs::any},
     {"read-write", TargetSessionAttrs::read_write},
     {"read-only", TargetSessionAttrs::read_only},
     {"primary", TargetSessionAttrs::primary},
     {"standby", TargetSessionAttrs::standby},
     {"prefer-standby", TargetSessionAttrs::prefer_standby}}};

/// Keywords that exist, here or elsewhere, and cannot be honoured: what to do instead.
constexpr std::array<std::pair<std::string_view, std::string_view>, 16> kDatabaseAdvice = {{
    {"connect_timeout", "is the global setting server_connect_timeout here"},
    {"default_pool_size", "is called pool_size in a database"},
    {"fallback_application_name", "is called application_name here"},
    {"hostaddr", "is not supported: write the address as host"},
    {"keepalives", "is the global setting tcp_keepalive here"},
    {"keepalives_count", "is the global setting tcp_keepcnt here"},
    {"keepalives_idle", "is the global setting tcp_keepidle here"},
    {"keepalives_interval", "is the global setting tcp_keepintvl here"},
    {"passfile", "is not supported: give a password, or the user's secret in auth_file"},
    {"query_wait_timeout", "is a global setting only"},
    {"replication", "is not supported: replication connections cannot be pooled"},
    {"requirepeer", "is not supported"},
    {"reserve_pool", "is called reserve_pool_size"},
    {"service", "is not supported: give host, port and dbname here"},
    {"tcp_user_timeout", "is a global setting only"},
    {"name", "is the key of the entry itself; the name on the server is called dbname"},
}};

constexpr std::array<std::pair<std::string_view, std::string_view>, 4> kUserAdvice = {{
    {"default_pool_size", "is called pool_size in a user"},
    {"password", "is not given here but in auth_file"},
    {"query_wait_timeout", "is a global setting only"},
    {"reserve_pool", "is called reserve_pool_size"},
}};

/// libpq's keywords that ask for encryption: only the values that ask for nothing are taken.
struct HarmlessValues {
  std::string_view keyword;
  std::array<std::string_view, 3> values;
  std::string_view reason;
};
constexpr std::array<HarmlessValues, 2> kHarmlessValues = {{
    {"sslmode", {"disable", "allow", "prefer"}, "the servers' TLS is the same for all databases, server_tls_sslmode"},
    {"gssencmode", {"disable", "prefer", "prefer"}, "servers are reached without GSSAPI"},
}};

const HarmlessValues* find_harmless(std::string_view keyword) {
  for (const HarmlessValues& harmless : kHarmlessValues) {
    if (harmless.keyword == keyword) return &harmless;
  }
  return nullptr;
}

std::string expected_harmless(const HarmlessValues& harmless) {
  std::string list(harmless.values[0]);
  if (harmless.values[1] != harmless.values[0]) list += fmt::format(" or {}", harmless.values[1]);
  if (harmless.values[2] != harmless.values[1]) list = "disable, allow or prefer";
  return fmt::format("{} ({})", list, harmless.reason);
}

template <size_t N>
std::string advice_for(std::string_view name,
                       const std::array<std::pair<std::string_view, std::string_view>, N>& table) {
  for (const auto& [known, advice] : table) {
    if (known == name) return std::string(advice);
  }
  return {};
}

std::string unknown_keyword(std::string_view name, const std::vector<EntryKeyword>& keywords) {
  std::vector<std::string_view> names;
  for (const EntryKeyword& keyword : keywords) names.push_back(keyword.name);
  return "unknown parameter" + did_you_mean(name, names);
}

bool has_control_bytes(std::string_view text) {
  return std::any_of(text.begin(), text.end(),
                     [](char c) { return static_cast<unsigned char>(c) < 0x20 || c == 0x7f; });
}

std::string expected_found(std::string_view expected, std::string_view found) {
  return fmt::format("expected {}, found {}", expected, quoted(found));
}

/// Reads the parameters that databases and users have alike. The values' rules are those of the global settings.
class ValueReader {
 public:
  explicit ValueReader(std::vector<EntryError>& errors) : errors_(errors) {}

  void fail(const Parameter& parameter, std::string message) {
    errors_.push_back({parameter.key, std::move(message), parameter.line});
  }

  void read_count(const Parameter& parameter, int min, std::optional<int>& count) {
    constexpr int kCountMax = 1'000'000;
    const std::optional<int64_t> value = parse_integer(parameter.value);
    if (!value || *value < min || *value > kCountMax) {
      fail(parameter, expected_found(fmt::format("a whole number from {} to {}", min, kCountMax), parameter.value));
      return;
    }
    count = static_cast<int>(*value);
  }

  /// By the rules of the global setting of that name.
  void read_duration(const Parameter& parameter, std::optional<int64_t>& duration_us) {
    const Setting& setting = *find_setting(parameter.key);
    pool::Settings read;
    if (assign(read, setting, parameter.value)) {
      fail(parameter, expected_found(expected_value(setting), parameter.value));
      return;
    }
    duration_us = read.*std::get<DurationKind>(setting.kind).member;
  }

  /// By the rules of the global setting.
  void read_auth_type(const Parameter& parameter, std::optional<pool::AuthType>& type) {
    for (const auto& [word, value] : kAuthTypeWords) {
      if (word == parameter.value) {
        type = value;
        return;
      }
    }
    fail(parameter, expected_found(expected_value(*find_setting("auth_type")), parameter.value));
  }

  void read_pool_mode(const Parameter& parameter, std::optional<PoolMode>& mode) {
    for (const auto& [word, value] : kPoolModeWords) {
      if (word == parameter.value) {
        mode = value;
        return;
      }
    }
    fail(parameter, expected_found("session, transaction or statement", parameter.value));
  }

 private:
  std::vector<EntryError>& errors_;
};

class DatabaseReader {
 public:
  DatabaseReader(DatabaseSettings& database, std::vector<EntryError>& errors)
      : database_(database), errors_(errors), values_(errors) {}

  void read(const Parameter& parameter) {
    if (read_connection(parameter) || read_pool(parameter) || read_server_parameter(parameter)) return;
    if (read_choice_of_server(parameter)) return;
    if (const HarmlessValues* harmless = find_harmless(parameter.key)) {
      const auto& allowed = harmless->values;
      if (std::find(allowed.begin(), allowed.end(), parameter.value) == allowed.end()) {
        values_.fail(parameter, expected_found(expected_harmless(*harmless), parameter.value));
      }
      return;
    }
    std::string advice = advice_for(parameter.key, kDatabaseAdvice);
    if (advice.empty() && is_libpq_keyword(parameter.key)) advice = "is not supported for a pooled database";
    values_.fail(parameter, advice.empty() ? unknown_keyword(parameter.key, database_keywords()) : advice);
  }

  /// After all parameters.
  void finish(const std::string& default_host, const std::optional<UpstreamSettings>& global_upstream) {
    finish_upstream(global_upstream);
    finish_hosts(default_host);
    finish_choice_of_server();
  }

 private:
  void finish_upstream(const std::optional<UpstreamSettings>& global_upstream) {
    if (!upstream_parameters_.empty()) {
      UpstreamSettings upstream;
      for (EntryError& error : read_upstream(upstream_parameters_, !hosts_given_, upstream)) {
        error.key = std::string(kUpstreamPrefix) + error.key;
        errors_.push_back(std::move(error));
        upstream_failed_ = true;
      }
      database_.upstream = std::move(upstream);
    } else if (!hosts_given_ && !no_upstream_) {
      database_.upstream = global_upstream;
    }
  }

  void finish_hosts(const std::string& default_host) {
    if (database_.upstream && !hosts_given_) return;
    if (!hosts_given_ && default_host.empty()) {
      errors_.push_back({"host", "expected a host, as there is no unix_socket_dir to use instead", 0});
      return;
    }
    if (!hosts_given_) hosts_ = {default_host};
    if (hosts_.empty() || ports_failed_) return;
    if (ports_.size() > 1 && ports_.size() != hosts_.size()) {
      errors_.push_back(
          {"port",
           fmt::format("expected one port, or one for each of the {} hosts, found {}", hosts_.size(), ports_.size()),
           port_line_});
      return;
    }
    for (size_t i = 0; i < hosts_.size(); ++i) {
      HostAddress address{hosts_[i], 5432};
      if (!ports_.empty()) address.port = ports_.size() == 1 ? ports_.front() : ports_[i];
      database_.hosts.push_back(std::move(address));
    }
  }

  /// What the wish for a kind of server comes to, and where one comes from.
  void finish_choice_of_server() {
    const bool wishes = wanted_ && *wanted_ != TargetSessionAttrs::any;
    if (!database_.upstream && wishes && !database_.hosts.empty()) {
      database_.upstream.emplace();  // static
    }
    if (!database_.upstream) return;
    UpstreamSettings& upstream = *database_.upstream;
    const bool takes_hosts = upstream.source == UpstreamSource::fixed || upstream.source == UpstreamSource::dns;
    if (takes_hosts && upstream.hosts.empty()) {
      upstream.hosts = database_.hosts;
    } else if (hosts_given_ && !upstream_failed_) {
      errors_.push_back({"host", "the upstream says where the servers are", 0});
    }
    const auto is_socket = [](const HostAddress& host) { return host.host.front() == '/'; };
    if (upstream.source == UpstreamSource::dns &&
        std::any_of(upstream.hosts.begin(), upstream.hosts.end(), is_socket)) {
      errors_.push_back({"host", "a folder of Unix sockets cannot be looked up by DNS", 0});
    }
    database_.target_session_attrs = wanted_.value_or(TargetSessionAttrs::primary);
    if (fallback_) {
      if (database_.target_session_attrs == TargetSessionAttrs::standby) {
        database_.target_session_attrs = TargetSessionAttrs::prefer_standby;
      } else if (database_.target_session_attrs != TargetSessionAttrs::prefer_standby) {
        errors_.push_back({"fallback_to_primary", "expected along with role=replica", 0});
      }
    }
    // Whoever has no say in where its servers are takes the first for show.
    if (database_.hosts.empty()) database_.hosts = upstream.hosts;
  }

  bool read_choice_of_server(const Parameter& parameter) {
    if (parameter.key.rfind(kUpstreamPrefix, 0) == 0) {
      upstream_parameters_.push_back({parameter.key.substr(kUpstreamPrefix.size()), parameter.value, parameter.line});
    } else if (parameter.key == "upstream") {
      no_upstream_ = parameter.value == "none";
      if (!no_upstream_) values_.fail(parameter, expected_found("a map, or none", parameter.value));
    } else if (parameter.key == "target_session_attrs" || parameter.key == "role") {
      read_wanted(parameter);
    } else if (parameter.key == "fallback_to_primary") {
      const auto value = parse_boolean(parameter.value);
      if (!value) values_.fail(parameter, expected_found("yes or no", parameter.value));
      fallback_ = value.value_or(false);
    } else if (parameter.key == "max_replica_lag") {
      const auto bytes = parse_size_bytes(parameter.value);
      if (!bytes || *bytes < 0) values_.fail(parameter, expected_found("a size, as 16MB", parameter.value));
      database_.replica_lag_bytes_max = bytes.value_or(0);
    } else {
      return false;
    }
    return true;
  }

  void read_wanted(const Parameter& parameter) {
    const bool is_role = parameter.key == "role";
    if (wanted_) return values_.fail(parameter, "role and target_session_attrs say the same: expected one of them");
    for (const auto& [word, attrs] : kSessionAttrs) {
      if (!is_role && word == parameter.value) wanted_ = attrs;
    }
    if (is_role && parameter.value == "primary") wanted_ = TargetSessionAttrs::primary;
    if (is_role && parameter.value == "replica") wanted_ = TargetSessionAttrs::standby;
    if (wanted_) return;
    values_.fail(parameter, expected_found(is_role ? "primary or replica"
                                                   : "any, read-write, read-only, primary, standby or prefer-standby",
                                           parameter.value));
  }

  bool read_connection(const Parameter& parameter) {
    if (parameter.key == "host") {
      read_hosts(parameter);
    } else if (parameter.key == "port") {
      read_ports(parameter);
    } else if (parameter.key == "dbname") {
      read_name(parameter, database_.dbname);
    } else if (parameter.key == "user") {
      read_name(parameter, database_.user);
    } else if (parameter.key == "password") {
      read_password(parameter);
    } else if (parameter.key == "auth_type") {
      values_.read_auth_type(parameter, database_.auth_type);
    } else if (parameter.key == "auth_user") {
      read_name(parameter, database_.auth_user);
    } else if (parameter.key == "auth_dbname") {
      read_auth_dbname(parameter);
    } else if (parameter.key == "auth_query") {
      read_query(parameter, database_.auth_query);
    } else if (parameter.key == "connect_query") {
      database_.connect_query = parameter.value;
    } else if (parameter.key == "load_balance_hosts") {
      read_load_balance(parameter);
    } else if (parameter.key == "channel_binding") {
      read_channel_binding(parameter);
    } else if (parameter.key == "sslnegotiation") {
      read_negotiation(parameter);
    } else {
      return false;
    }
    return true;
  }

  bool read_pool(const Parameter& parameter) {
    if (parameter.key == "pool_size") {
      values_.read_count(parameter, 1, database_.pool_size);
    } else if (parameter.key == "min_pool_size") {
      values_.read_count(parameter, 0, database_.min_pool_size);
    } else if (parameter.key == "reserve_pool_size") {
      values_.read_count(parameter, 0, database_.reserve_pool_size);
    } else if (parameter.key == "max_db_connections") {
      values_.read_count(parameter, 0, database_.max_db_connections);
    } else if (parameter.key == "max_db_client_connections") {
      values_.read_count(parameter, 0, database_.max_db_client_connections);
    } else if (parameter.key == "pool_mode") {
      values_.read_pool_mode(parameter, database_.pool_mode);
    } else if (parameter.key == "server_lifetime") {
      values_.read_duration(parameter, database_.server_lifetime_us);
    } else {
      return false;
    }
    return true;
  }

  bool read_server_parameter(const Parameter& parameter) {
    if (parameter.key == "client_encoding" && parameter.value == "auto") {
      // In libpq this means the locale of the process, which says nothing about the pooler's clients.
      values_.fail(parameter, expected_found("the name of an encoding", parameter.value));
    } else if (parameter.key == "options") {
      read_options(parameter);
    } else if (parameter.key == "client_encoding" || parameter.key == "datestyle" || parameter.key == "timezone" ||
               parameter.key == "application_name") {
      add_server_parameter(parameter, parameter.key, parameter.value);
    } else {
      return false;
    }
    return true;
  }

  void read_options(const Parameter& parameter) {
    protocol::StartupOptionsResult result = protocol::parse_startup_options(parameter.value);
    if (result.error) {
      values_.fail(parameter, fmt::format("expected settings such as -c name=value: {}", result.error->message));
      return;
    }
    for (const auto& [name, value] : result.options) add_server_parameter(parameter, name, value);
  }

  void add_server_parameter(const Parameter& parameter, const std::string& name, const std::string& value) {
    for (const auto& [known, unused] : database_.server_parameters) {
      if (known.size() == name.size() && strncasecmp(known.data(), name.data(), name.size()) == 0) {
        values_.fail(parameter, fmt::format("sets {} a second time", name));
        return;
      }
    }
    database_.server_parameters.emplace_back(name, value);
  }

  void read_name(const Parameter& parameter, std::string& name) {
    if (parameter.value.empty() || has_control_bytes(parameter.value)) {
      values_.fail(parameter, expected_found("a name", parameter.value));
      return;
    }
    name = parameter.value;
  }

  /// By the rules of the global setting, but an empty one means nothing here.
  void read_auth_dbname(const Parameter& parameter) {
    pool::Settings read;
    if (parameter.value.empty() || assign(read, *find_setting("auth_dbname"), parameter.value)) {
      values_.fail(parameter, expected_found("the name of a database", parameter.value));
      return;
    }
    database_.auth_dbname = parameter.value;
  }

  void read_query(const Parameter& parameter, std::string& query) {
    if (parameter.value.empty() || parameter.value.find('\0') != std::string::npos) {
      values_.fail(parameter, expected_found("a query", parameter.value));
      return;
    }
    query = parameter.value;
  }

  void read_password(const Parameter& parameter) {
    if (parameter.value.empty() || parameter.value.find('\0') != std::string::npos) {
      values_.fail(parameter, "expected a password, found an empty one");
      return;
    }
    database_.password = parameter.value;
  }

  void read_load_balance(const Parameter& parameter) {
    if (parameter.value == "round-robin") {
      database_.load_balance_hosts = LoadBalanceHosts::round_robin;
    } else if (parameter.value == "disable") {
      database_.load_balance_hosts = LoadBalanceHosts::disable;
    } else {
      values_.fail(parameter, expected_found("round-robin or disable", parameter.value));
    }
  }

  void read_negotiation(const Parameter& parameter) {
    if (parameter.value != "postgres" && parameter.value != "direct") {
      return values_.fail(parameter, expected_found("postgres or direct", parameter.value));
    }
    database_.direct_tls = parameter.value == "direct";
  }

  void read_channel_binding(const Parameter& parameter) {
    if (parameter.value == "disable") {
      database_.channel_binding = ChannelBindingMode::disable;
    } else if (parameter.value == "prefer") {
      database_.channel_binding = ChannelBindingMode::prefer;
    } else if (parameter.value == "require") {
      database_.channel_binding = ChannelBindingMode::require;
    } else {
      values_.fail(parameter, expected_found("disable, prefer or require", parameter.value));
    }
  }

  /// An empty text is no host at all, as in libpq.
  void read_hosts(const Parameter& parameter) {
    if (trimmed(parameter.value).empty()) return;
    hosts_given_ = true;
    std::string_view list = parameter.value;
    while (true) {
      const size_t comma = list.find(',');
      const std::string_view host = trimmed(list.substr(0, comma));
      if (host.empty() || has_control_bytes(host) || host.front() == '@' || host.find(' ') != std::string_view::npos) {
        hosts_.clear();
        values_.fail(parameter, expected_found("a host name, an address, or the absolute path of a folder of Unix "
                                               "sockets (several with commas between them)",
                                               parameter.value));
        return;
      }
      hosts_.emplace_back(host);
      if (comma == std::string_view::npos) break;
      list.remove_prefix(comma + 1);
    }
    if (hosts_.size() <= kHostsMax) return;
    values_.fail(parameter, fmt::format("expected at most {} hosts, found {}", kHostsMax, hosts_.size()));
    hosts_.clear();
  }

  void read_ports(const Parameter& parameter) {
    port_line_ = parameter.line;
    std::string_view list = parameter.value;
    while (true) {
      const size_t comma = list.find(',');
      const std::optional<int64_t> port = parse_integer(list.substr(0, comma));
      if (!port || *port < 1 || *port > 65535) {
        ports_failed_ = true;
        values_.fail(parameter, expected_found("a port number from 1 to 65535", parameter.value));
        return;
      }
      ports_.push_back(static_cast<uint16_t>(*port));
      if (comma == std::string_view::npos) return;
      list.remove_prefix(comma + 1);
    }
  }

  DatabaseSettings& database_;
  std::vector<EntryError>& errors_;
  ValueReader values_;
  std::vector<std::string> hosts_;
  std::vector<uint16_t> ports_;
  std::vector<Parameter> upstream_parameters_;
  std::optional<TargetSessionAttrs> wanted_;
  int port_line_ = 0;
  bool no_upstream_ = false;
  bool upstream_failed_ = false;
  bool fallback_ = false;
  bool hosts_given_ = false;
  bool ports_failed_ = false;
};

}  // namespace

bool is_own_database_keyword(std::string_view keyword) {
  constexpr std::array<std::string_view, 20> kOwn = {"upstream",           "role",
                                                     "max_replica_lag",    "fallback_to_primary",
                                                     "pool_size",          "min_pool_size",
                                                     "reserve_pool_size",  "pool_mode",
                                                     "max_db_connections", "max_db_client_connections",
                                                     "server_lifetime",    "connect_query",
                                                     "datestyle",          "timezone",
                                                     "load_balance_hosts", "auth_user",
                                                     "auth_query",         "auth_dbname",
                                                     "sslnegotiation",     "auth_type"};
  return std::find(kOwn.begin(), kOwn.end(), keyword) != kOwn.end();
}

std::vector<EntryError> read_database(const std::vector<Parameter>& parameters, const std::string& default_host,
                                      const std::optional<UpstreamSettings>& global_upstream,
                                      DatabaseSettings& database) {
  std::vector<EntryError> errors;
  DatabaseReader reader(database, errors);
  for (const Parameter& parameter : parameters) reader.read(parameter);
  reader.finish(default_host, global_upstream);
  if (!database.password.empty() && database.user.empty()) {
    errors.push_back({"password", "expected a user along with it", 0});
  }
  return errors;
}

std::vector<EntryError> read_user(const std::vector<Parameter>& parameters, UserSettings& user) {
  std::vector<EntryError> errors;
  ValueReader values(errors);
  for (const Parameter& parameter : parameters) {
    if (parameter.key == "pool_mode") {
      values.read_pool_mode(parameter, user.pool_mode);
    } else if (parameter.key == "pool_size") {
      values.read_count(parameter, 1, user.pool_size);
    } else if (parameter.key == "reserve_pool_size") {
      values.read_count(parameter, 0, user.reserve_pool_size);
    } else if (parameter.key == "max_user_connections") {
      values.read_count(parameter, 0, user.max_user_connections);
    } else if (parameter.key == "max_user_client_connections") {
      values.read_count(parameter, 0, user.max_user_client_connections);
    } else if (parameter.key == "query_timeout") {
      values.read_duration(parameter, user.query_timeout_us);
    } else if (parameter.key == "idle_transaction_timeout") {
      values.read_duration(parameter, user.idle_transaction_timeout_us);
    } else if (parameter.key == "transaction_timeout") {
      values.read_duration(parameter, user.transaction_timeout_us);
    } else if (parameter.key == "client_idle_timeout") {
      values.read_duration(parameter, user.client_idle_timeout_us);
    } else {
      std::string advice = advice_for(parameter.key, kUserAdvice);
      values.fail(parameter, advice.empty() ? unknown_keyword(parameter.key, user_keywords()) : advice);
    }
  }
  return errors;
}

const std::vector<EntryKeyword>& database_keywords() {
  static const std::vector<EntryKeyword> kKeywords = {
      {"host",
       "Where the server is: a name, an IPv4 or IPv6 address, or the absolute path of a folder of Unix sockets. "
       "Several "
       "are given with commas between them, or as a YAML list. Without one: the Unix socket in `unix_socket_dir`."},
      {"port", "The server's port, `5432` without one. With several hosts: one for all, or one for each."},
      {"load_balance_hosts",
       "With several hosts: `round-robin` (each new connection tries the next host first; the default) or `disable` "
       "(always the first one that works)."},
      {"dbname", "The database's name on the server. Without one: the name that the client asked for."},
      {"user",
       "The user of all server connections, whoever the client is; there is one pool then. Without one, each client "
       "logs in to the server as itself, and there is a pool for each user."},
      {"password", "The password of `user`. Without one: its secret in `auth_file`."},
      {"auth_type", "As the global setting, for clients of this database."},
      {"auth_user", "As the global setting, for clients of this database."},
      {"auth_query", "As the global setting, for clients of this database."},
      {"auth_dbname", "As the global setting, for clients of this database."},
      {"pool_size", "As `default_pool_size`, for this database."},
      {"min_pool_size", "As the global setting, for this database."},
      {"reserve_pool_size", "As the global setting, for this database."},
      {"pool_mode", "As the global setting, for this database."},
      {"max_db_connections", "As the global setting, for this database."},
      {"max_db_client_connections", "As the global setting, for this database."},
      {"server_lifetime", "As the global setting, for this database."},
      {"connect_query",
       "A query that is run on each new server connection before its first use. An error is logged, no more."},
      {"client_encoding", "Startup parameter of the server connections."},
      {"datestyle", "Startup parameter of the server connections."},
      {"timezone", "Startup parameter of the server connections."},
      {"application_name", "Startup parameter of the server connections."},
      {"options",
       "Further startup parameters of the server connections, as `-c name=value` or `--name=value`, with spaces "
       "between "
       "them."},
      {"sslmode",
       "libpq's. Only `disable`, `allow` and `prefer` are accepted, and mean nothing: `server_tls_sslmode` holds for "
       "all."},
      {"gssencmode", "libpq's. Only `disable` and `prefer` are accepted."},
      {"channel_binding",
       "libpq's. Whether logins to the server are bound to their TLS connections (SCRAM-SHA-256-PLUS), so that nobody "
       "in the middle can pass them on: `prefer` (the default): where the server offers it; `require`: a server that "
       "does not is not logged in to; `disable`: never."},
      {"sslnegotiation",
       "libpq's. `direct`: TLS from the first byte (PostgreSQL 17), which saves a round trip; `server_tls_sslmode` "
       "must "
       "be `require` or stricter. `postgres` (the default): after a request."},
      {"upstream",
       "How the primary and the other servers are found: a map, see below. `none`: not by the global `upstream`, but "
       "on the Unix socket in `unix_socket_dir`."},
      {"target_session_attrs",
       "libpq's: `read-write`, `primary`, `standby`, `prefer-standby`, `read-only` or `any`. Every server says itself "
       "what it is. Default: `primary` where there is an `upstream`, else `any`. With several hosts and no `upstream`, "
       "they are one of the source `static`."},
      {"role", "`primary` or `replica`: another way to write `target_session_attrs=primary` or `standby`."},
      {"max_replica_lag",
       "With `role=replica`: replicas that are further behind get no connections, a size as `16MB`; `0`, the default: "
       "any may. Only Patroni tells how far they are."},
      {"fallback_to_primary", "With `role=replica`: `yes` lets the primary serve while no replica can."},
  };
  return kKeywords;
}

const std::vector<EntryKeyword>& user_keywords() {
  static const std::vector<EntryKeyword> kKeywords = {
      {"pool_mode", "As the global setting, for this user; it comes before the database's."},
      {"pool_size", "As `default_pool_size`, for the pools of this user."},
      {"reserve_pool_size", "As the global setting, for the pools of this user."},
      {"max_user_connections", "As the global setting, for this user."},
      {"max_user_client_connections", "As the global setting, for this user."},
      {"query_timeout", "As the global setting, for this user."},
      {"idle_transaction_timeout", "As the global setting, for this user."},
      {"transaction_timeout", "As the global setting, for this user."},
      {"client_idle_timeout", "As the global setting, for this user."},
  };
  return kKeywords;
}

}  // namespace bezel::config
