#include <doctest/doctest.h>

#include <cstdlib>
#include <map>

#include "src/config/conninfo.h"
#include "src/config/database_entry.h"

using namespace bezel;
using namespace bezel::config;

namespace {

using Pairs = std::map<std::string, std::string>;

Pairs pairs(std::string_view text, const Environment& environment = {}) {
  const Conninfo conninfo = parse_conninfo(text, environment);
  CHECK(conninfo.error == "");
  Pairs result;
  for (const Parameter& parameter : conninfo.parameters) result[parameter.key] = parameter.value;
  CHECK(result.size() == conninfo.parameters.size());
  return result;
}

std::string conninfo_error(std::string_view text, const Environment& environment = {}) {
  const Conninfo conninfo = parse_conninfo(text, environment);
  CHECK(conninfo.parameters.empty());
  return conninfo.error;
}

struct Read {
  pool::DatabaseSettings database;
  std::vector<std::string> errors;
};

Read read(std::string_view text, const std::string& default_host = "/tmp") {
  Read result;
  const Conninfo conninfo = parse_conninfo(text, {});
  if (!conninfo.error.empty()) result.errors.push_back(conninfo.error);
  for (const EntryError& error : read_database(conninfo.parameters, default_host, std::nullopt, result.database)) {
    result.errors.push_back(error.key + ": " + error.message);
  }
  return result;
}

pool::DatabaseSettings database(std::string_view text) {
  const Read result = read(text);
  CAPTURE(text);
  CHECK(result.errors == std::vector<std::string>{});
  return result.database;
}

std::string error(std::string_view text) {
  const Read result = read(text);
  return result.errors.size() == 1 ? result.errors.front() : "not one error";
}

}  // namespace

TEST_CASE("key=value strings are taken apart as libpq does") {
  CHECK(pairs("").empty());
  CHECK(pairs("  \t\n ").empty());
  CHECK(pairs("host=a port=5433") == Pairs{{"host", "a"}, {"port", "5433"}});
  CHECK(pairs(" host = a\n port= 5433 ") == Pairs{{"host", "a"}, {"port", "5433"}});
  CHECK(pairs("password='it''s' user='a b'") == Pairs{{"password", "it's"}, {"user", "a b"}});
  CHECK(pairs("password='it\\'s' user=a\\ b") == Pairs{{"password", "it's"}, {"user", "a b"}});
  CHECK(pairs("password=\\\\ user=''") == Pairs{{"password", "\\"}, {"user", ""}});
  CHECK(pairs("user=a password=x'y=z") == Pairs{{"user", "a"}, {"password", "x'y=z"}});
  CHECK(pairs("user='a'password='b'") == Pairs{{"user", "a"}, {"password", "b"}});
  CHECK(pairs("dbname= host=a") == Pairs{{"dbname", "host=a"}});
}

TEST_CASE("a broken connection string is an error that shows no part of it") {
  for (const char* text : {"host", "host=a s3cret", "=s3cret", "password=x s3cret", "password=s3cret s3cret",
                           "password='s3cret", "password=a s3cret=x", "user=a user=s3cret", "password=a \\s3cret=1"}) {
    CAPTURE(text);
    const std::string message = conninfo_error(text);
    CHECK(message != "");
    CHECK(message.find("s3cret") == std::string::npos);
  }
  CHECK(conninfo_error("host=a b c") ==
        "expected key=value at character 8 of the connection string (a value with spaces must stand in single quotes)");
  CHECK(conninfo_error("password='x") == "the connection string ends inside a quoted value: expected a closing '");
  CHECK(conninfo_error("host=a port=1 host=b") == "the connection string has host twice");
  CHECK(conninfo_error(std::string(100'000, ' ')) == "the connection string is longer than 64 kB");
  CHECK(conninfo_error("host=a\x01") == "the connection string holds control characters");
}

TEST_CASE("URIs are read by libpq, the pooler's own parameters among theirs") {
  CHECK(pairs("postgres://u:p@h:5433/d") ==
        Pairs{{"user", "u"}, {"password", "p"}, {"host", "h"}, {"port", "5433"}, {"dbname", "d"}});
  CHECK(pairs("postgresql://h") == Pairs{{"host", "h"}});
  CHECK(pairs("postgres://u:p%40s%25@h/d%2Fe") ==
        Pairs{{"user", "u"}, {"password", "p@s%"}, {"host", "h"}, {"dbname", "d/e"}});
  CHECK(pairs("postgres://%2Frun%2Fpg/d") == Pairs{{"host", "/run/pg"}, {"dbname", "d"}});
  CHECK(pairs("postgres:///d?host=/run/pg") == Pairs{{"host", "/run/pg"}, {"dbname", "d"}});
  CHECK(pairs("postgres://[::1]:5433/d") == Pairs{{"host", "::1"}, {"port", "5433"}, {"dbname", "d"}});
  CHECK(pairs("postgres://a:1,b:2/d") == Pairs{{"host", "a,b"}, {"port", "1,2"}, {"dbname", "d"}});
  CHECK(pairs("postgres://h/d?pool_size=7") == Pairs{{"host", "h"}, {"dbname", "d"}, {"pool_size", "7"}});
  CHECK(pairs("postgres://h/d?sslmode=prefer&pool_mode=session&application_name=x&datestyle=ISO%2C%20DMY") ==
        Pairs{{"host", "h"},
              {"dbname", "d"},
              {"sslmode", "prefer"},
              {"pool_mode", "session"},
              {"application_name", "x"},
              {"datestyle", "ISO, DMY"}});
  CHECK(pairs("postgres://u:what?@h/d?pool_size=1") ==
        Pairs{{"user", "u"}, {"password", "what?"}, {"host", "h"}, {"dbname", "d"}, {"pool_size", "1"}});
  // libpq's newer own meaning of this one must not depend on its version.
  CHECK(pairs("postgres://h/?load_balance_hosts=round-robin") ==
        Pairs{{"host", "h"}, {"load_balance_hosts", "round-robin"}});
}

TEST_CASE("a broken URI is an error that shows no password") {
  for (const char* text :
       {"postgres://u:s3cret%zz@h/", "postgres://u:s3cret@[h/", "postgres://u:s3cret@h/?x=s3cret",
        "postgres://u:s3cret@h/?password=s3cret=1", "postgres://u:s3cret@h/?pool_size=%",
        "postgres://u:s3cret@h/?pool_size", "postgres://u:s3cret@h/?pool_size=%00",
        "postgres://u:s3cret@h/?connect_query=a&connect_query=s3cret", "postgres://s3cret@h:/?user"}) {
    CAPTURE(text);
    const std::string message = conninfo_error(text);
    CHECK(message != "");
    CHECK(message.find("s3cret") == std::string::npos);
  }
  CHECK(conninfo_error("postgres://h/?poolsize=3") ==
        "the connection URI cannot be read: invalid URI query parameter: \"poolsize\"");
}

TEST_CASE("a variable fills one value of a connection string, whatever it holds") {
  const Environment environment = {{"PW", "a b' user=evil host=x %zz @/?&#\\"}, {"HOST", "db"}, {"PORT", "5433"}};
  CHECK(pairs("host=${HOST} password=${PW} user=u", environment) ==
        Pairs{{"host", "db"}, {"password", environment.at("PW")}, {"user", "u"}});
  CHECK(pairs("password='<${PW}>'", environment) == Pairs{{"password", "<" + environment.at("PW") + ">"}});
  CHECK(pairs("postgres://u:${PW}@${HOST}:${PORT}/d?pool_size=${SIZE:-9}", environment) ==
        Pairs{{"user", "u"},
              {"password", environment.at("PW")},
              {"host", "db"},
              {"port", "5433"},
              {"dbname", "d"},
              {"pool_size", "9"}});
  CHECK(pairs("user=${X:-a b=c}", environment) == Pairs{{"user", "a b=c"}});
  CHECK(pairs("password=$${PW}", environment) == Pairs{{"password", "${PW}"}});
  CHECK(conninfo_error("host=${NONE}", environment) == "host: the environment variable NONE is not set");
  CHECK(conninfo_error("${HOST}=x", environment) == "a keyword cannot come from a variable");
  CHECK(conninfo_error("host=a ${HOST}", environment) != "");
  CHECK(conninfo_error("postgres://h/%010%02", environment) == "dbname: control characters are not allowed here");
}

TEST_CASE("a whole connection string may come from one variable") {
  const Environment environment = {
      {"URL", "postgres://u:p%40@h/d?pool_size=3"}, {"DSN", "host=a password='${X}'"}, {"BAD", "\x01"}};
  CHECK(pairs("${URL}", environment) ==
        Pairs{{"user", "u"}, {"password", "p@"}, {"host", "h"}, {"dbname", "d"}, {"pool_size", "3"}});
  CHECK(pairs("${DSN}", environment) == Pairs{{"host", "a"}, {"password", "${X}"}});
  CHECK(pairs("${NONE:-host=b}", environment) == Pairs{{"host", "b"}});
  CHECK(conninfo_error("${NONE}", environment) == "the environment variable NONE is not set");
  CHECK(conninfo_error("${BAD}", environment) == "the connection string holds control characters");
}

TEST_CASE("a database's parameters") {
  const pool::DatabaseSettings full = database(
      "host=a,b port=1,2 dbname=d user=u password=p pool_size=1 min_pool_size=0 reserve_pool_size=2 "
      "pool_mode=statement "
      "max_db_connections=3 max_db_client_connections=4 server_lifetime=5min connect_query='select 1' "
      "client_encoding=UTF8 "
      "datestyle='ISO, DMY' timezone=UTC application_name=x load_balance_hosts=disable "
      "options='-c search_path=a,b --work_mem=1MB' sslmode=prefer gssencmode=disable channel_binding=prefer "
      "target_session_attrs=any");
  CHECK(full.hosts == std::vector<pool::HostAddress>{{"a", 1}, {"b", 2}});
  CHECK(full.dbname == "d");
  CHECK(full.user == "u");
  CHECK(full.password == "p");
  CHECK(full.pool_size == 1);
  CHECK(full.min_pool_size == 0);
  CHECK(full.reserve_pool_size == 2);
  CHECK(full.pool_mode == pool::PoolMode::statement);
  CHECK(full.max_db_connections == 3);
  CHECK(full.max_db_client_connections == 4);
  CHECK(full.server_lifetime_us == 300'000'000);
  CHECK(full.connect_query == "select 1");
  CHECK(full.load_balance_hosts == pool::LoadBalanceHosts::disable);
  CHECK(full.channel_binding == pool::ChannelBindingMode::prefer);
  CHECK(database("").channel_binding == pool::ChannelBindingMode::prefer);
  CHECK(database("channel_binding=disable").channel_binding == pool::ChannelBindingMode::disable);
  CHECK(database("channel_binding=require").channel_binding == pool::ChannelBindingMode::require);
  CHECK(database("postgres://h/d?channel_binding=require").channel_binding == pool::ChannelBindingMode::require);
  CHECK(full.server_parameters == std::vector<std::pair<std::string, std::string>>{{"client_encoding", "UTF8"},
                                                                                   {"datestyle", "ISO, DMY"},
                                                                                   {"timezone", "UTC"},
                                                                                   {"application_name", "x"},
                                                                                   {"search_path", "a,b"},
                                                                                   {"work_mem", "1MB"}});
}

TEST_CASE("a database's hosts and ports") {
  CHECK(database("").hosts == std::vector<pool::HostAddress>{{"/tmp", 5432}});
  CHECK(database("port=5433").hosts == std::vector<pool::HostAddress>{{"/tmp", 5433}});
  CHECK(database("host=/run/pg").hosts == std::vector<pool::HostAddress>{{"/run/pg", 5432}});
  CHECK(database("host='a, b ,c' port=7").hosts == std::vector<pool::HostAddress>{{"a", 7}, {"b", 7}, {"c", 7}});
  CHECK(database("host=::1").hosts == std::vector<pool::HostAddress>{{"::1", 5432}});
  CHECK(read("", "").errors ==
        std::vector<std::string>{"host: expected a host, as there is no unix_socket_dir to use instead"});
  CHECK(error("host=a,b port=1,2,3") == "port: expected one port, or one for each of the 2 hosts, found 3");
  CHECK(error("host=a,,b").rfind("host: expected a host name, an address", 0) == 0);
  CHECK(error("host=@abstract").rfind("host: expected a host name, an address", 0) == 0);
  for (const char* port : {"port=0", "port=65536", "port=x", "port=''", "port=1,", "port=-1"}) {
    CAPTURE(port);
    CHECK(error(port).rfind("port: expected a port number from 1 to 65535, found", 0) == 0);
  }
  std::string many = "host=a";
  for (int i = 0; i < 64; ++i) many += ",a";
  CHECK(error(many) == "host: expected at most 64 hosts, found 65");
}

TEST_CASE("a database's bad values") {
  CHECK(error("pool_size=0") == "pool_size: expected a whole number from 1 to 1000000, found '0'");
  CHECK(error("min_pool_size=-1") == "min_pool_size: expected a whole number from 0 to 1000000, found '-1'");
  CHECK(error("reserve_pool_size=x") == "reserve_pool_size: expected a whole number from 0 to 1000000, found 'x'");
  CHECK(error("max_db_connections=1.5").rfind("max_db_connections: expected", 0) == 0);
  CHECK(error("max_db_client_connections=a").rfind("max_db_client_connections: expected", 0) == 0);
  CHECK(error("pool_mode=tx") == "pool_mode: expected session, transaction or statement, found 'tx'");
  CHECK(error("server_lifetime=long").rfind("server_lifetime: expected a duration", 0) == 0);
  CHECK(error("load_balance_hosts=random") == "load_balance_hosts: expected round-robin or disable, found 'random'");
  for (const char* value : {"on", "''", "Require", "required"}) {
    CAPTURE(value);
    CHECK(error(std::string("channel_binding=") + value)
              .rfind("channel_binding: expected disable, prefer or require, found", 0) == 0);
  }
  CHECK(error("dbname=''") == "dbname: expected a name, found ''");
  CHECK(error("user=''") == "user: expected a name, found ''");
  CHECK(error("user=u password=''") == "password: expected a password, found an empty one");
  CHECK(error("password=s3cret") == "password: expected a user along with it");
  CHECK(error("client_encoding=auto") == "client_encoding: expected the name of an encoding, found 'auto'");
  CHECK(error("options=-x").rfind("options: expected settings such as -c name=value", 0) == 0);
  CHECK(error("timezone=UTC options='-c TimeZone=CET'") == "options: sets TimeZone a second time");
}

TEST_CASE("what a pool cannot honour is an error") {
  CHECK(error("sslmode=require") ==
        "sslmode: expected disable, allow or prefer (the servers' TLS is the same for all databases, "
        "server_tls_sslmode), found 'require'");
  CHECK(error("gssencmode=require") ==
        "gssencmode: expected disable or prefer (servers are reached without GSSAPI), found 'require'");
  CHECK(error("target_session_attrs=master") ==
        "target_session_attrs: expected any, read-write, read-only, primary, standby or prefer-standby, found "
        "'master'");
  CHECK(error("role=primary target_session_attrs=standby") ==
        "target_session_attrs: role and target_session_attrs say the same: expected one of them");
  CHECK(error("connect_timeout=3") == "connect_timeout: is the global setting server_connect_timeout here");
  CHECK(error("reserve_pool=3") == "reserve_pool: is called reserve_pool_size");
  CHECK(error("pool_sise=3") == "pool_sise: unknown parameter; did you mean \"pool_size\"?");
  CHECK(error("auth_dbname=pgbouncer") == "auth_dbname: expected the name of a database, found 'pgbouncer'");
  CHECK(error("colour=red") == "colour: unknown parameter");
  for (const char* text : {"passfile=x", "service=x", "hostaddr=::1", "sslrootcert=x", "sslcert=x", "krbsrvname=x",
                           "keepalives=1", "replication=database", "fallback_application_name=x"}) {
    CAPTURE(text);
    CHECK(error(text).find("unknown") == std::string::npos);
    CHECK(error(text) != "not one error");
  }
}

TEST_CASE("every keyword that is documented for databases is honoured, and libpq's others are known as such") {
  const std::map<std::string, std::string> values = {{"host", "a"},
                                                     {"port", "1"},
                                                     {"load_balance_hosts", "disable"},
                                                     {"pool_mode", "session"},
                                                     {"auth_type", "pam"},
                                                     {"options", "'-c a=b'"},
                                                     {"sslmode", "disable"},
                                                     {"gssencmode", "disable"},
                                                     {"channel_binding", "disable"},
                                                     {"sslnegotiation", "direct"},
                                                     {"password", "p"},
                                                     {"server_lifetime", "1"},
                                                     {"target_session_attrs", "any"},
                                                     {"upstream", "none"},
                                                     {"role", "replica"},
                                                     {"max_replica_lag", "16MB"},
                                                     {"fallback_to_primary", "yes"}};
  for (const EntryKeyword& keyword : database_keywords()) {
    CAPTURE(keyword.name);
    const std::string name(keyword.name);
    const std::string value = values.count(name) > 0 ? values.at(name) : "7";
    CHECK(read(name + "=" + value +
               (name == "password"              ? " user=u"
                : name == "fallback_to_primary" ? " host=a,b role=replica"
                                                : ""))
              .errors == std::vector<std::string>{});
    CHECK((is_libpq_keyword(name) || is_own_database_keyword(name)));
  }
  CHECK(is_libpq_keyword("passfile"));
  CHECK(!is_libpq_keyword("pool_size"));
}

TEST_CASE("libpq's environment does not leak in") {
  setenv("PGHOST", "leak", 1);
  setenv("PGPASSWORD", "leak", 1);
  setenv("PGDATABASE", "leak", 1);
  CHECK(pairs("postgres://u@/") == Pairs{{"user", "u"}});
  CHECK(database("user=u").hosts.front().host == "/tmp");
  CHECK(database("user=u").password.empty());
  for (const char* name : {"PGHOST", "PGPASSWORD", "PGDATABASE"}) unsetenv(name);
}

TEST_CASE("a user's parameters") {
  pool::UserSettings user;
  const Conninfo all = parse_conninfo(
      "pool_mode=session pool_size=1 reserve_pool_size=2 max_user_connections=3 max_user_client_connections=4 "
      "query_timeout=5 idle_transaction_timeout=6s transaction_timeout=7min client_idle_timeout=8h",
      {});
  CHECK(read_user(all.parameters, user).empty());
  CHECK(all.parameters.size() == user_keywords().size());
  CHECK(user.pool_mode == pool::PoolMode::session);
  CHECK(user.pool_size == 1);
  CHECK(user.reserve_pool_size == 2);
  CHECK(user.max_user_connections == 3);
  CHECK(user.max_user_client_connections == 4);
  CHECK(user.query_timeout_us == 5'000'000);
  CHECK(user.idle_transaction_timeout_us == 6'000'000);
  CHECK(user.transaction_timeout_us == 420'000'000);
  CHECK(user.client_idle_timeout_us == int64_t{8} * 3600'000'000);
  for (const EntryKeyword& keyword : user_keywords()) {
    CAPTURE(keyword.name);
    CHECK(read_user({{std::string(keyword.name), "bad", 0}}, user).size() == 1);
  }
  const std::vector<EntryError> errors =
      read_user({{"host", "a", 1}, {"password", "s3cret", 2}, {"pool_sise", "1", 3}}, user);
  REQUIRE(errors.size() == 3);
  CHECK(errors[0].message == "unknown parameter");
  CHECK(errors[1].message == "is not given here but in auth_file");
  CHECK(errors[2].message == "unknown parameter; did you mean \"pool_size\"?");
  CHECK(errors[2].line == 3);
}
