// Who may log in from where and how: auth_hba_file, system users, and addresses from which too many logins fail.

#include <arpa/inet.h>
#include <doctest/doctest.h>
#include <pwd.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstring>
#include <filesystem>
#include <set>
#include <stdexcept>
#include <string>
#include <vector>

#include "integration/bezel_process.h"
#include "integration/loopback.h"
#include "integration/mounted_folder.h"
#include "integration/postgres_server.h"
#include "integration/raw_client.h"
#include "integration/temporary_folder.h"
#include "integration/waiting.h"

using namespace bezel::integration;

namespace {

/// Other addresses of the loopback network, which no own_address() is.
constexpr const char* kNear = "127.77.1.1";
constexpr const char* kFar = "127.88.1.1";

RawClient connect_from(const std::string& source, const BezelProcess& bezel) {
  const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  inet_pton(AF_INET, source.c_str(), &address.sin_addr);
  if (bind(fd, reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) {
    throw std::runtime_error(std::string("could not bind: ") + std::strerror(errno));
  }
  inet_pton(AF_INET, own_address().c_str(), &address.sin_addr);
  address.sin_port = htons(bezel.port());
  if (connect(fd, reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) {
    throw std::runtime_error(std::string("could not connect: ") + std::strerror(errno));
  }
  return RawClient(fd);
}

RawClient connect_by_socket(const std::string& folder, const BezelProcess& bezel) {
  const int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  const std::string path = folder + "/.s.PGSQL." + std::to_string(bezel.port());
  std::strncpy(address.sun_path, path.c_str(), sizeof address.sun_path - 1);
  if (connect(fd, reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) {
    throw std::runtime_error(std::string("could not connect: ") + std::strerror(errno));
  }
  return RawClient(fd);
}

/// What a login comes to: "in", or the error's severity, SQLSTATE and message.
std::string outcome(RawClient client, const std::string& user, const std::string& password,
                    const std::string& database = "app") {
  const std::vector<Frame> frames = client.log_in(user, password, database);
  if (frames.empty()) return "closed";
  if (frames.back().type == 'Z') return "in";
  return readable(frames.back()).substr(2);
}

std::string no_entry(const std::string& host, const std::string& user, const std::string& database = "app") {
  return "FATAL 28000 no pg_hba.conf entry for host \"" + host + "\", user \"" + user + "\", database \"" + database +
         "\", no encryption";
}

std::string rejected(const std::string& host, const std::string& user, const std::string& database = "app") {
  return "FATAL 28000 pg_hba.conf rejects connection for host \"" + host + "\", user \"" + user + "\", database \"" +
         database + "\", no encryption";
}

std::string wrong_password(const std::string& user) {
  return "FATAL 28P01 password authentication failed for user \"" + user + "\"";
}

constexpr const char* kThrottled = "FATAL 28000 too many failed logins from this address";

std::string system_user() {
  return getpwuid(getuid())->pw_name;
}

/// A Bezel with rules, maps and a Unix socket.
struct Guarded {
  explicit Guarded(const std::string& rules, const std::string& maps = "",
                   std::map<std::string, std::string> settings = {}, const std::string& userlist = "")
      : hba(folder.write("hba.conf", rules)), ident(folder.write("ident.conf", maps)) {
    settings.insert({{"auth_type", "hba"},
                     {"auth_hba_file", hba},
                     {"auth_ident_file", ident},
                     {"auth_failure_limit", "0"},
                     {"unix_socket_dir", folder.path()}});
    bezel = std::make_unique<BezelProcess>(Configuration{
        .settings = settings,
        .databases = {{"app", database_at(PostgresServer::shared(), "user=app password=app-secret")},
                      {"other", database_at(PostgresServer::shared(), "dbname=app user=app password=app-secret")}},
        .userlist = userlist});
  }
  std::string from(const std::string& source, const std::string& user, const std::string& password,
                   const std::string& database = "app") const {
    return outcome(connect_from(source, *bezel), user, password, database);
  }
  std::string by_socket(const std::string& user, const std::string& password = "",
                        const std::string& database = "app") const {
    return outcome(connect_by_socket(folder.path(), *bezel), user, password, database);
  }

  TemporaryFolder folder;
  std::string hba, ident;
  std::unique_ptr<BezelProcess> bezel;
};

}  // namespace

TEST_CASE("hba: addresses, users, databases and methods") {
  const Guarded guarded(
      "host all guest 127.0.0.0/8 reject\n"
      "host app app 127.77.0.0/16 trust\n"
      "hostssl all all all trust\n"
      "hostnossl other app 127.88.1.1 255.255.255.255 password\n"
      "host sameuser app 127.88.0.0/16 scram-sha-256\n"
      "host pgbouncer admin all md5\n"
      "local app app md5\n",
      "", {}, "\"app\" \"app-secret\"\n\"admin\" \"admin-secret\"\n\"guest\" \"guest-secret\"\n");
  CHECK(guarded.from(kNear, "app", "whatever") == "in");
  CHECK(guarded.from(kNear, "app", "whatever", "other") == no_entry(kNear, "app", "other"));
  CHECK(guarded.from(kNear, "guest", "guest-secret") == rejected(kNear, "guest"));
  CHECK(guarded.from(kNear, "nobody", "x") == no_entry(kNear, "nobody"));
  CHECK(guarded.from(kFar, "app", "whatever") == wrong_password("app"));
  CHECK(guarded.from(kFar, "app", "app-secret") == "in");
  CHECK(guarded.from(kFar, "app", "whatever", "other") == wrong_password("app"));
  CHECK(guarded.from(kFar, "app", "app-secret", "other") == "in");
  CHECK(guarded.from(own_address(), "app", "app-secret") == no_entry(own_address(), "app"));
  CHECK(guarded.by_socket("app", "app-secret") == "in");
  CHECK(guarded.by_socket("app", "wrong") == wrong_password("app"));
  CHECK(guarded.by_socket("admin", "admin-secret", "pgbouncer") == no_entry("[local]", "admin", "pgbouncer"));
  // The console has two names and one rule.
  CHECK(guarded.from(kFar, "admin", "admin-secret", "pgbouncer") == "in");
  CHECK(guarded.from(kFar, "admin", "admin-secret", "bezel") == "in");
  CHECK(guarded.from(kFar, "admin", "wrong", "bezel") == wrong_password("admin"));
}

TEST_CASE("hba: a database that is not there is told only to who may log in") {
  const Guarded guarded("host all all 127.77.0.0/16 md5\n");
  CHECK(guarded.from(kFar, "app", "app-secret", "none") == no_entry(kFar, "app", "none"));
  CHECK(guarded.from(kNear, "app", "wrong", "none") == wrong_password("app"));
  CHECK(guarded.from(kNear, "app", "app-secret", "none") == "FATAL 3D000 no such database: none");
}

TEST_CASE("hba: new rules count from the reload on, and wrong ones change nothing") {
  const Guarded guarded("host all admin all md5\nhost all all 127.77.0.0/16 trust\n");
  PgConnection console = guarded.bezel->console();
  CHECK(guarded.from(kNear, "app", "") == "in");
  CHECK(guarded.from(kFar, "app", "") == no_entry(kFar, "app"));
  write_file(guarded.hba, "host all admin all md5\nhost all all 127.77.0.0/16 reject\nhost all all nowhere trust\n");
  const PgResult refused = console.exec("RELOAD");
  CHECK_FALSE(refused.ok());
  CHECK(console.error().find(guarded.hba + ":3: \"nowhere\": host names are not supported") != std::string::npos);
  CHECK(guarded.from(kNear, "app", "") == "in");
  write_file(guarded.hba, "host all admin all md5\nhost all all 127.77.0.0/16 reject\nhost all all all trust\n");
  console.run("RELOAD");
  CHECK(guarded.from(kNear, "app", "") == rejected(kNear, "app"));
  CHECK(guarded.from(kFar, "app", "") == "in");
  console.run("SET auth_type = 'md5'");
  CHECK(guarded.from(kNear, "app", "app-secret") == "in");
}

TEST_CASE("hba: rules, maps and what they include count as soon as they have changed, without a signal") {
  const std::string admin = "host all admin all md5\n";
  const std::string rules = admin + "include rules.conf\nlocal all all peer map=people\n";
  const std::string people = "include people.conf\n";
  const std::string me = "people " + system_user();
  MountedFolder mounted({{"hba.conf", rules},
                         {"rules.conf", "host all @users all trust\n"},
                         {"users", "app\n"},
                         {"ident.conf", people},
                         {"people.conf", me + " app\n"}});
  const TemporaryFolder sockets;
  BezelProcess bezel({.settings = {{"auth_type", "hba"},
                                   {"auth_hba_file", mounted.path_of("hba.conf")},
                                   {"auth_ident_file", mounted.path_of("ident.conf")},
                                   {"unix_socket_dir", sockets.path()}},
                      .databases = {{"app", database_at(PostgresServer::shared(), "user=app password=app-secret")}},
                      .userlist = "\"app\" \"app-secret\"\n\"guest\" \"guest-secret\"\n\"admin\" \"admin-secret\"\n"});
  const auto near = [&](const std::string& user) { return outcome(connect_from(kNear, bezel), user, ""); };
  const auto local = [&](const std::string& user) {
    return outcome(connect_by_socket(sockets.path(), bezel), user, "");
  };
  const auto logged = [&](const std::string& text) {
    wait_until("the log says: " + text, [&] { return bezel.log().find(text) != std::string::npos; });
  };
  CHECK(near("app") == "in");
  CHECK(near("guest") == no_entry(kNear, "guest"));
  CHECK(local("app") == "in");

  SUBCASE("a list of names, a map, and all by one swap") {
    mounted.provide({{"hba.conf", rules},
                     {"rules.conf", "host all @users all trust\n"},
                     {"users", "guest\n"},
                     {"ident.conf", people},
                     {"people.conf", me + " guest\n"}});
    wait_until("the new list counts", [&] { return near("guest") == "in"; });
    CHECK(near("app") == no_entry(kNear, "app"));
    CHECK(local("guest") == "in");
    CHECK(local("app") == "FATAL 28000 Peer authentication failed for user \"app\"");
  }
  SUBCASE("an error keeps all that was there, until the file that has it is mended") {
    const MountedFolder::Files good = {{"hba.conf", rules},
                                       {"rules.conf", "include elsewhere.conf\n"},
                                       {"elsewhere.conf", "host all guest all trust\n"},
                                       {"ident.conf", people},
                                       {"people.conf", me + " guest\n"}};
    MountedFolder::Files bad = good;
    bad["elsewhere.conf"] = "# new\nhost all guest all rust\n";
    mounted.provide(bad);
    logged(mounted.path_of("elsewhere.conf") + ":2: expected trust, reject");
    logged("changed files are not used");
    CHECK(near("app") == "in");
    CHECK(near("guest") == no_entry(kNear, "guest"));
    CHECK(local("app") == "in");
    mounted.provide(good);
    wait_until("the new rules count", [&] { return near("guest") == "in"; });
    CHECK(local("guest") == "in");
  }
}

TEST_CASE("hba: included files are watched wherever they are, those that are new too") {
  const std::string admin = "host all admin all md5\n";
  const Guarded guarded(admin + "host all all all reject\n");
  const TemporaryFolder first, second;
  first.write("one.conf", "host all app all trust\n");
  const auto gets_in = [&](const std::string& user) { return guarded.from(kNear, user, "") == "in"; };
  write_file(guarded.hba, admin + "include " + first.path_of("one.conf") + "\n");
  wait_until("the included rule counts", [&] { return gets_in("app"); });
  // One after the other, in folders that nothing else was read from at the start.
  first.write("one.conf", "host all admin all trust\ninclude_dir " + second.path() + "\n");
  wait_until("the included file has changed", [&] { return !gets_in("app"); });
  second.write("two.conf", "host all app all trust\n");
  wait_until("a file has come into the included folder", [&] { return gets_in("app"); });
  std::filesystem::remove(second.path_of("two.conf"));
  wait_until("it has gone", [&] { return !gets_in("app"); });
  // A file that may be missing, and what an error has not let count yet.
  first.write("one.conf", "include_if_exists " + second.path_of("maybe") + "\nhost all @" + second.path_of("list") +
                              " all trust\n");
  wait_until("the error is logged",
             [&] { return guarded.bezel->log().find("changed files are not used") != std::string::npos; });
  CHECK_FALSE(gets_in("app"));
  second.write("list", "app");
  wait_until("the list is there", [&] { return gets_in("app"); });
  second.write("maybe", "host all app all reject\n");
  wait_until("the file that may be missing is there", [&] { return !gets_in("app"); });
}

TEST_CASE("peer: the system user of a Unix socket's client") {
  const std::string self = system_user();
  const std::string userlist = "\"" + self + "\" \"\"\n\"app\" \"app-secret\"\n\"admin\" \"admin-secret\"\n";
  const Guarded guarded(
      "local other all peer map=os\n"
      "local all admin md5\n"
      "local all all peer\n"
      "host all all all password\n",
      "os " + self + " app\nos /^(.*)t$ \\1-nonesuch\nanother " + self + " all\n", {}, userlist);
  CHECK(guarded.by_socket(self) == "in");
  CHECK(guarded.by_socket("app", "app-secret") == "FATAL 28000 Peer authentication failed for user \"app\"");
  CHECK(guarded.by_socket("nobody") == "FATAL 28000 Peer authentication failed for user \"nobody\"");
  CHECK(guarded.by_socket("app", "", "other") == "in");
  CHECK(guarded.by_socket(self, "", "other") == "FATAL 28000 Peer authentication failed for user \"" + self + "\"");
  // The user's empty password lets nobody in who must have one.
  CHECK(guarded.from(kNear, self, "x") == wrong_password(self));

  // SHOW CLIENTS says which process a local client is.
  RawClient local = connect_by_socket(guarded.folder.path(), *guarded.bezel);
  CHECK(local.log_in(self, "", "app").back().type == 'Z');
  PgConnection console("host=" + guarded.folder.path() + " port=" + std::to_string(guarded.bezel->port()) +
                       " user=admin password=admin-secret dbname=pgbouncer");
  REQUIRE(console.connected());
  const PgResult clients = console.exec("SHOW CLIENTS");
  REQUIRE(clients.rows() == 2);
  for (int row = 0; row < clients.rows(); row++) {
    CHECK(clients.value(row, "addr") == "unix");
    CHECK(clients.value(row, "remote_pid") == std::to_string(getpid()));
  }
}

TEST_CASE("peer: an empty password is no password by any method") {
  for (const char* method : {"password", "md5", "scram-sha-256"}) {
    INFO(std::string(method));
    const Guarded guarded(std::string("host all all all ") + method + "\n", "", {}, "\"app\" \"\"\n");
    const std::string refusal = guarded.from(kNear, "app", "");
    CHECK(refusal.starts_with("FATAL 28P01 "));
    CHECK(refusal != "in");
  }
}

TEST_CASE("one refusal for all, whatever is wrong") {
  // The bytes that a client sees after the method's own messages, with the user's name replaced.
  const auto refusal = [](const Guarded& guarded, const std::string& user, const std::string& password) {
    RawClient client = connect_from(kNear, *guarded.bezel);
    const std::vector<Frame> frames = client.log_in(user, password, "app");
    std::string text;
    for (const Frame& frame : frames) text += frame.type + frame.body;
    for (size_t at = text.find(user); at != std::string::npos; at = text.find(user)) text.replace(at, user.size(), "U");
    return text;
  };
  std::set<std::string> seen;
  for (const char* method : {"trust", "password", "md5", "scram-sha-256"}) {
    INFO(std::string(method));
    const Guarded guarded(
        std::string("host all all all ") + method + "\n", "", {},
        "\"app\" \"app-secret\"\n\"empty\" \"\"\n\"hashed\" \"md5aabbccddeeff00112233445566778899\"\n");
    seen.insert(refusal(guarded, "absent", "app-secret"));
    if (method == std::string("trust")) continue;
    for (const char* user : {"app", "empty", "hashed"}) seen.insert(refusal(guarded, user, "wrong"));
  }
  REQUIRE(seen.size() == 1);
  const std::string& only = *seen.begin();
  CHECK(only.find("C28P01") != std::string::npos);
  CHECK(only.find("Mpassword authentication failed for user \"U\"") != std::string::npos);
  CHECK(only.find("SFATAL") != std::string::npos);
  // The same without rules.
  for (const char* auth_type : {"trust", "plain", "md5", "scram-sha-256"}) {
    const Guarded guarded("local all all trust\n", "", {{"auth_type", auth_type}});
    CHECK(refusal(guarded, "absent", "x") == only);
    if (auth_type != std::string("trust")) CHECK(refusal(guarded, "app", "wrong") == only);
  }
}

TEST_CASE("an address from which too many logins fail is refused, and no other") {
  const Guarded guarded("host all all all scram-sha-256\nlocal all all md5\n", "", {{"auth_failure_limit", "4"}});
  for (int i = 0; i < 3; i++) CHECK(guarded.from(kNear, "app", "wrong") == wrong_password("app"));
  CHECK(guarded.from(kNear, "app", "app-secret") == "in");
  // A success gives nothing back to who guesses.
  CHECK(guarded.from(kNear, "absent", "wrong") == wrong_password("absent"));
  CHECK(guarded.from(kNear, "absent", "wrong") == kThrottled);
  CHECK(guarded.from(kNear, "app", "app-secret") == kThrottled);
  CHECK(guarded.from(kNear, "admin", "admin-secret", "pgbouncer") == kThrottled);
  CHECK(guarded.from(kFar, "app", "app-secret") == "in");
  for (int i = 0; i < 10; i++) CHECK(guarded.by_socket("app", "wrong") == wrong_password("app"));
  CHECK(guarded.by_socket("app", "app-secret") == "in");
  PgConnection console = guarded.bezel->console();
  console.run("SET auth_failure_limit = 0");
  CHECK(guarded.from(kNear, "app", "app-secret") == "in");
}

TEST_CASE("logins that began before the limit was reached are refused too") {
  for (const char* method : {"password", "md5", "scram-sha-256"}) {
    INFO(std::string(method));
    const Guarded guarded(std::string("host all all all ") + method + "\n", "", {{"auth_failure_limit", "2"}});
    std::vector<RawClient> clients;
    for (int i = 0; i < 4; i++) {
      clients.push_back(connect_from(kNear, *guarded.bezel));
      clients.back().send(startup_packet("app", "app"));
      REQUIRE(clients.back().readable_within(kPatience));
    }
    std::vector<std::string> outcomes;
    for (int i = 0; i < 4; i++) {
      const bool is_right = i == 3;
      const std::vector<Frame> frames = clients[i].authenticate(is_right ? "app-secret" : "wrong", "app");
      REQUIRE_FALSE(frames.empty());
      outcomes.push_back(frames.back().type == 'Z' ? "in" : readable(frames.back()).substr(2));
    }
    CHECK(outcomes[0] == wrong_password("app"));
    CHECK(outcomes[1] == wrong_password("app"));
    CHECK(outcomes[2] == kThrottled);
    CHECK(outcomes[3] == kThrottled);
  }
}
