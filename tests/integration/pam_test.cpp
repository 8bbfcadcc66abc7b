// Logins by PAM: the real libpam and pam_exec, with services of the tests' own. Bezel runs in a mount namespace where
// /etc/pam.d is a folder of the test, so that the machine's is left alone.

#include <doctest/doctest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "integration/bezel_process.h"
#include "integration/loopback.h"
#include "integration/postgres_server.h"
#include "integration/process_memory.h"
#include "integration/raw_client.h"
#include "integration/waiting.h"

using namespace bezel::integration;

namespace {

using Settings = std::map<std::string, std::string>;

PostgresServer& server() {
  static PostgresServer own;
  static const bool made = [] {
    own.create_user("alice", "alice-pam", "scram-sha-256");
    own.create_user("slow", "slow-pam", "scram-sha-256");
    own.create_user("bob", "another", "scram-sha-256");
    return true;
  }();
  CHECK(made);
  return own;
}

std::string outcome(const std::vector<Frame>& frames) {
  if (frames.empty()) return "closed";
  return frames.back().type == 'Z' ? "in" : readable(frames.back()).substr(2);
}

std::string refused(const std::string& user) {
  return "FATAL 28P01 password authentication failed for user \"" + user + "\"";
}

/// The password of each user is its name with "-pam". It says who asks in `seen`. Who is called slow waits until there
/// is a file `go`, or Bezel has gone.
constexpr const char* kCheckPassword = R"(#!/bin/sh
read -r password
echo "$PAM_SERVICE $PAM_TYPE $PAM_USER $PAM_RHOST" >> FOLDER/seen
while [ "$PAM_USER" = slow ] && [ ! -e FOLDER/go ] && kill -0 $PPID; do sleep 0.02; done
[ "$password" = "$PAM_USER-pam" ]
)";

/// The account of who is called expired may not be used.
constexpr const char* kCheckAccount = R"(#!/bin/sh
[ "$PAM_USER" != expired ]
)";

/// What the thread sanitizer must not complain of: the loader's lock, which it does not see (PAM loads and unloads its
/// modules with each login), and a buffer of libaudit, into which all threads write the same.
constexpr const char* kSuppressions = "race:_dl_close_worker\nrace:libaudit.so\n";

/// A Bezel with PAM services pgbouncer, and other, which lets in everybody.
class Pooler {
 public:
  explicit Pooler(Settings settings, std::map<std::string, std::string> databases = {},
                  const std::string& userlist = "") {
    mkdir(folder_.path_of("pam.d").c_str(), 0755);
    const std::string exec = " required pam_exec.so quiet ";
    folder_.write("pam.d/pgbouncer", "auth" + exec + "expose_authtok " + script("password", kCheckPassword) + "\n" +
                                         "account" + exec + script("account", kCheckAccount) + "\n");
    folder_.write("pam.d/everybody", "auth required pam_permit.so\naccount required pam_permit.so\n");
    folder_.write("pam.d/other", "auth required pam_deny.so\naccount required pam_deny.so\n");
    std::vector<std::string> wrapper = {"/usr/bin/unshare", "--mount"};
    // Who is not root becomes it in a namespace of users.
    if (geteuid() != 0) wrapper.emplace_back("--map-root-user");
    wrapper.insert(wrapper.end(),
                   {"/bin/sh", "-c", "mount --bind \"$0\" /etc/pam.d && exec \"$@\"", folder_.path_of("pam.d")});
    if (databases.empty()) databases["app"] = database_at(server());
    settings.insert({"auth_failure_limit", "0"});
    bezel = std::make_unique<BezelProcess>(
        Configuration{.settings = settings,
                      .databases = databases,
                      .userlist = userlist,
                      .environment = {"TSAN_OPTIONS=suppressions=" + folder_.write("tsan", kSuppressions)},
                      .wrapper = wrapper});
  }
  std::string login(const std::string& user, const std::string& password, const std::string& database = "app") const {
    return outcome(RawClient(own_address(), bezel->port()).log_in(user, password, database));
  }
  /// A client that has sent its password and waits.
  RawClient begin_login(const std::string& user) const {
    RawClient client(own_address(), bezel->port());
    client.send(startup_packet(user, "app"));
    CHECK(client.read_frame());
    client.send(frame_bytes('p', user + "-pam" + std::string(1, '\0')));
    return client;
  }
  std::string seen() const { return read_file(folder_.path_of("seen")); }
  void let_go() const { folder_.write("go", ""); }
  const TemporaryFolder& folder() const { return folder_; }

  std::unique_ptr<BezelProcess> bezel;

 private:
  std::string script(const char* name, std::string text) const {
    for (size_t at = text.find("FOLDER"); at != std::string::npos; at = text.find("FOLDER")) {
      text.replace(at, 6, folder_.path());
    }
    const std::string path = folder_.write(name, text);
    chmod(path.c_str(), 0755);
    return path;
  }

  TemporaryFolder folder_;
};

size_t lines_of(const std::string& text) {
  return static_cast<size_t>(std::count(text.begin(), text.end(), '\n'));
}

}  // namespace

TEST_CASE("pam: users that only PAM knows, and the password opens the server connection too") {
  const Pooler pooler(Settings{{"auth_type", "pam"}, {"admin_users", "[alice]"}});
  CHECK(pooler.bezel->connect_as("alice", "alice-pam").value("SELECT current_user") == "alice");
  // Clients connect from the loopback network's own address.
  CHECK(pooler.seen() == "pgbouncer auth alice 127.0.0.1\n");
  CHECK(pooler.login("alice", "wrong") == refused("alice"));
  CHECK(pooler.login("absent", "wrong") == refused("absent"));
  CHECK(pooler.login("expired", "expired-pam") == refused("expired"));
  CHECK(pooler.login("alice", "") == "FATAL 28P01 empty password returned by client");
  CHECK(pooler.login("alice", "alice-pam", "none") == "FATAL 3D000 no such database: none");
  // auth_file is not asked.
  CHECK(pooler.login("app", "app-secret") == refused("app"));
  CHECK(pooler.login("alice", "alice-pam", "pgbouncer") == "in");
  CHECK(pooler.bezel->log().find("login of user \"expired\" failed: PAM service pgbouncer, the account: ") !=
        std::string::npos);
  CHECK(pooler.bezel->log().find("alice-pam") == std::string::npos);
}

TEST_CASE("pam: a password that the server needs not is not in the pooler's memory after the login" *
          doctest::skip(!kMemoryCanBeSearched)) {
  // Modules that ask for it leave copies of their own behind: this service's does not.
  const Pooler pooler(Settings{{"auth_type", "pam"}, {"auth_pam_service", "everybody"}},
                      {{"app", database_at(server(), "user=alice password=alice-pam")}});
  // Memory that is freed loses its beginning only.
  const std::string end = "-like-no-other-4821";
  CHECK(pooler.login("somebody", "a-password-that-is-longer-than-what-an-allocator-overwrites" + end) == "in");
  wait_until("it is gone", [&] { return occurrences(pooler.bezel->process().pid(), end) == 0; });
}

TEST_CASE("pam: a password in auth_file comes before the one that PAM has judged") {
  const std::string verifier = server().stored_secret("alice");
  for (const std::string& secret : {std::string(), verifier}) {
    INFO(secret);
    const Pooler pooler(Settings{{"auth_type", "pam"}}, {}, "\"bob\" \"another\"\n\"alice\" \"" + secret + "\"\n");
    CHECK(pooler.bezel->connect_as("bob", "bob-pam").value("SELECT current_user") == "bob");
    // What is no password opens no server connection.
    CHECK(pooler.bezel->connect_as("alice", "alice-pam").value("SELECT current_user") == "alice");
  }
}

TEST_CASE("pam: services by setting, by rule, by database") {
  TemporaryFolder folder;
  const std::string rules = folder.write("hba.conf",
                                         "host ruled alice all pam\n"
                                         "host ruled other all pam pamservice=everybody\n"
                                         "host ruled third all pam pamservice=none\n"
                                         "host all admin all md5\n");
  const std::string forced = "dbname=app user=app password=app-secret ";
  const Pooler pooler(Settings{{"auth_type", "scram-sha-256"}, {"auth_hba_file", rules}},
                      {{"app", database_at(server())},
                       {"ruled", database_at(server(), forced + "auth_type=hba")},
                       {"pam", database_at(server(), forced + "auth_type=pam")}});
  CHECK(pooler.login("app", "app-secret") == "in");
  CHECK(pooler.login("alice", "alice-pam") == refused("alice"));
  CHECK(pooler.login("alice", "alice-pam", "pam") == "in");
  CHECK(pooler.login("app", "app-secret", "pam") == refused("app"));
  CHECK(pooler.login("alice", "wrong", "ruled") == refused("alice"));
  CHECK(pooler.login("alice", "alice-pam", "ruled") == "in");
  CHECK(pooler.login("other", "whatever", "ruled") == "in");
  CHECK(pooler.login("third", "third-pam", "ruled") == refused("third"));
  CHECK(pooler.login("admin", "admin-secret", "ruled") == "in");
  PgConnection console = pooler.bezel->console();
  console.run("SET auth_pam_service = 'everybody'");
  CHECK(pooler.login("alice", "whatever", "pam") == "in");
  CHECK_FALSE(console.exec("SET auth_pam_service = '../shadow'").ok());
}

TEST_CASE("pam: modules that take their time hold up neither other logins nor queries") {
  TemporaryFolder folder;
  const std::string rules = folder.write("hba.conf", "host all app,admin all md5\nhost all all all pam\n");
  const Pooler pooler(Settings{{"auth_type", "hba"}, {"auth_hba_file", rules}, {"workers", "1"}});
  PgConnection before = pooler.bezel->connect();
  constexpr size_t kAtOnce = 8;
  std::vector<RawClient> waiting;
  for (size_t i = 0; i < kAtOnce; i++) waiting.push_back(pooler.begin_login("slow"));
  wait_until("all are being checked", [&] { return lines_of(pooler.seen()) == kAtOnce; });
  RawClient queued = pooler.begin_login("alice"), gone = pooler.begin_login("alice");
  CHECK(before.value("SELECT 1") == "1");
  CHECK(pooler.bezel->connect().value("SELECT 2") == "2");
  // Those that leave are forgotten, whether PAM is at work for them or not.
  waiting.pop_back();
  gone.close();
  // The others are `before`, `queued` and the console.
  wait_until("they have gone", [&] {
    return pooler.bezel->show("LISTS", "items", "list", "used_clients") == std::to_string(waiting.size() + 3);
  });
  CHECK(lines_of(pooler.seen()) == kAtOnce);
  CHECK_FALSE(queued.readable_within(std::chrono::milliseconds(0)));
  pooler.let_go();
  for (RawClient& client : waiting) CHECK(outcome(client.read_until('Z')) == "in");
  CHECK(outcome(queued.read_until('Z')) == "in");
  CHECK(lines_of(pooler.seen()) == kAtOnce + 1);
}

TEST_CASE("pam: client_login_timeout ends the waiting, and the process ends though a module does not") {
  const Pooler pooler(Settings{{"auth_type", "pam"}, {"client_login_timeout", "1"}});
  RawClient client = pooler.begin_login("slow");
  const std::vector<Frame> frames = client.read_to_end();
  CHECK(outcome(frames) == "FATAL 28000 client_login_timeout");
  CHECK(pooler.login("alice", "alice-pam") == "in");
  // ~BezelProcess() checks that it ends well.
}

TEST_CASE("pam: wrong passwords count as failed logins") {
  const Pooler pooler(Settings{{"auth_type", "pam"}, {"auth_failure_limit", "2"}});
  CHECK(pooler.login("alice", "wrong") == refused("alice"));
  CHECK(pooler.login("absent", "wrong") == refused("absent"));
  CHECK(pooler.login("alice", "alice-pam") == "FATAL 28000 too many failed logins from this address");
}

TEST_CASE("pam, ldap: their libraries are loaded by those that need them only") {
  const auto maps = [](BezelProcess& bezel) {
    return read_file("/proc/" + std::to_string(bezel.process().pid()) + "/maps");
  };
  BezelProcess without;
  CHECK(without.connect().value("SELECT 1") == "1");
  CHECK(maps(without).find("libpam") == std::string::npos);
  CHECK(maps(without).find("libldap") == std::string::npos);
  const Pooler with(Settings{{"auth_type", "pam"}});
  CHECK(maps(*with.bezel).find("libpam") != std::string::npos);
}
