// Users that auth_file does not have: their secrets are asked for by auth_query.

#include <doctest/doctest.h>

#include <atomic>
#include <cstring>
#include <string>
#include <thread>
#include <vector>

#include "integration/bezel_process.h"
#include "integration/fake_server.h"
#include "integration/loopback.h"
#include "integration/messages.h"
#include "integration/postgres_server.h"
#include "integration/raw_client.h"
#include "integration/waiting.h"

using namespace bezel::integration;

namespace {

/// auth_file has only who asks, and the console's users.
constexpr const char* kUserlist =
    "\"asker\" \"asker-secret\"\n"
    "\"admin\" \"admin-secret\"\n"
    "\"stats\" \"stats-secret\"\n";

/// A function as the Zalando operator makes it: one row of NULLs for nobody; and one that counts its calls.
constexpr const char* kFunctions =
    "CREATE ROLE asker LOGIN PASSWORD 'asker-secret';"
    "GRANT SELECT ON pg_authid TO asker;"
    "CREATE SCHEMA pooler;"
    "GRANT USAGE ON SCHEMA pooler TO asker;"
    "CREATE SEQUENCE pooler.calls;"
    "CREATE FUNCTION pooler.user_lookup(in i_username text, out uname text, out phash text) RETURNS record AS $$"
    "BEGIN "
    "  SELECT usename, passwd FROM pg_catalog.pg_shadow WHERE usename = i_username INTO uname, phash;"
    "  RETURN;"
    "END $$ LANGUAGE plpgsql SECURITY DEFINER;"
    "CREATE FUNCTION pooler.counted(i_username text, out uname text, out phash text) RETURNS SETOF record AS $$"
    "BEGIN "
    "  PERFORM nextval('pooler.calls'); PERFORM pg_sleep(0.2);"
    "  RETURN QUERY SELECT rolname::text, rolpassword FROM pg_catalog.pg_authid WHERE rolname = i_username;"
    "END $$ LANGUAGE plpgsql SECURITY DEFINER;";

void prepare(PostgresServer& server) {
  PgConnection superuser = server.superuser();
  superuser.run(kFunctions);
  server.create_user("salted", "salted-secret", "scram-sha-256");
  server.create_user("hashed", "hashed-secret", "md5");
  server.create_user("expired", "expired-secret", "scram-sha-256");
  server.create_user("lasting", "lasting-secret", "scram-sha-256");
  server.create_user("group", "group-secret", "scram-sha-256");
  superuser.run(
      "ALTER ROLE expired VALID UNTIL '2001-01-01';"
      "ALTER ROLE lasting VALID UNTIL 'infinity';"
      "ALTER ROLE \"group\" NOLOGIN;"
      "CREATE ROLE bare LOGIN;");
}

/// The server that these tests share.
PostgresServer& server() {
  static PostgresServer own;
  static const bool prepared = (prepare(own), true);
  CHECK(prepared);
  return own;
}

/// SCRAM verifiers log in by SCRAM and md5 hashes by md5.
constexpr const char* kBothHba =
    "host all hashed 127.0.0.0/8 md5\n"
    "host all all 127.0.0.0/8 scram-sha-256";

Configuration asking(std::map<std::string, std::string> settings = {}) {
  settings.insert({"auth_user", "asker"});
  settings.insert({"auth_type", "md5"});
  return {.settings = std::move(settings), .databases = {{"app", database_at(server())}}, .userlist = kUserlist};
}

bool logs_in(const BezelProcess& bezel, const std::string& user, const std::string& password,
             const std::string& database = "app") {
  PgConnection client(bezel.conninfo("", user, password, database));
  return client.connected() && client.value("SELECT current_user") == user;
}

std::string error_of(const BezelProcess& bezel, const std::string& user, const std::string& password,
                     const std::string& database = "app") {
  PgConnection client(bezel.conninfo("", user, password, database));
  return client.connected() ? "" : client.error();
}

bool has(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

/// All that a client is sent when it is refused, with its name and what is random replaced.
std::string refusal(const BezelProcess& bezel, const std::string& user, const std::string& password) {
  RawClient client(own_address(), bezel.port());
  client.send(startup_packet(user, "app"));
  const auto request = client.read_frame();
  REQUIRE(request);
  std::string text(1, request->type);
  text += request->body.size() == 8 ? request->body.substr(0, 4) : request->body;  // without md5's salt
  RawClient again(own_address(), bezel.port());
  for (const Frame& frame : again.log_in(user, password, "app")) text += "\n" + std::string(1, frame.type) + frame.body;
  for (size_t at = text.find(user); at != std::string::npos; at = text.find(user)) text.replace(at, user.size(), "*");
  return text;
}

int calls() {
  const std::string last =
      server().superuser().value("SELECT CASE WHEN is_called THEN last_value ELSE 0 END FROM pooler.calls");
  return std::stoi(last);
}

constexpr const char* kOperators = "\"SELECT * FROM pooler.user_lookup($1)\"";
constexpr const char* kCounted = "\"SELECT * FROM pooler.counted($1)\"";

}  // namespace

TEST_CASE("auth_query: users of every kind of secret, by every auth_type") {
  server().set_hba(kBothHba);
  for (const char* auth_type : {"md5", "scram-sha-256", "plain"}) {
    INFO(std::string(auth_type));
    const bool md5_works = auth_type != std::string("scram-sha-256");
    BezelProcess bezel(asking({{"auth_type", auth_type}, {"query_wait_timeout", "3s"}}));
    // A password in clear text is no key to SCRAM at the server.
    if (auth_type != std::string("plain")) CHECK(logs_in(bezel, "salted", "salted-secret"));
    CHECK(logs_in(bezel, "hashed", "hashed-secret") == md5_works);
    for (const char* user : {"salted", "hashed", "expired", "group", "bare", "nobody"})
      CHECK(has(error_of(bezel, user, "wrong"), "password authentication failed for user"));
    CHECK(has(error_of(bezel, "expired", "expired-secret"), "password authentication failed"));
    CHECK(has(error_of(bezel, "group", "group-secret"), "password authentication failed"));
    if (auth_type != std::string("plain")) CHECK(logs_in(bezel, "lasting", "lasting-secret"));
    CHECK_FALSE(has(bezel.log(), server().stored_secret("salted")));
    CHECK_FALSE(has(bezel.log(), server().stored_secret("hashed")));
  }
  server().set_hba("");
}

TEST_CASE("auth_query: trust lets in who is known") {
  server().set_hba("host all asker,bare,salted 127.0.0.0/8 trust");
  BezelProcess bezel(asking({{"auth_type", "trust"}}));
  CHECK(logs_in(bezel, "salted", "whatever"));
  CHECK(logs_in(bezel, "bare", "whatever"));
  CHECK(has(error_of(bezel, "nobody", "whatever"), "password authentication failed"));
  server().set_hba("");
}

TEST_CASE("auth_query: a plain password that a query finds") {
  BezelProcess bezel(asking({{"auth_query", "\"SELECT $1::text, 'app-secret'::text WHERE $1 = 'app'\""}}));
  CHECK(logs_in(bezel, "app", "app-secret"));
  CHECK_FALSE(logs_in(bezel, "salted", "app-secret"));
}

TEST_CASE("auth_query: refusals are the same, byte for byte, and nobody is auth_user (CVE-2015-6817)") {
  for (const char* auth_type : {"md5", "scram-sha-256", "plain"}) {
    INFO(std::string(auth_type));
    BezelProcess bezel(asking({{"auth_type", auth_type}, {"auth_failure_limit", "0"}}));
    const std::string wrong_password = refusal(bezel, "salted", "wrong");
    CHECK(has(wrong_password, "28P01"));
    for (const char* user : {"nobody", "group", "bare", "expired"}) {
      INFO(std::string(user));
      for (const char* password : {"expired-secret", "asker-secret", "asker", ""}) {
        INFO(std::string(password));
        CHECK(refusal(bezel, user, password) == refusal(bezel, "salted", password));
      }
    }
  }
}

TEST_CASE("auth_query: the operator's function with its row of NULLs") {
  BezelProcess bezel(asking({{"auth_query", kOperators}}));
  CHECK(logs_in(bezel, "salted", "salted-secret"));
  CHECK(refusal(bezel, "nobody", "x") == refusal(bezel, "salted", "x"));
}

TEST_CASE("auth_query: an expired role is refused although the operator's function finds it (CVE-2025-2291)") {
  PgConnection superuser = server().superuser();
  CHECK(superuser.value("SELECT phash IS NOT NULL FROM pooler.user_lookup('expired')") == "t");
  superuser.run("REVOKE SELECT ON pg_authid FROM asker");  // as the operator's user
  server().create_user("early", "early-secret", "md5");
  superuser.run("ALTER ROLE early VALID UNTIL '-infinity'");
  server().create_user("ending", "ending-secret", "scram-sha-256");
  superuser.run("ALTER ROLE ending VALID UNTIL '9999-12-31'");
  // Only Bezel is in their way.
  server().set_hba("host all expired,early 127.0.0.0/8 trust\n" + std::string(kBothHba));
  for (const char* auth_type : {"md5", "scram-sha-256", "plain"}) {
    INFO(std::string(auth_type));
    BezelProcess bezel(asking({{"auth_query", kOperators}, {"auth_type", auth_type}, {"auth_failure_limit", "0"}}));
    for (const char* user : {"expired", "group", "nobody"}) {
      INFO(std::string(user));
      const std::string password = std::string(user) + "-secret";
      CHECK(refusal(bezel, user, password) == refusal(bezel, "salted", "wrong"));
      CHECK_FALSE(logs_in(bezel, user, password));
    }
    CHECK(has(error_of(bezel, "early", "early-secret"), "password authentication failed"));
    // A password in clear text is no key to SCRAM at the server.
    if (auth_type != std::string("plain")) {
      for (const char* user : {"ending", "lasting", "salted"})
        CHECK(logs_in(bezel, user, user + std::string("-secret")));
    }
    CHECK_FALSE(has(bezel.log(), "pg_roles cannot be read"));
  }
  superuser.run("GRANT SELECT ON pg_authid TO asker");
  server().set_hba("");
}

TEST_CASE("auth_query: a password that expires while the answer is kept") {
  server().set_hba("host all fading 127.0.0.0/8 trust\nhost all all 127.0.0.0/8 scram-sha-256");
  server().create_user("fading", "fading-secret", "scram-sha-256");
  PgConnection superuser = server().superuser();
  BezelProcess bezel(asking({{"auth_query", kOperators}, {"auth_query_cache_ttl", "1h"}}));
  superuser.run("DO $$ BEGIN EXECUTE format('ALTER ROLE fading VALID UNTIL %L', now() + interval '3 s'); END $$");
  CHECK(logs_in(bezel, "fading", "fading-secret"));
  wait_until("the password has expired", [&] { return !logs_in(bezel, "fading", "fading-secret"); });
  CHECK(superuser.value("SELECT valuntil < now() FROM pg_shadow WHERE usename = 'fading'") == "t");
  // It is not kept for long that somebody has expired.
  superuser.run("ALTER ROLE fading VALID UNTIL 'infinity'");
  wait_until("it is valid again", [&] { return logs_in(bezel, "fading", "fading-secret"); });
  server().set_hba("");
}

TEST_CASE("auth_query: a role that may not log in is refused whatever the query finds") {
  BezelProcess bezel(asking({{"auth_query", kCounted}}));
  CHECK(server().superuser().value("SELECT phash IS NOT NULL FROM pooler.counted('group')") == "t");
  CHECK(refusal(bezel, "group", "group-secret") == refusal(bezel, "salted", "wrong"));
  CHECK(has(bezel.log(), "for user \"group\": the role may not log in"));
  CHECK(logs_in(bezel, "salted", "salted-secret"));
}

TEST_CASE("auth_query: where pg_roles may not be read, the query alone says who may log in") {
  PgConnection superuser = server().superuser();
  superuser.run("REVOKE SELECT ON pg_roles FROM PUBLIC");
  {
    BezelProcess bezel(asking({{"auth_query", kOperators}}));
    CHECK(logs_in(bezel, "salted", "salted-secret"));
    CHECK(has(bezel.log(), "pg_roles cannot be read: permission denied for view pg_roles"));
  }
  superuser.run("GRANT SELECT ON pg_roles TO PUBLIC");
}

TEST_CASE("auth_query: users that are no roles") {
  // They come to the server as another user.
  Configuration configuration = asking({{"auth_query", "\"SELECT $1::text, 'their-secret'::text WHERE $1 = 'them'\""}});
  configuration.databases["app"] = database_at(server(), "user=app password=app-secret");
  BezelProcess bezel(configuration);
  PgConnection client(bezel.conninfo("", "them", "their-secret"));
  REQUIRE(client.connected());
  CHECK(client.value("SELECT current_user") == "app");
}

TEST_CASE("auth_query: VALID UNTIL holds, by the default query and by the documentation's function (CVE-2025-2291)") {
  server().superuser().run(
      "CREATE FUNCTION pooler.documented(i_username text, OUT uname text, OUT phash text) RETURNS SETOF record "
      "LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog AS $$"
      "  SELECT rolname::text, CASE WHEN rolvaliduntil < now() THEN NULL ELSE rolpassword END"
      "  FROM pg_authid WHERE rolname = i_username AND rolcanlogin $$");
  // Only Bezel is in the way of who has expired.
  server().set_hba("host all expired 127.0.0.0/8 trust\nhost all all 127.0.0.0/8 scram-sha-256");
  for (const char* query : {"", "\"SELECT * FROM pooler.documented($1)\"", kOperators}) {
    INFO(std::string(query));
    Configuration configuration = asking({{"auth_type", "scram-sha-256"}});
    if (*query != '\0') configuration.settings["auth_query"] = query;
    BezelProcess bezel(configuration);
    CHECK(refusal(bezel, "expired", "expired-secret") == refusal(bezel, "expired", "wrong"));
    CHECK_FALSE(logs_in(bezel, "expired", "expired-secret"));
    CHECK(logs_in(bezel, "lasting", "lasting-secret"));  // infinity
    CHECK(logs_in(bezel, "salted", "salted-secret"));    // NULL
  }
  server().set_hba("");
}

TEST_CASE("auth_query: a name is a parameter, whatever it is") {
  BezelProcess bezel(asking());
  PgConnection superuser = server().superuser();
  for (const std::string& name : {std::string("o'; DROP ROLE salted; --"), std::string("\xff\xfe"),
                                  std::string(63, 'n') + "longer", std::string(300, 'n'), std::string("$1")}) {
    RawClient client(own_address(), bezel.port());
    const auto frames = client.log_in(name, "x", "app");
    REQUIRE_FALSE(frames.empty());
    CHECK(sqlstate_of(frames.back()) == "28P01");
  }
  CHECK(logs_in(bezel, "salted", "salted-secret"));
  // PostgreSQL would cut the name, and find somebody else.
  const std::string name(63, 'n');
  server().create_user(name, "cut-secret", "scram-sha-256");
  CHECK(logs_in(bezel, name, "cut-secret"));
  CHECK(has(error_of(bezel, name + "another", "cut-secret"), "password authentication failed"));
}

TEST_CASE("auth_query: one that does not work is the log's business, not the client's") {
  struct Fault {
    const char* query;
    const char* logged;
  };
  for (const Fault& fault : {Fault{"SELECT $1::text", "two columns"}, Fault{"SELECT 1 FROM nonesuch", "nonesuch"},
                             Fault{"SELECT $1::text, 'a' UNION ALL SELECT $1::text, 'b'", "more than one row"}}) {
    BezelProcess bezel(asking({{"auth_query", std::string("\"") + fault.query + "\""}}));
    const std::string error = error_of(bezel, "salted", "salted-secret");
    CHECK(has(error, "the authentication query failed"));
    CHECK_FALSE(has(error, fault.logged));
    CHECK(has(bezel.log(), fault.logged));
    CHECK(logs_in(bezel, "asker", "asker-secret"));
  }
  Configuration wrong = asking();
  wrong.userlist = "\"asker\" \"not-it\"\n";
  BezelProcess bezel(wrong);
  const std::string error = error_of(bezel, "salted", "salted-secret");
  CHECK(has(error, "the authentication query failed"));
  CHECK_FALSE(has(error, "asker"));
}

TEST_CASE("auth_query: settings of a database, and auth_dbname") {
  Configuration configuration = asking();
  configuration.settings.erase("auth_user");
  configuration.databases["other"] =
      database_at(server(), "dbname=app auth_user=asker auth_query='SELECT * FROM pooler.user_lookup($1)'");
  configuration.databases["elsewhere"] = database_at(server(), "dbname=postgres auth_user=asker auth_dbname=other");
  BezelProcess bezel(configuration);
  CHECK_FALSE(logs_in(bezel, "salted", "salted-secret", "app"));
  CHECK(logs_in(bezel, "salted", "salted-secret", "other"));
  // In `postgres`, asker may not read pg_authid.
  CHECK(logs_in(bezel, "salted", "salted-secret", "elsewhere"));
  CHECK(server().observer().value("SELECT string_agg(DISTINCT datname, ',') FROM pg_stat_activity WHERE "
                                  "application_name = 'bezel auth_query'") == "app");
}

TEST_CASE("auth_query: console users, by a global auth_dbname, with a password always (PgDog#1053)") {
  Configuration configuration = asking({{"auth_dbname", "app"}, {"stats_users", "[stats, salted]"}});
  BezelProcess bezel(configuration);
  PgConnection console(bezel.conninfo("", "salted", "salted-secret", "pgbouncer"));
  REQUIRE(console.connected());
  CHECK(console.exec("SHOW VERSION").ok());
  CHECK_FALSE(PgConnection(bezel.conninfo("", "salted", "wrong", "pgbouncer")).connected());
  for (const char* password : {"wrong", "", "asker-secret"}) {
    CHECK_FALSE(PgConnection(bezel.conninfo("", "admin", password, "pgbouncer")).connected());
    CHECK_FALSE(PgConnection(bezel.conninfo("", "admin", password, "bezel")).connected());
  }
}

TEST_CASE("auth_query: fifty logins at once ask once, and further ones not at all") {
  const int before = calls();
  BezelProcess bezel(asking({{"auth_query", kCounted}}));
  std::vector<std::thread> threads;
  std::atomic<int> in{0};
  for (int i = 0; i < 50; i++) {
    threads.emplace_back([&] {
      if (logs_in(bezel, "salted", "salted-secret")) in++;
    });
  }
  for (std::thread& thread : threads) thread.join();
  CHECK(in == 50);
  CHECK(calls() == before + 1);
  CHECK(logs_in(bezel, "salted", "salted-secret"));
  CHECK(calls() == before + 1);
  PgConnection console = bezel.console();
  console.run("RECONNECT");
  CHECK(logs_in(bezel, "salted", "salted-secret"));
  CHECK(calls() == before + 2);
  console.run("RELOAD");
  CHECK(logs_in(bezel, "salted", "salted-secret"));
  CHECK(calls() == before + 3);
}

TEST_CASE("auth_query: a changed password works at once") {
  server().set_hba(kBothHba);
  server().create_user("changing", "one", "scram-sha-256");
  BezelProcess bezel(asking({{"auth_query_cache_ttl", "1h"}}));
  CHECK(logs_in(bezel, "hashed", "hashed-secret"));
  CHECK(logs_in(bezel, "changing", "one"));
  server().observer().run("ALTER ROLE changing PASSWORD 'two'");
  server().observer().run("SET password_encryption = 'md5'; ALTER ROLE hashed PASSWORD 'hashed-secret2'; RESET ALL");
  // A cached answer is not doubted in its first second.
  std::this_thread::sleep_for(std::chrono::milliseconds(1100));
  // By md5 the first login finds out; by SCRAM the one after it.
  CHECK(logs_in(bezel, "hashed", "hashed-secret2"));
  CHECK_FALSE(PgConnection(bezel.conninfo("", "hashed", "hashed-secret")).connected());
  CHECK_FALSE(PgConnection(bezel.conninfo("", "changing", "two")).connected());
  CHECK(PgConnection(bezel.conninfo("", "changing", "two")).connected());
  CHECK_FALSE(PgConnection(bezel.conninfo("", "changing", "one")).connected());
  // New server connections are logged in with the new secret.
  PgConnection(server().conninfo("postgres", "super", "postgres"))
      .run(
          "SELECT count(pg_terminate_backend(pid, 5000)) FROM pg_stat_activity WHERE usename IN ('changing', "
          "'hashed')");
  CHECK(logs_in(bezel, "changing", "two"));
  CHECK(logs_in(bezel, "hashed", "hashed-secret2"));
  server().observer().run("SET password_encryption = 'md5'; ALTER ROLE hashed PASSWORD 'hashed-secret'; RESET ALL");
  server().set_hba("");
}

TEST_CASE("auth_query: a secret that servers do not take any more is asked for again, and they are tried again") {
  server().set_hba(kBothHba);
  const auto change = [](const std::string& user, const std::string& password, const std::string& kind) {
    server().observer().run("SET password_encryption = '" + kind + "'; ALTER ROLE " + user + " PASSWORD '" + password +
                            "'; RESET ALL");
    // A kept answer is not doubted in its first second.
    std::this_thread::sleep_for(std::chrono::milliseconds(1100));
  };
  const auto end_servers = [](const std::string& user) {
    server().superuser().run("SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE usename = '" + user +
                             "'");
  };
  // Nobody logs in after the change: whoever is here already gets a server by the new secret.
  BezelProcess bezel(asking({{"auth_query_cache_ttl", "1h"},
                             {"server_login_retry", "1h"},
                             {"default_pool_size", "1"},
                             {"query_wait_timeout", "15s"}}));

  SUBCASE("an md5 hash") {
    PgConnection client(bezel.conninfo("", "hashed", "hashed-secret"));
    CHECK(client.value("SELECT 1") == "1");
    change("hashed", "another", "md5");
    end_servers("hashed");
    CHECK(client.value("SELECT current_user") == "hashed");
    CHECK(has(bezel.log(), "failed: password authentication failed for user \"hashed\""));
    CHECK(logs_in(bezel, "hashed", "another"));
    change("hashed", "hashed-secret", "md5");
  }
  SUBCASE("nobody's any more: one refusal, and no waiting") {
    server().create_user("leaving", "leaving-secret", "md5");
    server().set_hba("host all leaving 127.0.0.0/8 md5\n" + std::string(kBothHba));
    PgConnection client(bezel.conninfo("", "leaving", "leaving-secret"));
    CHECK(client.value("SELECT 1") == "1");
    server().superuser().run("ALTER ROLE leaving RENAME TO gone");
    std::this_thread::sleep_for(std::chrono::milliseconds(1100));
    end_servers("gone");
    CHECK_FALSE(client.exec("SELECT 1").ok());
    CHECK(has(client.error(), "password authentication failed for user \"leaving\""));
  }
  SUBCASE("keys of SCRAM wait for the next login, which needs no second try") {
    server().create_user("moving", "one", "scram-sha-256");
    PgConnection client(bezel.conninfo("", "moving", "one"));
    CHECK(client.value("SELECT 1") == "1");
    change("moving", "two", "scram-sha-256");
    end_servers("moving");
    std::string waited;
    std::thread waiting([&] {
      const PgResult result = client.exec("SELECT current_user");
      waited = result.ok() ? result.value() : client.error();
    });
    wait_until("the server has refused the old keys",
               [&] { return has(bezel.log(), "neither a password nor the keys of a client's login are known"); });
    wait_until("the new verifier is known", [&] { return logs_in(bezel, "moving", "two"); });
    waiting.join();
    CHECK(waited == "moving");
  }
  server().set_hba("");
}

TEST_CASE("auth_query: who waits for a server that takes no secret is told why") {
  server().set_hba(kBothHba);
  BezelProcess bezel(asking({{"auth_type", "plain"}, {"query_wait_timeout", "1s"}}));
  // A password in clear text is no key to SCRAM at the server.
  const std::string error = error_of(bezel, "salted", "salted-secret");
  CHECK(has(error, "query_wait_timeout"));
  CHECK(has(error, "The last login to the server failed: server asks for SCRAM, and neither a password nor the keys"));
  server().set_hba("");
}

TEST_CASE("auth_query: old answers serve while the server is away") {
  PostgresServer own;
  own.superuser().run(kFunctions);
  own.create_user("salted", "salted-secret", "scram-sha-256");
  for (const bool stale : {true, false}) {
    INFO(stale);
    Configuration configuration = {.settings = {{"auth_user", "asker"},
                                                {"auth_query_cache_ttl", "100ms"},
                                                {"auth_query_stale_max", stale ? "1h" : "0"},
                                                {"client_login_timeout", "3s"},
                                                {"server_login_retry", "100ms"}},
                                   .databases = {{"app", database_at(own)}},
                                   .userlist = kUserlist};
    BezelProcess bezel(configuration);
    CHECK(logs_in(bezel, "salted", "salted-secret"));
    own.stop();
    std::this_thread::sleep_for(std::chrono::milliseconds(200));
    CHECK(PgConnection(bezel.conninfo("", "salted", "salted-secret")).connected() == stale);
    CHECK_FALSE(PgConnection(bezel.conninfo("", "salted", "wrong")).connected());
    CHECK_FALSE(PgConnection(bezel.conninfo("", "nobody", "x")).connected());
    own.start();
    CHECK(logs_in(bezel, "salted", "salted-secret"));
  }
}

TEST_CASE("auth_query: a login waits for a server that is not there yet") {
  PostgresServer own;
  own.superuser().run(kFunctions);
  own.create_user("salted", "salted-secret", "scram-sha-256");
  BezelProcess bezel({.settings = {{"auth_user", "asker"}, {"server_login_retry", "100ms"}},
                      .databases = {{"app", database_at(own)}},
                      .userlist = kUserlist});
  own.stop();
  std::atomic<bool> in{false};
  std::thread client([&] { in = logs_in(bezel, "salted", "salted-secret"); });
  wait_until("the pooler has tried", [&] { return has(bezel.log(), "login to"); });
  own.start();
  client.join();
  CHECK(in);
}

TEST_CASE("auth_query: a connection that has died silently is replaced within seconds") {
  std::atomic<int> asked{0};
  FakeServer fake([&](RawClient& peer) {
    if (!FakeServer::log_in(peer)) return;
    bool about_role = false;
    while (const auto frame = peer.read_frame()) {
      if (frame->type == 'P') about_role = has(frame->body, "pg_roles");
      if (frame->type == 'Q') peer.send(frame_bytes('C', std::string("SELECT 1\0", 9)) + frame_bytes('Z', "I"));
      if (frame->type == 'S' && about_role)
        peer.send(frame_bytes('C', std::string("SELECT 0\0", 9)) + frame_bytes('Z', "I"));
      if (frame->type != 'S' || about_role || ++asked == 2) continue;  // the second question is never answered
      std::string row = int32_bytes(2).substr(2);
      for (const char* value : {"app", "app-secret"}) row += int32_bytes(static_cast<uint32_t>(strlen(value))) + value;
      const std::string column = std::string("c\0\0\0\0\0\0\0\0\0\0\x19\xff\xff\xff\xff\xff\xff\0\0", 20);
      peer.send(frame_bytes('1', "") + frame_bytes('2', "") +
                frame_bytes('T', int32_bytes(2).substr(2) + column + column) + frame_bytes('D', row) +
                frame_bytes('C', std::string("SELECT 1\0", 9)) + frame_bytes('Z', "I"));
    }
  });
  BezelProcess bezel(
      {.settings = {{"auth_user", "asker"}, {"auth_query_cache_ttl", "0"}, {"auth_query_stale_max", "0"}},
       .databases = {{"app", fake.database()}},
       .userlist = kUserlist});
  CHECK(PgConnection(bezel.conninfo()).connected());
  CHECK(PgConnection(bezel.conninfo()).connected());
  CHECK(asked == 3);
  CHECK(has(bezel.log(), "auth_query timed out"));
}

TEST_CASE("auth_query: nothing of a client reaches the connection that asks (CVE-2025-12819)") {
  // Whoever is let in by a wrong secret gets on to the server.
  server().set_hba("host all salted 127.0.0.0/8 trust\nhost all all 127.0.0.0/8 scram-sha-256");
  PgConnection superuser = server().superuser();
  superuser.run(
      "CREATE SCHEMA evil; GRANT ALL ON SCHEMA evil TO PUBLIC;"
      "CREATE TABLE evil.pg_authid AS SELECT rolname, 'stolen'::text AS rolpassword, rolcanlogin, rolvaliduntil "
      "FROM pg_catalog.pg_authid;"
      "CREATE FUNCTION evil.lookup(text, out u text, out p text) LANGUAGE sql AS $$ SELECT $1, 'stolen'::text $$;"
      "GRANT SELECT ON evil.pg_authid TO PUBLIC;"
      "ALTER ROLE asker SET search_path = evil, pg_catalog; ALTER DATABASE app SET search_path = evil, pg_catalog;");
  {
    // By the default query, and by one that does not say which pg_authid it means.
    BezelProcess by_default(asking());
    BezelProcess by_name(asking({{"auth_query", "\"SELECT rolname, rolpassword FROM pg_authid WHERE rolname = $1\""}}));
    BezelProcess by_function(asking({{"auth_query", "\"SELECT * FROM lookup($1)\""}}));
    for (const BezelProcess* bezel : {&by_default, &by_name, &by_function}) {
      for (const char* how : {"options='-c search_path=evil,pg_catalog'", ""}) {
        CHECK_FALSE(PgConnection(bezel->conninfo(how, "salted", "stolen")).connected());
      }
    }
    for (const BezelProcess* bezel : {&by_default, &by_name})
      CHECK(PgConnection(bezel->conninfo("options='-c search_path=evil,pg_catalog'", "salted", "salted-secret"))
                .connected());
    // The user that asks may be a client too; it never gets the connection that asks.
    PgConnection asker(by_name.conninfo("", "asker", "asker-secret"));
    asker.run("SET search_path = evil, pg_catalog");
    CHECK(asker.value("SHOW application_name") != "bezel auth_query");
    PgConnection(by_name.console()).run("RECONNECT");
    CHECK(PgConnection(by_name.conninfo("", "salted", "salted-secret")).connected());
    CHECK_FALSE(PgConnection(by_name.conninfo("", "salted", "stolen")).connected());
  }
  superuser.run("ALTER ROLE asker RESET search_path; ALTER DATABASE app RESET search_path; DROP SCHEMA evil CASCADE");
  server().set_hba("");
}

TEST_CASE("auth_query: a full pool keeps nobody out, and PAUSE closes the connection that asks") {
  Configuration configuration = asking({{"default_pool_size", "1"}});
  configuration.databases["app"] = database_at(server(), "max_db_connections=1 auth_user=asker");
  BezelProcess bezel(configuration);
  PgConnection holder = bezel.connect_as("asker", "asker-secret");
  holder.run("BEGIN");
  // Who has the password gets to wait for the one server, who has not is told so.
  CHECK(has(error_of(bezel, "salted", "wrong"), "password authentication failed"));
  holder.run("COMMIT");
  CHECK(logs_in(bezel, "salted", "salted-secret"));
  PgConnection console = bezel.console();
  console.run("PAUSE app");
  wait_until("no connection is left", [&] { return server().backend_count("asker") == 0; });
  // The answer is known, so the login goes on as far as it can without a server.
  CHECK(has(error_of(bezel, "salted", "wrong"), "password authentication failed"));
  console.run("RESUME app");
  CHECK(logs_in(bezel, "lasting", "lasting-secret"));
}
