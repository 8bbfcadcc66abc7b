// Logins: of clients to Bezel and of Bezel to servers, by every method.

#include <doctest/doctest.h>

#include <cstdio>
#include <set>
#include <string>
#include <vector>

#include "integration/bezel_process.h"
#include "integration/loopback.h"
#include "integration/messages.h"
#include "integration/mounted_folder.h"
#include "integration/postgres_server.h"
#include "integration/raw_client.h"
#include "integration/waiting.h"
#include "protocol/messages.h"

using namespace bezel::integration;

namespace {

/// The server of this file: its pg_hba.conf is changed by the tests.
PostgresServer& server() {
  static PostgresServer own;
  return own;
}

void make_users() {
  static const bool made = [] {
    server().create_user("hashed", "hashed-secret", "md5");
    server().create_user("salted", "salted-secret", "scram-sha-256");
    return true;
  }();
  CHECK(made);
}

bool logs_in(const BezelProcess& bezel, const std::string& user, const std::string& password) {
  const PgConnection client(bezel.conninfo("", user, password));
  return client.connected();
}

std::string line(const std::string& user, const std::string& secret) {
  return "\"" + user + "\" \"" + secret + "\"\n";
}

/// What a client sees of a refused login, with everything random in it replaced.
std::string refusal(const BezelProcess& bezel, const std::string& user, const std::string& password) {
  RawClient client(own_address(), bezel.port());
  client.send(startup_packet(user, "app"));
  // The requests for authentication too, not only what follows them.
  std::string seen;
  const auto request = client.read_frame();
  REQUIRE(request);
  seen += request->type;
  seen += request->body.substr(0, 4);
  const bool md5 = request->body.size() == 8;
  seen += md5 ? "(salt)" : request->body.substr(4);
  RawClient again(own_address(), bezel.port());
  for (const Frame& frame : again.log_in(user, password, "app")) seen += "\n" + readable(frame);
  std::string text = seen;
  for (size_t at = text.find(user); at != std::string::npos; at = text.find(user))
    text.replace(at, user.size(), "(user)");
  return text;
}

/// The server's first SCRAM message for a user: salt and iterations, without the nonce.
std::string scram_challenge(const BezelProcess& bezel, const std::string& user) {
  RawClient client(own_address(), bezel.port());
  client.send(startup_packet(user, "app"));
  REQUIRE(client.read_frame());
  std::string answer;
  bezel::protocol::append_sasl_initial_response(answer, "SCRAM-SHA-256", "n,,n=,r=nonce");
  client.send(answer);
  const auto challenge = client.read_frame();
  REQUIRE(challenge);
  return challenge->body.substr(challenge->body.find(",s="));
}

}  // namespace

TEST_CASE("clients of every auth_type, with every kind of secret") {
  make_users();
  server().set_hba("host all all 127.0.0.0/8 trust");
  const std::string md5 = server().stored_secret("hashed");
  const std::string scram = server().stored_secret("salted");
  struct Way {
    const char* auth_type;
    const char* user;
    const char* secret;
    bool works;
  };
  for (const Way& way :
       {Way{"plain", "app", "app-secret", true}, Way{"plain", "hashed", md5.c_str(), true},
        Way{"plain", "salted", scram.c_str(), true}, Way{"md5", "app", "app-secret", true},
        Way{"md5", "hashed", md5.c_str(), true}, Way{"md5", "salted", scram.c_str(), true},
        Way{"scram-sha-256", "app", "app-secret", true}, Way{"scram-sha-256", "hashed", md5.c_str(), false},
        Way{"scram-sha-256", "salted", scram.c_str(), true}}) {
    INFO(std::string(way.auth_type));
    INFO(std::string(way.user));
    BezelProcess bezel({.settings = {{"auth_type", way.auth_type}},
                        .databases = {{"app", database_at(server())}},
                        .userlist = line(way.user, way.secret)});
    CHECK(logs_in(bezel, way.user, std::string(way.user) + "-secret") == way.works);
    CHECK_FALSE(logs_in(bezel, way.user, "wrong"));
    CHECK_FALSE(logs_in(bezel, way.user, way.secret + std::string("x")));
    CHECK_FALSE(logs_in(bezel, "nobody", "x"));
  }
}

TEST_CASE("trust and any") {
  server().set_hba("host all all 127.0.0.0/8 trust");
  BezelProcess trusting({.settings = {{"auth_type", "trust"}}, .databases = {{"app", database_at(server())}}});
  CHECK(logs_in(trusting, "app", "whatever"));
  CHECK_FALSE(logs_in(trusting, "nobody", ""));
  BezelProcess anybody({.settings = {{"auth_type", "any"}}, .databases = {{"app", database_at(server(), "user=app")}}});
  PgConnection client(anybody.conninfo("", "somebody", "none"));
  REQUIRE(client.connected());
  CHECK(client.value("SELECT current_user") == "app");
}

TEST_CASE("servers of every method") {
  make_users();
  const std::string scram = server().stored_secret("salted");
  const std::string md5 = server().stored_secret("hashed");
  struct Way {
    const char* method;
    const char* user;
    std::string secret;
    bool works;
  };
  for (const Way& way : {Way{"trust", "app", "app-secret", true}, Way{"password", "app", "app-secret", true},
                         Way{"password", "hashed", md5, false}, Way{"md5", "hashed", "hashed-secret", true},
                         Way{"md5", "hashed", md5, true}, Way{"scram-sha-256", "app", "app-secret", true},
                         Way{"scram-sha-256", "salted", scram, true}, Way{"password", "salted", scram, false}}) {
    INFO(std::string(way.method));
    INFO(std::string(way.user));
    server().set_hba(std::string("host all all 127.0.0.0/8 ") + way.method);
    BezelProcess bezel(
        {.settings = {{"auth_type", "md5"}, {"query_wait_timeout", "2s"}, {"server_login_retry", "100ms"}},
         .databases = {{"app", database_at(server())}},
         .userlist = line(way.user, way.secret)});
    PgConnection client(bezel.conninfo("", way.user, std::string(way.user) + "-secret"));
    CHECK(client.exec("SELECT 1").ok() == way.works);
    CHECK(bezel.log().find(way.secret) == std::string::npos);
  }
  server().set_hba("");
}

TEST_CASE("SCRAM keys pass through: no password is stored anywhere") {
  make_users();
  server().set_hba("");
  const std::string secret = server().stored_secret("salted");
  BezelProcess bezel({.databases = {{"app", database_at(server())}}, .userlist = line("salted", secret)});
  PgConnection client = bezel.connect_as("salted", "salted-secret");
  CHECK(client.value("SELECT current_user") == "salted");
  CHECK(bezel.log().find("salted-secret") == std::string::npos);

  // A verifier of the same password with another salt is of no use at the server.
  server().observer().run("ALTER ROLE salted PASSWORD 'salted-secret'");
  REQUIRE(server().stored_secret("salted") != secret);
  server().observer().run("SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE usename = 'salted'");
  BezelProcess stale({.settings = {{"query_wait_timeout", "1s"}},
                      .databases = {{"app", database_at(server())}},
                      .userlist = line("salted", secret)});
  PgConnection refused(stale.conninfo("", "salted", "salted-secret"));
  CHECK_FALSE(refused.exec("SELECT 1").ok());
}

TEST_CASE("a forced user and password") {
  server().set_hba("");
  BezelProcess bezel({.databases = {{"app", database_at(server(), "user=app password=app-secret")}},
                      .userlist = line("guest", "guest-secret") + line("other", "other-secret")});
  PgConnection guest = bezel.connect_as("guest", "guest-secret"), other = bezel.connect_as("other", "other-secret");
  CHECK(guest.value("SELECT current_user") == "app");
  CHECK(guest.value("SELECT pg_backend_pid()") == other.value("SELECT pg_backend_pid()"));
}

TEST_CASE("unknown users cannot be told from wrong passwords (Odyssey's \"incorrect user\")") {
  make_users();
  const std::string scram = server().stored_secret("salted");
  const std::string md5 = server().stored_secret("hashed");
  for (const char* auth_type : {"plain", "md5", "scram-sha-256"}) {
    const std::string secret = auth_type == std::string("md5") ? md5 : scram;
    const std::string user = auth_type == std::string("md5") ? "hashed" : "salted";
    BezelProcess bezel({.settings = {{"auth_type", auth_type}},
                        .databases = {{"app", database_at(server())}},
                        .userlist = line(user, secret)});
    INFO(std::string(auth_type));
    const std::string wrong_password = refusal(bezel, user, "wrong");
    CHECK(refusal(bezel, "absent", "wrong") == wrong_password);
    CHECK(wrong_password.find("28P01") != std::string::npos);
    if (auth_type == std::string("scram-sha-256")) {
      // A user's salt is always the same, whether there is such a user or not, and of the same form.
      for (const char* name : {"salted", "absent"}) CHECK(scram_challenge(bezel, name) == scram_challenge(bezel, name));
      CHECK(scram_challenge(bezel, "absent").size() == scram_challenge(bezel, "salted").size());
      CHECK(scram_challenge(bezel, "absent") != scram_challenge(bezel, "absent2"));
    }
  }
}

TEST_CASE("the database of an unknown name is told only to who has logged in") {
  server().set_hba("");
  BezelProcess bezel(
      {.databases = {{"app", database_at(server())}, {"gone", database_at(server(), "dbname=not_there")}}});
  CHECK(PgConnection(bezel.conninfo("", "app", "wrong", "nonesuch")).error().find("password authentication failed") !=
        std::string::npos);
  CHECK(PgConnection(bezel.conninfo("", "app", "app-secret", "nonesuch")).error().find("no such database") !=
        std::string::npos);
  // What the server says of its own databases reaches the client.
  PgConnection gone(bezel.conninfo("", "app", "app-secret", "gone"));
  CHECK(gone.error().find("database \"not_there\" does not exist") != std::string::npos);
}

TEST_CASE("\"*\" stands for every database") {
  server().set_hba("");
  server().observer().run("CREATE DATABASE second");
  BezelProcess bezel({.databases = {{"*", database_at(server())}}});
  CHECK(bezel.connect_as("app", "app-secret", "second").value("SELECT current_database()") == "second");
  CHECK(bezel.connect_as("app", "app-secret", "app").value("SELECT current_database()") == "app");
}

TEST_CASE("a login in single bytes (pgbouncer#1058, pgbouncer#1446)") {
  server().set_hba("");
  BezelProcess bezel({.databases = {{"app", database_at(server())}}});
  RawClient client(own_address(), bezel.port());
  client.send_bytewise(startup_packet("app", "app"));
  const auto frames = client.authenticate("app-secret", "app");
  REQUIRE_FALSE(frames.empty());
  CHECK(frames.back().type == 'Z');
  client.send_bytewise(Messages().query("SELECT 1").parse("n", "SELECT 2").bind("", "n").execute().sync().bytes());
  CHECK(client.read_until('Z').size() == 4);
  CHECK(client.read_until('Z').size() == 5);
}

TEST_CASE("protocol versions") {
  server().set_hba("");
  BezelProcess bezel({.databases = {{"app", database_at(server())}}});
  struct Asked {
    uint16_t minor;
    Parameters further;
    int negotiations;
    size_t key_bytes;
  };
  for (const Asked& asked : {Asked{0, {}, 0, 8}, Asked{2, {}, 0, 36}, Asked{1, {}, 0, 8}, Asked{3, {}, 1, 36},
                             Asked{9999, {{"_pq_.test_protocol_negotiation", ""}}, 1, 36},
                             Asked{0, {{"_pq_.command_compression", "on"}}, 1, 8}}) {
    CAPTURE(asked.minor);
    RawClient client(own_address(), bezel.port());
    int negotiations = 0;
    client.send(startup_packet("app", "app", asked.minor, asked.further));
    std::vector<Frame> frames = client.authenticate("app-secret", "app");
    REQUIRE_FALSE(frames.empty());
    CHECK(frames.back().type == 'Z');
    for (const Frame& frame : frames) negotiations += frame.type == 'v' ? 1 : 0;
    CHECK(negotiations == asked.negotiations);
    CHECK(client.cancel_key().size() == asked.key_bytes);
    client.send(Messages().query("SELECT 1").bytes());
    CHECK(client.read_until('Z').size() == 4);
  }
}

TEST_CASE("a userlist counts as soon as it has changed, also by a link that is swapped") {
  MountedFolder mounted(MountedFolder::Files{{"userlist.txt", "\"app\" \"app-secret\"\n"}});
  BezelProcess bezel({.settings = {{"auth_file", mounted.path_of("userlist.txt")}}});
  CHECK(bezel.connect().value("SELECT 1") == "1");
  mounted.provide({{"userlist.txt", "\"app\" \"changed\"\n"}});
  wait_until("the new password is taken",
             [&] { return PgConnection(bezel.conninfo("", "app", "changed")).connected(); });
  CHECK_FALSE(PgConnection(bezel.conninfo()).connected());
}

TEST_CASE("a changed userlist is read by a reload") {
  server().set_hba("");
  BezelProcess bezel({.databases = {{"app", database_at(server(), "user=app password=app-secret")}}});
  CHECK_FALSE(logs_in(bezel, "newcomer", "new-secret"));
  bezel.write_userlist(line("newcomer", "new-secret") + line("admin", "admin-secret"));
  bezel.console().run("RELOAD");
  CHECK(logs_in(bezel, "newcomer", "new-secret"));
  CHECK_FALSE(logs_in(bezel, "app", "app-secret"));
}
