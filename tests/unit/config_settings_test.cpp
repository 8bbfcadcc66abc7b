#include <doctest/doctest.h>

#include <algorithm>
#include <map>
#include <set>

#include "src/config/setting.h"
#include "src/config/settings_registry.h"

using namespace bezel;
using namespace bezel::config;

namespace {

struct GoodValue {
  std::string text, shown;
};

struct Samples {
  std::vector<GoodValue> good;
  std::vector<std::string> bad;
};

const Samples kBoolean = {{{"1", "1"}, {"off", "0"}, {"yes", "1"}, {"false", "0"}}, {"", "2", "maybe"}};
const Samples kSeconds = {
    {{"0", "0"}, {"7", "7"}, {"0.25", "0.25"}, {"250ms", "0.25"}, {"2h", "7200"}, {"3650d", "315360000"}},
    {"", "-1", "soon", "5 parsecs", "3651d", "1e9"}};
const Samples kWholeSeconds = {{{"0", "0"}, {"30", "30"}, {"2m", "120"}, {"2000ms", "2"}},
                               {"", "0.5", "250ms", "-1", "10d", "soon"}};
const Samples kLimit = {{{"0", "0"}, {"25", "25"}, {"1000000", "1000000"}},
                        {"", "-1", "1000001", "2.5", "many", "10k"}};
const Samples kNumber = {{{"1", "1"}, {"25", "25"}, {"1000000", "1000000"}}, {"", "0", "-1", "1000001", "2.5", "many"}};
const Samples kNames = {{{"", ""}, {"a", "a"}, {"a, b", "a,b"}}, {}};
const Samples kText = {{{"", ""}, {"a:b", "a:b"}}, {}};
const Samples kTlsModes = {{{"disable", "disable"},
                            {"allow", "allow"},
                            {"prefer", "prefer"},
                            {"require", "require"},
                            {"verify-ca", "verify-ca"},
                            {"verify-full", "verify-full"}},
                           {"", "on", "verify_ca", "no-verify"}};
const Samples kFile = {{{"", ""}, {"/var/lib/x y", "/var/lib/x y"}}, {}};
const Samples kQuery = {{{"", ""}, {"select 1", "select 1"}}, {}};

/// Good and bad values of every setting; the good ones with what SHOW CONFIG makes of them.
const std::map<std::string, Samples>& samples() {
  static const std::map<std::string, Samples> kSamples = {
      {"admin_users", kNames},
      {"application_name_add_host", kBoolean},
      {"auth_dbname", {{{"", ""}, {"app", "app"}}, {"pgbouncer", "bezel"}}},
      {"auth_failure_limit", kLimit},
      {"auth_file", kFile},
      {"auth_hba_file", kFile},
      {"auth_ident_file", kFile},
      {"auth_ldap_options",
       {{{"", ""},
         {"ldapserver=x ldapbasedn=y", "ldapserver=x ldapbasedn=y"},
         {"ldapsuffix=\"a, b\"", "ldapsuffix=\"a, b\""}},
        {}}},
      {"auth_pam_service",
       {{{"pgbouncer", "pgbouncer"}, {"db-users_2", "db-users_2"}}, {"", "Db", "../x", "a.b", "a b"}}},
      {"auth_query", kQuery},
      {"auth_query_cache_ttl", kSeconds},
      {"auth_query_stale_max", kSeconds},
      {"auth_type",
       {{{"trust", "trust"},
         {"any", "any"},
         {"plain", "plain"},
         {"md5", "md5"},
         {"scram-sha-256", "scram-sha-256"},
         {"cert", "cert"},
         {"pam", "pam"},
         {"ldap", "ldap"},
         {"hba", "hba"}},
        {"", "scram", "MD5", "peer", "reject"}}},
      {"auth_user", {{{"", ""}, {"asker", "asker"}}, {}}},
      {"autodb_idle_timeout", kSeconds},
      {"batched_sends",
       {{{"auto", "auto"}, {"io_uring", "io_uring"}, {"aio", "aio"}, {"off", "off"}}, {"", "1", "yes", "automatic"}}},
      {"cancel_wait_timeout", kSeconds},
      {"client_idle_timeout", kSeconds},
      {"client_login_timeout", kSeconds},
      {"client_tls13_ciphers", kText},
      {"client_tls_ca_file", kFile},
      {"client_tls_cert_file", kFile},
      {"client_tls_ciphers", kText},
      {"client_tls_crl_file", kFile},
      {"client_tls_dheparams", kText},
      {"client_tls_ecdhcurve", kText},
      {"client_tls_key_file", kFile},
      {"client_tls_protocols", kText},
      {"client_tls_sslmode", kTlsModes},
      {"default_pool_size", kNumber},
      {"disable_pqexec", kBoolean},
      {"dns_max_ttl", kSeconds},
      {"dns_nxdomain_ttl", kSeconds},
      {"failover_grace", kSeconds},
      {"idle_transaction_timeout", kSeconds},
      {"ignore_startup_parameters", kNames},
      {"listen_addr",
       {{{"", ""},
         {"*", "*"},
         {"127.0.0.1, ::1", "127.0.0.1, ::1"},
         {"fe80::1%eth0", "fe80::1%eth0"},
         {"db.example", "db.example"}},
        {"a b", "127.0.0.1,", ",", "127.0.0.1:5432;", "**", "[::1]", "/tmp"}}},
      {"listen_backlog", {{{"1", "1"}, {"65535", "65535"}}, {"0", "65536", "x", ""}}},
      {"listen_port", {{{"1", "1"}, {"65535", "65535"}}, {"0", "65536", "-1", "5432/tcp", ""}}},
      {"log_connections", kBoolean},
      {"log_disconnections", kBoolean},
      {"log_level",
       {{{"error", "error"}, {"warning", "warning"}, {"info", "info"}, {"debug", "debug"}, {"trace", "trace"}},
        {"", "warn", "INFO", "2"}}},
      {"log_pooler_errors", kBoolean},
      {"log_stats", kBoolean},
      {"logfile", kFile},
      {"max_client_conn", kNumber},
      {"max_db_client_connections", kLimit},
      {"max_db_connections", kLimit},
      {"max_packet_size",
       {{{"1024", "1024"},
         {"64kB", "65536"},
         {"1MB", "1048576"},
         {"1GB", "1073741824"},
         {"1 GiB", "1073741824"},
         {"2147483647", "2147483647"}},
        {"", "1023", "2GB", "0.5MB", "big"}}},
      {"max_prepared_statements", kLimit},
      {"max_user_client_connections", kLimit},
      {"max_user_connections", kLimit},
      {"metrics_addr", {{{"*", "*"}, {"::1", "::1"}, {"10.0.0.1", "10.0.0.1"}}, {"", "a,b", "a b"}}},
      {"metrics_port", {{{"0", "0"}, {"9127", "9127"}}, {"65536", "-1", ""}}},
      {"min_pool_size", kLimit},
      {"pidfile", kFile},
      {"pool_mode",
       {{{"session", "session"}, {"transaction", "transaction"}, {"statement", "statement"}}, {"", "tx", "Session"}}},
      {"query_timeout", kSeconds},
      {"query_wait_notify", kSeconds},
      {"query_wait_timeout", kSeconds},
      {"reserve_pool_size", kLimit},
      {"reserve_pool_timeout", kSeconds},
      {"resolv_conf", kFile},
      {"server_ack_timeout", kSeconds},
      {"server_check_delay", kSeconds},
      {"server_check_query", {{{"", ""}, {"<empty>", "<empty>"}, {"select 1", "select 1"}}, {}}},
      {"server_connect_timeout", kSeconds},
      {"server_fast_close", kBoolean},
      {"server_idle_timeout", kSeconds},
      {"server_lifetime", kSeconds},
      {"server_login_retry", kSeconds},
      {"server_reset_query", kQuery},
      {"server_reset_query_always", kBoolean},
      {"server_round_robin", kBoolean},
      {"server_tls13_ciphers", kText},
      {"server_tls_ca_file", kFile},
      {"server_tls_cert_file", kFile},
      {"server_tls_ciphers", kText},
      {"server_tls_crl_file", kFile},
      {"server_tls_key_file", kFile},
      {"server_tls_protocols", kText},
      {"server_tls_sslmode", kTlsModes},
      {"stats_period", kWholeSeconds},
      {"stats_users", kNames},
      {"suspend_timeout", kSeconds},
      {"tcp_defer_accept",
       {{{"0", "0"}, {"off", "0"}, {"1", "45"}, {"on", "45"}, {"30", "30"}, {"1s", "1"}}, {"", "1.5", "2h", "-1"}}},
      {"tcp_keepalive", kBoolean},
      {"tcp_keepcnt", {{{"0", "0"}, {"9", "9"}, {"127", "127"}}, {"128", "-1", ""}}},
      {"tcp_keepidle", kWholeSeconds},
      {"tcp_keepintvl", kWholeSeconds},
      {"tcp_user_timeout",
       {{{"0", "0"}, {"3000", "3000"}, {"3s", "3000"}, {"1d", "86400000"}}, {"", "100us", "0.5", "2d"}}},
      {"transaction_timeout", kSeconds},
      {"unix_socket_dir",
       {{{"", ""}, {"/run/bezel", "/run/bezel"}}, {"run", "./run", "@abstract", "/" + std::string(92, 'x')}}},
      {"unix_socket_group", {{{"", ""}, {"postgres", "postgres"}}, {}}},
      {"unix_socket_mode", {{{"0777", "0777"}, {"660", "0660"}, {"0o600", "0600"}}, {"", "0999", "01777", "rw"}}},
      {"workers", {{{"auto", "auto"}, {"1", "1"}, {"64", "64"}}, {"0", "-1", "1025", "automatic", ""}}},
  };
  return kSamples;
}

/// A value that is not the default, for settings of all kinds.
std::string other_value(const Setting& setting) {
  const pool::Settings defaults;
  for (const GoodValue& value : samples().at(std::string(setting.name)).good) {
    if (value.shown != format_value(defaults, setting)) return value.text;
  }
  return {};
}

/// Settings that contradict nothing.
pool::Settings valid_settings() {
  pool::Settings settings;
  settings.auth_file = "/etc/bezel/userlist.txt";
  return settings;
}

}  // namespace

TEST_CASE("the table of settings is in order and complete") {
  const std::vector<Setting>& table = settings_table();
  CHECK(std::is_sorted(table.begin(), table.end(), [](const Setting& a, const Setting& b) { return a.name < b.name; }));
  std::set<std::string> names, sampled;
  for (const Setting& setting : table) {
    CAPTURE(setting.name);
    CHECK(names.insert(std::string(setting.name)).second);
    CHECK(setting.documentation.size() > 20);
    CHECK(setting.documentation.back() == '.');
    CHECK(find_setting(setting.name) == &setting);
  }
  for (const auto& [name, unused] : samples()) sampled.insert(name);
  CHECK(names == sampled);
  CHECK(find_setting("listen_por") == nullptr);
  CHECK(find_setting("") == nullptr);
}

TEST_CASE("every setting takes its good values, shows them, and takes back what it shows") {
  for (const Setting& setting : settings_table()) {
    for (const GoodValue& value : samples().at(std::string(setting.name)).good) {
      CAPTURE(setting.name);
      CAPTURE(value.text);
      pool::Settings settings, again;
      CHECK(!assign(settings, setting, value.text));
      CHECK(format_value(settings, setting) == value.shown);
      // A time for tcp_defer_accept of one second is the only value that reads otherwise: 1 is PgBouncer's "on".
      if (setting.name == "tcp_defer_accept" && value.shown == "1") continue;
      CHECK(!assign(again, setting, value.shown));
      CHECK(equal_value(settings, again, setting));
    }
  }
}

TEST_CASE("every setting refuses its bad values and stays as it was") {
  for (const Setting& setting : settings_table()) {
    for (const std::string& text : samples().at(std::string(setting.name)).bad) {
      CAPTURE(setting.name);
      CAPTURE(text);
      pool::Settings settings;
      const std::optional<std::string> expected = assign(settings, setting, text);
      CHECK(expected == expected_value(setting));
      CHECK(equal_value(settings, pool::Settings(), setting));
    }
  }
}

TEST_CASE("each setting has a member of its own") {
  for (const Setting& changed : settings_table()) {
    pool::Settings settings;
    CHECK(!assign(settings, changed, other_value(changed)));
    for (const Setting& other : settings_table()) {
      CAPTURE(changed.name);
      CAPTURE(other.name);
      CHECK(equal_value(settings, pool::Settings(), other) == (&changed != &other));
    }
    pool::Settings copy;
    copy_value(settings, copy, changed);
    CHECK(equal_value(settings, copy, changed));
  }
}

TEST_CASE("SHOW CONFIG prints PgBouncer's forms") {
  pool::Settings settings;
  settings.query_wait_timeout_us = 1'500'000;
  settings.admin_users = {"alice", "bob"};
  settings.unix_socket_mode = 0660;
  settings.databases["secret"].password = "hunter2";
  std::map<std::string, ConfigRow> rows;
  std::vector<std::string> order;
  for (const ConfigRow& row : show_config(settings)) {
    rows[row.key] = row;
    order.push_back(row.key);
    CHECK(row.value.find("hunter2") == std::string::npos);
  }
  CHECK(std::is_sorted(order.begin(), order.end()));
  CHECK(rows.size() == settings_table().size());
  CHECK(rows["query_wait_timeout"].value == "1.5");
  CHECK(rows["query_wait_timeout"].default_value == "120");
  CHECK(rows["query_wait_timeout"].changeable);
  CHECK(rows["admin_users"].value == "alice,bob");
  CHECK(rows["unix_socket_mode"].value == "0660");
  CHECK(rows["unix_socket_mode"].default_value == "0777");
  CHECK(!rows["unix_socket_mode"].changeable);
  CHECK(rows["log_connections"].value == "1");
  CHECK(rows["server_lifetime"].value == "3600");
  CHECK(rows["tcp_user_timeout"].default_value == "0");
  CHECK(rows["max_packet_size"].value == "2147483647");
  CHECK(rows["workers"].value == "auto");
  CHECK(rows["pool_mode"].value == "transaction");
  CHECK(rows["server_check_query"].value == "<empty>");
  CHECK(rows["auth_file"].changeable);
}

TEST_CASE("SET changes what may change at run time, and nothing else") {
  for (const Setting& setting : settings_table()) {
    CAPTURE(setting.name);
    pool::Settings settings = valid_settings();
    const std::string value = setting.name == "auth_type" ? "trust" : other_value(setting);
    const std::optional<std::string> error = set_value(settings, setting.name, value);
    if (setting.change == Change::at_runtime) {
      CHECK(!error);
      CHECK(!equal_value(settings, valid_settings(), setting));
    } else {
      CHECK(error);
      CHECK(equal_value(settings, valid_settings(), setting));
    }
  }
}

TEST_CASE("SET says what is wrong") {
  pool::Settings settings = valid_settings();
  CHECK(set_value(settings, "listen_port", "1") == "listen_port: can be changed by a restart only");
  CHECK(set_value(settings, "auth_file", "x") == "auth_file: change it in the configuration file, then RELOAD");
  CHECK(set_value(settings, "default_pol_size", "1") ==
        "default_pol_size: unknown setting; did you mean \"default_pool_size\"?");
  CHECK(set_value(settings, "verbose", "1") ==
        "verbose: is called log_level here (error, warning, info, debug or trace)");
  CHECK(set_value(settings, "pool_mode", "tx") == "pool_mode: expected session, transaction or statement, found 'tx'");
  CHECK(set_value(settings, "server_reset_query", std::string_view("a\0b", 3)));
  CHECK(!set_value(settings, "query_timeout", "1min"));
  CHECK(settings.query_timeout_us == 60'000'000);
}

TEST_CASE("SET refuses what contradicts other settings") {
  pool::Settings settings = valid_settings();
  settings.databases["app"].name = "app";
  CHECK(set_value(settings, "auth_type", "any") == "databases.app: expected a user, as auth_type is any; found none");
  CHECK(settings.auth_type == pool::AuthType::md5);
  settings.databases["app"].user = "app";
  CHECK(!set_value(settings, "auth_type", "any"));
  settings.auth_file.clear();
  CHECK(set_value(settings, "auth_type", "md5"));
  CHECK(settings.auth_type == pool::AuthType::any);
}

TEST_CASE("settings that need a restart are named and kept") {
  const pool::Settings running;
  CHECK(restart_only_changes(running, running).empty());
  pool::Settings loaded;
  std::vector<std::string> expected;
  for (const Setting& setting : settings_table()) {
    CHECK(!assign(loaded, setting, other_value(setting)));
    if (setting.change == Change::at_restart) expected.emplace_back(setting.name);
  }
  CHECK(restart_only_changes(running, loaded) == expected);
  CHECK(std::count(expected.begin(), expected.end(), "listen_port") == 1);
  CHECK(std::count(expected.begin(), expected.end(), "pool_mode") == 0);
  keep_restart_only_values(running, loaded);
  CHECK(restart_only_changes(running, loaded).empty());
  CHECK(loaded.listen_port == running.listen_port);
  CHECK(loaded.default_pool_size != running.default_pool_size);
}

TEST_CASE("names from PgBouncer get advice rather than a guess") {
  for (const char* name : {"so_reuseport", "pkt_buf", "peer_id", "syslog", "user", "conffile"}) {
    CAPTURE(name);
    CHECK(unknown_setting_message(name).find("unknown") == std::string::npos);
    CHECK(find_setting(name) == nullptr);
  }
  CHECK(unknown_setting_message("port") == "is called listen_port");
  CHECK(unknown_setting_message("colour") == "unknown setting");
}
