// Logins by LDAP, against a real OpenLDAP server.

#include <doctest/doctest.h>
#include <unistd.h>

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "integration/bezel_process.h"
#include "integration/loopback.h"
#include "integration/postgres_server.h"
#include "integration/raw_client.h"
#include "integration/slapd_server.h"
#include "integration/waiting.h"

using namespace bezel::integration;

namespace {

SlapdServer& slapd() {
  static SlapdServer server;
  return server;
}

/// The server of this file, with roles whose passwords are those of the directory.
PostgresServer& server() {
  static PostgresServer own;
  static const bool made = [] {
    for (const std::string user : {"alice", "bob", "carol"}) own.create_user(user, user + "-ldap", "scram-sha-256");
    return true;
  }();
  CHECK(made);
  return own;
}

std::string outcome(RawClient client, const std::string& user, const std::string& password,
                    const std::string& database = "app") {
  const std::vector<Frame> frames = client.log_in(user, password, database);
  if (frames.empty()) return "closed";
  return frames.back().type == 'Z' ? "in" : readable(frames.back()).substr(2);
}

std::string refused(const std::string& user) {
  return "FATAL 28P01 password authentication failed for user \"" + user + "\"";
}

constexpr const char* kUnknown = "FATAL 57P03 the password could not be checked";

std::string at_port(uint16_t port, const std::string& address = own_address()) {
  return "ldapserver=\"" + address + "\" ldapport=" + std::to_string(port) + " ";
}

/// How the server is reached without TLS.
std::string plainly() {
  return at_port(slapd().port());
}

const std::string kPeople = "ldapbasedn=\"ou=people,dc=example,dc=net\" ";

/// A Bezel with a rule of method ldap for every client but admin.
struct Pooler {
  explicit Pooler(const std::string& options, std::vector<std::string> environment = {},
                  std::map<std::string, std::string> settings = {}) {
    const std::string rules = folder.write("hba.conf",
                                           "host pgbouncer admin all md5\nhost all app all md5\n"
                                           "host all all all ldap " +
                                               options + "\n");
    settings.insert({{"auth_type", "hba"}, {"auth_hba_file", rules}, {"auth_failure_limit", "0"}});
    if (environment.empty()) environment = {"LDAPTLS_CACERT=" + slapd().authority()};
    bezel = std::make_unique<BezelProcess>(
        Configuration{.settings = settings, .databases = {{"app", database_at(server())}}, .environment = environment});
  }
  std::string login(const std::string& user, const std::string& password) const {
    return outcome(RawClient(own_address(), bezel->port()), user, password);
  }

  TemporaryFolder folder;
  std::unique_ptr<BezelProcess> bezel;
};

}  // namespace

TEST_CASE("ldap: simple bind, and the password opens the server connection too") {
  const Pooler pooler(plainly() + "ldapprefix=uid= ldapsuffix=\",ou=people,dc=example,dc=net\"");
  PgConnection alice = pooler.bezel->connect_as("alice", "alice-ldap");
  CHECK(alice.value("SELECT current_user") == "alice");
  CHECK(pooler.login("alice", "wrong") == refused("alice"));
  CHECK(pooler.login("bob", "bob-ldap") == refused("bob"));
  CHECK(pooler.login("absent", "x") == refused("absent"));
  CHECK(pooler.login("alice", "") == "FATAL 28P01 empty password returned by client");
  // It would be the entry uid=bob,ou=far,ou=people.
  CHECK(pooler.login("bob,ou=far", "bob-ldap") == refused("bob,ou=far"));
  CHECK(pooler.login("app", "app-secret") == "in");
}

TEST_CASE("ldap: search and bind") {
  SUBCASE("anonymously, by uid") {
    const Pooler pooler(plainly() + kPeople);
    CHECK(pooler.login("alice", "alice-ldap") == "in");
    CHECK(pooler.login("bob", "bob-ldap") == "in");
    CHECK(pooler.login("alice", "bob-ldap") == refused("alice"));
    CHECK(pooler.login("twin", "twin-ldap") == refused("twin"));
    for (const char* user : {"*", "a*", "alice)(uid=*", "(alice", "al\\69ce", "a/b"}) {
      INFO(std::string(user));
      CHECK(pooler.login(user, "alice-ldap") == refused(user));
    }
    CHECK(pooler.login(std::string(300, 'u'), "x") == refused(std::string(300, 'u')));
  }
  SUBCASE("as a user of its own, whose password has every kind of character") {
    const std::string base = plainly() + "ldapbasedn=\"dc=example,dc=net\" ";
    const Pooler anonymous(base);
    CHECK(anonymous.login("carol", "carol-ldap") == refused("carol"));
    const std::string reader = "ldapbinddn=\"cn=reader,dc=example,dc=net\" ldapbindpasswd=\"read, \"\"or\"\" #not\"";
    const Pooler pooler(base + reader);
    CHECK(pooler.login("carol", "carol-ldap") == "in");
    CHECK(pooler.bezel->log().find("#not") == std::string::npos);
    const Pooler wrong(base + "ldapbinddn=\"cn=reader,dc=example,dc=net\" ldapbindpasswd=mistaken");
    CHECK(wrong.login("carol", "carol-ldap") == kUnknown);
    CHECK(wrong.bezel->log().find("as \"cn=reader,dc=example,dc=net\" failed: Invalid credentials") !=
          std::string::npos);
    CHECK(wrong.bezel->log().find("mistaken") == std::string::npos);
  }
  SUBCASE("by another attribute, and by a filter") {
    const Pooler mail(plainly() + kPeople + "ldapsearchattribute=mail");
    CHECK(mail.login("alice", "alice-ldap") == refused("alice"));
    const Pooler filter(plainly() + kPeople + "ldapsearchfilter=\"(&(sn=x)(|(uid=$username)(mail=$username)))\"");
    CHECK(filter.login("alice", "alice-ldap") == "in");
    CHECK(filter.login("absent", "alice-ldap") == refused("absent"));
  }
  SUBCASE("by a URL, one level deep") {
    const std::string host = own_address() + ":" + std::to_string(slapd().port());
    const Pooler pooler("\"ldapurl=ldap://" + host + "/ou=people,dc=example,dc=net?uid?one\"");
    CHECK(pooler.login("alice", "alice-ldap") == "in");
    CHECK(pooler.login("bob", "bob-ldap") == refused("bob"));
    const Pooler no_base("\"ldapurl=ldap://" + host + "/ou=nowhere,dc=example,dc=net?uid?sub\"");
    CHECK(no_base.login("alice", "alice-ldap") == kUnknown);
  }
}

TEST_CASE("ldap: with TLS") {
  const std::string start_tls = plainly() + "ldaptls=1 " + kPeople;
  const std::string ldaps = at_port(slapd().tls_port()) + "ldapscheme=ldaps " + kPeople;
  for (const std::string& options : {start_tls, ldaps}) {
    INFO(options);
    const Pooler pooler(options);
    CHECK(pooler.login("alice", "alice-ldap") == "in");
    CHECK(pooler.login("alice", "wrong") == refused("alice"));
    // Of an authority that is not trusted: who has taken the server's place does not get the password.
    const CertificateAuthority other;
    const Pooler distrusting(options, {"LDAPTLS_CACERT=" + other.certificate()});
    CHECK(distrusting.login("alice", "alice-ldap") == kUnknown);
  }
}

TEST_CASE("ldap: the next server is asked when one cannot be reached") {
  const Pooler pooler(at_port(slapd().port(), other_own_address() + " " + own_address()) + kPeople);
  CHECK(pooler.login("alice", "alice-ldap") == "in");
  // One that takes the connection and says nothing, as a frozen one does, is passed over too where TLS begins at once.
  const int silent = listen_at(slapd().tls_port(), 128, other_own_address());
  const Pooler encrypted(at_port(slapd().tls_port(), other_own_address() + " " + own_address()) + "ldapscheme=ldaps " +
                         kPeople);
  CHECK(encrypted.login("alice", "alice-ldap") == "in");
  close(silent);
  const Pooler nobody(at_port(slapd().port(), other_own_address()) + kPeople);
  CHECK(nobody.login("alice", "alice-ldap") == kUnknown);
  CHECK(nobody.bezel->log().find("the password of user \"alice\" cannot be checked: LDAP") != std::string::npos);
}

TEST_CASE("ldap: by auth_type, with a password that SHOW CONFIG does not show") {
  const std::string yaml = "'" + plainly() +
                           "ldapbasedn=\"dc=example,dc=net\" ldapbinddn=\"cn=reader,dc=example,dc=net\" "
                           "ldapbindpasswd=\"read, \"\"or\"\" #not\"'";
  const BezelProcess bezel(
      {.settings = {{"auth_type", "ldap"}, {"auth_ldap_options", yaml}, {"admin_users", "[carol]"}},
       .databases = {{"app", database_at(server())},
                     {"known", database_at(server(), "dbname=app auth_type=scram-sha-256")}}});
  PgConnection console = bezel.connect_as("carol", "carol-ldap", "pgbouncer");
  const PgResult config = console.exec("SHOW CONFIG");
  REQUIRE(config.ok());
  std::string shown;
  for (int row = 0; row < config.rows(); row++) {
    for (int column = 0; column < 3; column++) CHECK(config.value(row, column).find("#not") == std::string::npos);
    if (config.value(row, "key") == "auth_ldap_options") shown = config.value(row, "value");
  }
  CHECK(shown.find("ldapbindpasswd=********") != std::string::npos);
  CHECK(shown.find("ldapbasedn=\"dc=example,dc=net\"") != std::string::npos);
  CHECK(bezel.connect_as("alice", "alice-ldap").value("SELECT current_user") == "alice");
  console.run("RELOAD");
  CHECK(bezel.connect_as("alice", "alice-ldap").value("SELECT current_user") == "alice");
  // A database of its own method.
  CHECK(outcome(RawClient(own_address(), bezel.port()), "alice", "alice-ldap", "known") == refused("alice"));
  CHECK(bezel.connect_as("app", "app-secret", "known").value("SELECT current_user") == "app");
  CHECK(outcome(RawClient(own_address(), bezel.port()), "app", "app-secret") == refused("app"));
  CHECK(bezel.log().find("#not") == std::string::npos);
}

TEST_CASE("ldap: a server that says nothing holds up nobody else, and is given up") {
  // It is connected to by the kernel, and never accepted.
  const uint16_t port = next_port();
  const int silent = listen_at(port);
  const std::string rules_of_all = at_port(port) + kPeople;
  TemporaryFolder folder;
  const std::string rules = folder.write("hba.conf",
                                         "host pgbouncer admin all md5\nhost all app all md5\n"
                                         "host all plain all ldap " +
                                             rules_of_all +
                                             "\n"
                                             "host all ldaps all ldap ldapscheme=ldaps " +
                                             rules_of_all +
                                             "\n"
                                             "host all start all ldap ldaptls=1 " +
                                             rules_of_all + "\n");
  BezelProcess bezel({.settings = {{"auth_type", "hba"}, {"auth_hba_file", rules}, {"workers", "1"}}});
  std::map<std::string, RawClient> waiting;
  for (const char* user : {"plain", "ldaps", "start"}) {
    RawClient& client = waiting.emplace(user, RawClient(own_address(), bezel.port())).first->second;
    client.send(startup_packet(user, "app"));
    REQUIRE(client.read_frame());
    client.send(frame_bytes('p', std::string("password\0", 9)));
  }
  // One worker serves them all.
  PgConnection app = bezel.connect();
  CHECK(app.value("SELECT 1") == "1");
  CHECK(bezel.connect().value("SELECT 2") == "2");
  for (auto& one : waiting) {
    INFO(one.first);
    const std::vector<Frame> frames = one.second.read_to_end();
    REQUIRE_FALSE(frames.empty());
    CHECK(readable(frames.back()).substr(2) == kUnknown);
  }
  close(silent);
}
