#include <doctest/doctest.h>

#include <cstdlib>
#include <sstream>

#include "config_folder.h"
#include "src/config/settings_loader.h"
#include "src/config/settings_registry.h"

using namespace bezel;
using namespace bezel::config;

namespace {

using Texts = std::vector<std::string>;

pool::Settings settings(const std::string& yaml, const Environment& environment = {}) {
  const ConfigFolder folder;
  const LoadResult result = folder.load(yaml, environment);
  CHECK(folder.texts(result.errors) == Texts{});
  REQUIRE(result.ok());
  return *result.settings;
}

/// The errors of `yaml`, whose first line is the file's second.
Texts errors(const std::string& yaml, const Environment& environment = {}) {
  return ConfigFolder().errors(yaml, environment);
}

Texts warnings(const std::string& yaml) {
  const ConfigFolder folder;
  const LoadResult result = folder.load(yaml);
  CHECK(result.ok());
  return folder.texts(result.warnings);
}

}  // namespace

TEST_CASE("a file of all sorts of settings") {
  const pool::Settings loaded = settings(R"(
listen_addr: ["127.0.0.1", "::1"]
listen_port: 7000
unix_socket_dir: ""
unix_socket_mode: 0660
workers: auto
auth_type: scram-sha-256
admin_users: [alice, bob]
stats_users: alice, bob
pool_mode: session
max_packet_size: 1MB
query_timeout: 90
query_wait_timeout: 250ms
tcp_user_timeout: 3000
log_connections: no
databases:
  app: host=db port=5433 user=u password=p
users:
  alice: {pool_mode: statement}
)");
  CHECK(loaded.listen_addr == "127.0.0.1,::1");
  CHECK(loaded.listen_port == 7000);
  CHECK(loaded.unix_socket_dir.empty());
  CHECK(loaded.unix_socket_mode == 0660);
  CHECK(loaded.workers == 0);
  CHECK(loaded.auth_type == pool::AuthType::scram_sha_256);
  CHECK(loaded.admin_users == Texts{"alice", "bob"});
  CHECK(loaded.stats_users == Texts{"alice", "bob"});
  CHECK(loaded.pool_mode == pool::PoolMode::session);
  CHECK(loaded.max_packet_size_bytes == 1048576);
  CHECK(loaded.query_timeout_us == 90'000'000);
  CHECK(loaded.query_wait_timeout_us == 250'000);
  CHECK(loaded.tcp_user_timeout_us == 3'000'000);
  CHECK(!loaded.log_connections);
  REQUIRE(loaded.databases.count("app") == 1);
  CHECK(loaded.databases.at("app").name == "app");
  CHECK(loaded.databases.at("app").hosts == std::vector<pool::HostAddress>{{"db", 5433}});
  CHECK(loaded.users.at("alice").pool_mode == pool::PoolMode::statement);
  CHECK(loaded.users.at("alice").name == "alice");
  CHECK(loaded.secrets.at("alice").kind == protocol::SecretKind::plain);
  CHECK(loaded.secrets.at("bob").kind == protocol::SecretKind::md5);
}

TEST_CASE("a file that sets nothing gives the defaults") {
  const pool::Settings loaded = settings("");
  pool::Settings expected;
  expected.auth_file = loaded.auth_file;
  for (size_t i = 0; i < show_config(loaded).size(); ++i) {
    CHECK(show_config(loaded)[i].value == show_config(expected)[i].value);
  }
  CHECK(loaded.databases.empty());
}

TEST_CASE("databases are strings, URIs, maps or nothing") {
  const pool::Settings loaded = settings(R"(
unix_socket_dir: /run/sockets
databases:
  plain: dbname=x
  uri: postgres://u:p@h:6000/d?pool_size=3
  map:
    host: [a, b]
    port: [1, 2]
    user: u
    password: "p w"
    pool_size: 4
    options: -c work_mem=1MB
  empty:
  "*": host=rest
)");
  CHECK(loaded.databases.size() == 5);
  CHECK(loaded.databases.at("plain").hosts == std::vector<pool::HostAddress>{{"/run/sockets", 5432}});
  CHECK(loaded.databases.at("plain").dbname == "x");
  CHECK(loaded.databases.at("uri").pool_size == 3);
  CHECK(loaded.databases.at("map").hosts == std::vector<pool::HostAddress>{{"a", 1}, {"b", 2}});
  CHECK(loaded.databases.at("map").password == "p w");
  CHECK(loaded.databases.at("map").server_parameters.size() == 1);
  CHECK(loaded.databases.at("empty").hosts == loaded.databases.at("plain").hosts);
  CHECK(loaded.databases.at("*").hosts.front().host == "rest");
  CHECK(loaded.databases.at("*").dbname.empty());
}

TEST_CASE("each error has its file, line, key, and what was expected") {
  CHECK(errors("listen_prt: 1") == Texts{"bezel.yaml:2: listen_prt: unknown setting; did you mean \"listen_port\"?"});
  CHECK(errors("\nlisten_port: 99999") ==
        Texts{"bezel.yaml:3: listen_port: expected a port number from 1 to 65535; found '99999'"});
  CHECK(errors("pool_mode: [session]") ==
        Texts{"bezel.yaml:2: pool_mode: expected session, transaction or statement; found a list"});
  CHECK(errors("pool_mode: {a: b}") ==
        Texts{"bezel.yaml:2: pool_mode: expected session, transaction or statement; found a map"});
  CHECK(errors("workers:") ==
        Texts{"bezel.yaml:2: workers: expected auto or a whole number from 1 to 1024; found nothing"});
  CHECK(errors("pool_mode: session\nmax_client_conn: 5\npool_mode: session") ==
        Texts{"bezel.yaml:4: pool_mode: duplicate key; the first one is in line 2"});
  CHECK(errors("reserve_pool: 3") == Texts{"bezel.yaml:2: reserve_pool: is called reserve_pool_size"});
  CHECK(errors("admin_users:\n  - alice\n  - [b]") == Texts{"bezel.yaml:4: admin_users: expected a list of names (a "
                                                            "YAML list, or one text with commas); found a list in the "
                                                            "list"});
  CHECK(errors("<<: {a: b}") == Texts{"bezel.yaml:2: YAML's merge key << is not supported"});
  CHECK(errors("[a]: b") == Texts{"bezel.yaml:2: expected a name as key, found a list"});
  CHECK(errors("server_check_query: !x y") == Texts{"bezel.yaml:2: server_check_query: expected a query; found a YAML "
                                                    "tag (a value that begins with ! must be quoted)"});
  CHECK(errors("server_check_query: \"a\\0b\"") ==
        Texts{"bezel.yaml:2: server_check_query: expected a query; found a NUL byte"});
  CHECK(errors("databases: [a]") == Texts{"bezel.yaml:2: databases: expected a map of names, found a list"});
  CHECK(errors("users: a") == Texts{"bezel.yaml:2: users: expected a map of names, found a text"});
  CHECK(errors("databases:\n  pgbouncer: host=a\n  bezel: host=a") ==
        Texts{"bezel.yaml:3: databases.pgbouncer: this name is reserved for the console",
              "bezel.yaml:4: databases.bezel: this name is reserved for the console"});
  CHECK(errors("databases:\n  a: [host]") ==
        Texts{"bezel.yaml:3: databases.a: expected a connection string or a map; found a list"});
  CHECK(errors("databases:\n  a: host=x\n  b: host=x\n  a: host=y") ==
        Texts{"bezel.yaml:5: databases.a: duplicate key; the first one is in line 3"});
  CHECK(errors("databases:\n  a:\n    host: x\n    port: 70000\n    pool_sise: 3") ==
        Texts{"bezel.yaml:5: databases.a.port: expected a port number from 1 to 65535, found '70000'",
              "bezel.yaml:6: databases.a.pool_sise: unknown parameter; did you mean \"pool_size\"?"});
  CHECK(errors("databases:\n  a:\n    host: x\n    host: y\n    user: {b: c}") ==
        Texts{"bezel.yaml:5: databases.a.host: duplicate key; the first one is in line 4",
              "bezel.yaml:6: databases.a.user: expected a text; found a map"});
  CHECK(errors("databases:\n  a: {host: [x, [y]]}") ==
        Texts{"bezel.yaml:3: databases.a.host: expected a text or a list; found a list in the list"});
  CHECK(errors("databases:\n  a: {host: []}") ==
        Texts{"bezel.yaml:3: databases.a.host: expected a text or a list; found an empty list"});
  CHECK(errors("databases:\n  a: host=x sslmode=verify-full") ==
        Texts{"bezel.yaml:3: databases.a.sslmode: expected disable, allow or prefer (the servers' TLS is the same for "
              "all databases, server_tls_sslmode), "
              "found "
              "'verify-full'"});
  CHECK(errors("users:\n  alice:\n    pool_size: 0") ==
        Texts{"bezel.yaml:4: users.alice.pool_size: expected a whole number from 1 to 1000000, found '0'"});
}

TEST_CASE("what is no YAML is an error with its line") {
  CHECK(errors("a: [b").front().rfind("bezel.yaml:", 0) == 0);
  CHECK(errors("a: [b").front().find("not valid YAML") != std::string::npos);
  CHECK(errors("\tpool_mode: session").front().rfind("bezel.yaml:2: not valid YAML", 0) == 0);
  CHECK(errors("--- \npool_mode: session\n") == Texts{"bezel.yaml:2: expected one YAML document, found several"});
  CHECK(errors("log_level: in\x04"
               "fo") == Texts{"bezel.yaml:2: expected UTF-8 text without control characters"});
  CHECK(errors("\nlogfile: \xe4") == Texts{"bezel.yaml:3: expected UTF-8 text without control characters"});
  CHECK(errors("\nlogfile: \xed\xa0\x80") == Texts{"bezel.yaml:3: expected UTF-8 text without control characters"});
  CHECK(errors("logfile: \xc3") == Texts{"bezel.yaml:2: expected UTF-8 text without control characters"});
  CHECK(errors("---\n, a: b\n") == Texts{"bezel.yaml:2: expected one YAML document, found several"});
  const ConfigFolder folder;
  const auto texts = [&](const std::string& content) {
    return folder.texts(load(folder.write("x.yaml", content), {}).errors);
  };
  // yaml-cpp's LoadAll() would not end here.
  CHECK(texts("# a comment\n,listen_port: 1\n") == Texts{"x.yaml:2: not valid YAML"});
  CHECK(texts("- a") == Texts{"x.yaml:1: expected a map of settings, found a list"});
  CHECK(texts("") == Texts{"x.yaml: auth_file: expected a file name, as auth_type is md5; found none"});
  CHECK(load(folder.write("x.yaml",
                          "\xef\xbb\xbf"
                          "auth_file: userlist.txt\r\nlogfile: \xc3\xa4\xf0\x9f\x90\x98\r\n"),
             {})
            .ok());
}

TEST_CASE("files that cannot be read") {
  const ConfigFolder folder;
  CHECK(folder.texts(load(folder.path("none.yaml"), {}).errors).front() ==
        "none.yaml: cannot be opened: No such file or directory");
  CHECK(folder.texts(load(folder.path(""), {}).errors).front().find("Is a directory") != std::string::npos);
  CHECK(folder.texts(load(folder.write("big.yaml", std::string(17 * 1024 * 1024, '#')), {}).errors).front() ==
        "big.yaml: expected at most 16 MiB");
}

TEST_CASE("deep and self-referring YAML is refused or harmless") {
  CHECK(errors("a: " + std::string(5000, '[')).front().find("not valid YAML") != std::string::npos);
  CHECK(errors("databases: &x\n  a: *x") != Texts{"no error"});
  CHECK(settings("databases:\n  a: &x {host: h}\n  b: *x").databases.at("b").hosts.front().host == "h");
}

TEST_CASE("all errors are reported at once, up to a bound") {
  CHECK(errors("a1: 1\nlisten_port: x\ndatabases:\n  d: port=x\nusers:\n  u: {pool_mode: x}").size() == 4);
  std::string many;
  for (int i = 0; i < 70; ++i) many += "unknown_" + std::to_string(i) + ": 1\n";
  const Texts texts = errors(many);
  CHECK(texts.size() == ProblemList::kProblemsMax + 1);
  CHECK(texts.back() == "and 20 more");
}

TEST_CASE("passwords never show") {
  for (const char* yaml :
       {"databases:\n  a: host=x user=u password=s3cret port=0", "databases:\n  a: user=u password=a s3cret",
        "databases:\n  a: postgres://u:s3cret%zz@h/", "databases:\n  a: {user: u, password: [s3cret]}",
        "databases:\n  a: {user: u, password: *s3cret}", "databases:\n  a: {user: u, password: !s3cret x}",
        "databases:\n  a: {user: u, password: &s3cret }", "databases:\n  a: {user: u, password: {s3cret: 1}}",
        "databases:\n  a: {password: s3cret}", "databases:\n  a: {user: u, password: '${s3cret-x}'}",
        "users:\n  a: {password: s3cret}", "databases:\n  a: {user: u, password: \"s3cret\\q\"}",
        "databases:\n  a: {user: u, password: \"s3cret\\0\"}",
        "auth_type: any\ndatabases:\n  a: host=x port=0 user=u password=s3cret"}) {
    CAPTURE(yaml);
    const Texts texts = errors(yaml);
    CHECK(texts.front() != "no error");
    for (const std::string& text : texts) CHECK(text.find("s3cret") == std::string::npos);
  }
  const ConfigFolder folder;
  folder.write("userlist.txt", "\"a\" \"s3cret\nb s3cret\n");
  const Texts texts = folder.errors("");
  CHECK(texts.front().rfind("userlist.txt:1: ", 0) == 0);
  for (const std::string& text : texts) CHECK(text.find("s3cret") == std::string::npos);
}

TEST_CASE("environment variables fill values and nothing else") {
  const Environment environment = {
      {"PORT", "7001"}, {"EVIL", "x\nlisten_port: 1\n"}, {"NAMES", "alice, bob"}, {"DB", "h"}};
  const pool::Settings loaded = settings(R"(
listen_port: ${PORT}
admin_users: ${NAMES}
stats_users: ["${DB}", "a${NONE:-b}"]
server_check_query: "${EVIL}"
server_reset_query: "$${PORT}"
databases:
  a: {host: "${DB}", port: "${PORT}", user: u, password: "${EVIL}"}
  b: host=${DB} user=u password=${EVIL}
)",
                                         environment);
  CHECK(loaded.listen_port == 7001);
  CHECK(loaded.admin_users == Texts{"alice", "bob"});
  CHECK(loaded.stats_users == Texts{"h", "ab"});
  CHECK(loaded.server_check_query == environment.at("EVIL"));
  CHECK(loaded.server_reset_query == "${PORT}");
  CHECK(loaded.databases.at("a").password == environment.at("EVIL"));
  CHECK(loaded.databases.at("a").hosts == std::vector<pool::HostAddress>{{"h", 7001}});
  CHECK(loaded.databases.at("b").password == environment.at("EVIL"));
  CHECK(errors("listen_port: ${NONE}") == Texts{"bezel.yaml:2: listen_port: expected a port number from 1 to 65535; "
                                                "the environment variable NONE is not set"});
  CHECK(errors("listen_port: ${PORT}", {{"PORT", "abc"}}) ==
        Texts{"bezel.yaml:2: listen_port: expected a port number from 1 to 65535; found 'abc'"});
  CHECK(errors("databases:\n  a: host=${NONE}") ==
        Texts{"bezel.yaml:3: databases.a: host: the environment variable NONE is not set"});
  CHECK(errors("pool_mode: ${A").front().find("expected \"}\"") != std::string::npos);
}

TEST_CASE("the process's environment") {
  setenv("BEZEL_TEST_VARIABLE", "a=b", 1);
  const Environment environment = process_environment();
  unsetenv("BEZEL_TEST_VARIABLE");
  REQUIRE(environment.count("BEZEL_TEST_VARIABLE") == 1);
  CHECK(environment.at("BEZEL_TEST_VARIABLE") == "a=b");
}

TEST_CASE("included files are merged, and the includer comes first") {
  const ConfigFolder folder;
  folder.write("sub/limits.yaml", "max_client_conn: 5\ndefault_pool_size: 6\n%include: more.yaml\n");
  folder.write("sub/more.yaml", "default_pool_size: 7\nmin_pool_size: 1\npidfile: bezel.pid\n");
  folder.write("databases.yaml", "databases:\n  a: host=included\n  b: host=included\nusers:\n  alice: pool_size=1\n");
  const LoadResult result = folder.load(
      "%include:\n  - sub/limits.yaml\n  - ${FILE}.yaml\nmax_client_conn: 8\ndatabases:\n  a: host=own\n  c: "
      "host=own\n",
      {{"FILE", "databases"}});
  CHECK(folder.texts(result.errors) == Texts{});
  REQUIRE(result.ok());
  CHECK(result.settings->max_client_conn == 8);
  CHECK(result.settings->default_pool_size == 6);
  CHECK(result.settings->min_pool_size == 1);
  CHECK(result.settings->pidfile == folder.path("sub/bezel.pid"));
  CHECK(result.settings->databases.at("a").hosts.front().host == "own");
  CHECK(result.settings->databases.at("b").hosts.front().host == "included");
  CHECK(result.settings->databases.at("c").hosts.front().host == "own");
  CHECK(result.settings->users.at("alice").pool_size == 1);
  for (const char* spelling : {"%include: databases.yaml", "\"%include\": databases.yaml", "%include : databases.yaml",
                               "%include: [databases.yaml]"}) {
    CAPTURE(spelling);
    const LoadResult other = folder.load(spelling);
    REQUIRE(other.ok());
    CHECK(other.settings->databases.size() == 2);
  }
}

TEST_CASE("an error in an included file names that file") {
  const ConfigFolder folder;
  folder.write("sub/bad.yaml", "\npool_mode: x\n");
  CHECK(folder.errors("%include: sub/bad.yaml") ==
        Texts{"sub/bad.yaml:2: pool_mode: expected session, transaction or statement; found 'x'"});
  CHECK(folder.errors("%include: none.yaml") ==
        Texts{"bezel.yaml:2: %include: none.yaml: cannot be opened: No such file or directory"});
  CHECK(folder.errors("%include:\n  - {a: b}") ==
        Texts{"bezel.yaml:3: %include: expected a file name, or a list of them, found a map"});
  CHECK(folder.errors("%include:") ==
        Texts{"bezel.yaml:2: %include: expected a file name, or a list of them, found nothing"});
  CHECK(folder.errors("%include: ''") ==
        Texts{"bezel.yaml:2: %include: expected a file name, or a list of them, found an empty one"});
  CHECK(folder.errors("%include sub/bad.yaml") ==
        Texts{"bezel.yaml:2: expected \"%include: FILE\" after a % at the beginning of a line"});
  CHECK(folder.errors("%include: a.yaml\n%include: b.yaml").back() ==
        "bezel.yaml:3: %include: duplicate key; the first one is in line 2");
  CHECK(folder.errors("include: a.yaml") == Texts{"bezel.yaml:2: include: is called %include"});
}

TEST_CASE("files included side by side must not say the same") {
  const ConfigFolder folder;
  folder.write("a.yaml", "max_client_conn: 5\ndatabases:\n  d: host=a\n%include: common.yaml");
  folder.write("b.yaml", "databases:\n  d: host=b\nmax_client_conn: 6\n%include: ./common.yaml");
  folder.write("common.yaml", "min_pool_size: 2");
  CHECK(folder.errors("%include: [a.yaml, b.yaml]") ==
        Texts{"b.yaml:2: databases.d: set in two included files; the other place is a.yaml:3",
              "b.yaml:3: max_client_conn: set in two included files; the other place is a.yaml:1"});
}

TEST_CASE("include cycles and heaps of includes end in an error") {
  const ConfigFolder folder;
  folder.write("a.yaml", "%include: b.yaml");
  folder.write("b.yaml", "%include: ./a.yaml");
  CHECK(folder.errors("%include: a.yaml") == Texts{"b.yaml:1: %include: a.yaml includes itself"});
  CHECK(folder.errors("%include: bezel.yaml") == Texts{"bezel.yaml:2: %include: bezel.yaml includes itself"});
  for (int i = 0; i < 20; ++i) {
    folder.write("deep" + std::to_string(i) + ".yaml", "%include: deep" + std::to_string(i + 1) + ".yaml");
  }
  CHECK(folder.errors("%include: deep0.yaml") == Texts{"deep9.yaml:1: %include: expected at most 200 files, 10 deep"});
  folder.write("leaf.yaml", "");
  std::string wide = "%include:\n";
  for (int i = 0; i < 201; ++i) wide += "  - leaf.yaml\n";
  CHECK(folder.errors(wide).front() == "bezel.yaml:202: %include: expected at most 200 files, 10 deep");
}

TEST_CASE("relative files are meant from the folder of the file that names them") {
  const ConfigFolder folder;
  folder.write("secrets/more.txt", "\"carol\" \"x\"\n");
  folder.write("secrets/auth.yaml", "auth_file: more.txt\nlogfile: bezel.log");
  const LoadResult result = load(folder.write("top.yaml", "%include: secrets/auth.yaml"), {});
  REQUIRE(result.ok());
  CHECK(result.settings->auth_file == folder.path("secrets/more.txt"));
  CHECK(result.settings->logfile == folder.path("secrets/bezel.log"));
  CHECK(result.settings->secrets.count("carol") == 1);
  const LoadResult absolute = load(folder.write("sub/abs.yaml", "auth_file: " + folder.path("userlist.txt")), {});
  REQUIRE(absolute.ok());
  CHECK(absolute.settings->secrets.count("alice") == 1);
}

TEST_CASE("auth_file must be there and be read, when it is needed") {
  const ConfigFolder folder;
  const auto texts = [&](const std::string& content) {
    return folder.texts(load(folder.write("x.yaml", content), {}).errors);
  };
  CHECK(texts("auth_type: trust") ==
        Texts{"x.yaml: auth_file: expected a file name, as auth_type is trust; found none"});
  CHECK(texts("auth_file: none.txt") ==
        Texts{"x.yaml:1: auth_file: none.txt: cannot be opened: No such file or directory"});
  CHECK(texts("auth_type: any\ndatabases:\n  a: user=u").empty());
  CHECK(texts("auth_type: any\ndatabases:\n  a: user=u\n  b: host=x") ==
        Texts{"x.yaml:4: databases.b: expected a user, as auth_type is any; found none"});
  CHECK(texts("auth_type: any\nauth_file: none.txt").size() == 1);
  folder.write("broken.txt", "\"a\" \"b\"\nc d\n");
  const Texts broken = texts("auth_file: broken.txt");
  REQUIRE(broken.size() == 1);
  CHECK(broken.front().rfind("broken.txt:2: ", 0) == 0);
}

TEST_CASE("settings that contradict each other are errors") {
  CHECK(errors("listen_addr: ''\nunix_socket_dir: ''") ==
        Texts{"bezel.yaml:2: listen_addr: expected an address here or a folder in unix_socket_dir: with both empty "
              "there is "
              "nowhere to listen"});
  CHECK(errors("metrics_port: 6432") ==
        Texts{"bezel.yaml:2: metrics_port: expected another port than listen_port, found 6432 for both"});
  CHECK(errors("listen_addr: '*'\nmetrics_addr: 10.0.0.1\nmetrics_port: 6432") != Texts{"no error"});
  CHECK(settings("listen_addr: 10.0.0.1\nmetrics_port: 6432").metrics_port == 6432);
  CHECK(errors("unix_socket_dir: ''\ndatabases:\n  a: dbname=x") ==
        Texts{"bezel.yaml:4: databases.a.host: expected a host, as there is no unix_socket_dir to use instead"});
}

TEST_CASE("what is hardly meant is a warning") {
  const std::string database = "databases:\n  a: host=x\n";
  CHECK(warnings(database) == Texts{});
  CHECK(warnings("log_stats: 1") == Texts{"bezel.yaml: databases: there is none: clients can reach only the console"});
  CHECK(warnings(database + "min_pool_size: 30") ==
        Texts{"bezel.yaml:4: min_pool_size: 30 is more than the pool's size, 25, which holds"});
  CHECK(warnings(database + "default_pool_size: 101") ==
        Texts{"bezel.yaml:4: default_pool_size: 101 is more than max_db_connections, 100, which holds"});
  CHECK(warnings(database + "default_pool_size: 101\nmax_db_connections: 0") == Texts{});
  CHECK(warnings("databases:\n  a: host=x min_pool_size=26") ==
        Texts{"bezel.yaml:3: databases.a.min_pool_size: 26 is more than the pool's size, 25, which holds"});
  CHECK(warnings("databases:\n  a.b: host=x pool_size=9 max_db_connections=8") ==
        Texts{"bezel.yaml:3: databases.a.b.pool_size: 9 is more than max_db_connections, 8, which holds"});
  CHECK(warnings(database + "reserve_pool_size: 1\nreserve_pool_timeout: 0") ==
        Texts{"bezel.yaml:4: reserve_pool_size: has no effect, as reserve_pool_timeout is 0"});
  CHECK(warnings(database + "server_reset_query_always: 1\nserver_reset_query: ''") ==
        Texts{"bezel.yaml:4: server_reset_query_always: has no effect, as server_reset_query is empty"});
  CHECK(warnings(database + "admin_users: alice, mallory") ==
        Texts{"bezel.yaml:4: admin_users: mallory is not in auth_file and so cannot log in"});
  CHECK(warnings(database + "stats_users: mallory") ==
        Texts{"bezel.yaml:4: stats_users: mallory is not in auth_file and so cannot log in"});
  CHECK(warnings(database + "users:\n  mallory: {pool_size: 1}") ==
        Texts{"bezel.yaml:5: users.mallory: mallory is not in auth_file and so cannot log in"});
}

TEST_CASE("a forced user whose secret cannot log in is a warning") {
  const ConfigFolder folder;
  folder.write("userlist.txt",
               "\"u\" \"SCRAM-SHA-256$4096:MDEyMzQ1Njc4OWFiY2RlZg==$"
               "WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=:wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU=\"\n");
  const LoadResult result = folder.load("databases:\n  a: user=u\n  b: user=u password=p\n  c: host=x");
  REQUIRE(result.ok());
  CHECK(result.settings->secrets.at("u").kind == protocol::SecretKind::scram_sha_256);
  CHECK(folder.texts(result.warnings) == Texts{"bezel.yaml:3: databases.a.user: the secret of u in auth_file is a "
                                               "SCRAM verifier, with which no password login "
                                               "to the server is possible; give a password here or a plain one there"});
}

TEST_CASE("a reload is all or nothing") {
  const ConfigFolder folder;
  const LoadResult first = folder.load("max_client_conn: 7\ndatabases:\n  a: host=x");
  REQUIRE(first.ok());
  const LoadResult bad = folder.load("max_client_conn: 8\nlisten_port: 7000\ndatabases:\n  a: host=x port=0");
  CHECK(!bad.ok());
  CHECK(bad.settings == nullptr);
  CHECK(bad.warnings.empty());
  CHECK(first.settings->max_client_conn == 7);
  const LoadResult good = folder.load("max_client_conn: 8\nlisten_port: 7000\ndatabases:\n  a: host=x");
  REQUIRE(good.ok());
  CHECK(good.settings->max_client_conn == 8);
  CHECK(restart_only_changes(*first.settings, *good.settings) == Texts{"listen_port"});
  pool::Settings kept = *good.settings;
  keep_restart_only_values(*first.settings, kept);
  CHECK(kept.listen_port == 6432);
  CHECK(kept.max_client_conn == 8);
}

TEST_CASE("--check-config prints what is wrong, or that nothing is") {
  const ConfigFolder folder;
  std::ostringstream good, bad;
  CHECK(check_config(folder.write("good.yaml", "auth_file: userlist.txt\nmin_pool_size: 26\ndatabases:\n  a: host=x"),
                     good) == 0);
  CHECK(good.str() == "warning: " + folder.path("good.yaml") +
                          ":2: min_pool_size: 26 is more than the pool's size, 25, which holds\n" +
                          folder.path("good.yaml") + ": configuration is valid\n");
  CHECK(check_config(folder.write("bad.yaml", "auth_file: userlist.txt\nx: 1\nlisten_port: 0"), bad) == 1);
  CHECK(bad.str() == folder.path("bad.yaml") + ":2: x: unknown setting\n" + folder.path("bad.yaml") +
                         ":3: listen_port: expected a port number from 1 to 65535; found '0'\n");
}
