// What of a client's password is in the pooler's memory, as a core image would show it.

#include <doctest/doctest.h>
#include <linux/sockios.h>
#include <sys/ioctl.h>

#include <csignal>
#include <deque>
#include <future>
#include <string>
#include <vector>

#include "integration/bezel_process.h"
#include "integration/certificates.h"
#include "integration/loopback.h"
#include "integration/postgres_server.h"
#include "integration/process_memory.h"
#include "integration/tls_client.h"
#include "integration/waiting.h"
#include "protocol/secret.h"

using namespace bezel::integration;

namespace {

struct Server {
  Server() {
    server.enable_tls(authority.issue("local", "local", {"IP:" + own_address()}));
    server.create_user("holder", password, "scram-sha-256");
  }
  std::string verifier() { return "\"holder\" \"" + server.stored_secret("holder") + "\"\n"; }
  Configuration configuration(const std::string& auth_type, const std::string& userlist) {
    const Certificate own = authority.issue("pooler", "pooler", {"IP:" + own_address()});
    return {.settings = {{"auth_type", auth_type},
                         {"client_tls_sslmode", "prefer"},
                         {"client_tls_cert_file", own.certificate},
                         {"client_tls_key_file", own.key},
                         {"server_tls_sslmode", "prefer"}},
            .databases = {{"app", database_at(server)}},
            .userlist = userlist};
  }
  /// Of a password: memory that is freed loses its beginning only.
  const std::string end = "-like-no-other-7391";
  const std::string password = "a-password-that-is-longer-than-what-an-allocator-writes-into-what-is-free" + end;
  CertificateAuthority authority;
  PostgresServer server;
};

bool has_arrived(TlsClient& client) {
  int unacknowledged = 0;
  return ioctl(client.raw().fd(), SIOCOUTQ, &unacknowledged) == 0 && unacknowledged == 0;
}

}  // namespace

TEST_CASE("with SCRAM verifiers no password of a client is in the pooler's memory") {
  Server at;
  for (const char* sslmode : {"disable", "require"}) {
    INFO(std::string(sslmode));
    BezelProcess bezel(at.configuration("scram-sha-256", at.verifier()));
    std::vector<PgConnection> clients;
    for (int i = 0; i < 5; i++) {
      clients.emplace_back(bezel.conninfo(std::string("sslmode=") + sslmode, "holder", at.password));
      REQUIRE(clients.back().connected());
      // The server's connection was opened with the keys of the login.
      CHECK(clients.back().value("SELECT current_user") == "holder");
    }
    CHECK_FALSE(PgConnection(bezel.conninfo("", "holder", at.password + "x")).connected());
    CHECK(occurrences(bezel.process().pid(), at.end) == 0);
    CHECK(bezel.log().find(at.end) == std::string::npos);
  }
}

TEST_CASE("a password that is kept in clear text is in the pooler's memory, and the search finds it") {
  Server at;
  BezelProcess bezel(at.configuration("scram-sha-256", "\"holder\" \"" + at.password + "\"\n"));
  PgConnection client(bezel.conninfo("", "holder", at.password));
  REQUIRE(client.connected());
  CHECK(occurrences(bezel.process().pid(), at.end) > 0);
  CHECK(bezel.log().find(at.end) == std::string::npos);
}

TEST_CASE("a password that comes in clear text is not in the pooler's memory after the login") {
  Server at;
  const std::string hash = "\"holder\" \"" + *bezel::protocol::md5_of(at.password, "holder") + "\"\n";
  for (const std::string& userlist : {at.verifier(), hash}) {
    for (const char* sslmode : {"disable", "require"}) {
      INFO(std::string(sslmode));
      Configuration configuration = at.configuration("plain", userlist);
      configuration.databases["app"] = database_at(PostgresServer::shared(), "user=app password=app-secret");
      BezelProcess bezel(configuration);
      std::vector<PgConnection> clients;
      for (int i = 0; i < 5; i++) {
        clients.emplace_back(bezel.conninfo(std::string("sslmode=") + sslmode, "holder", at.password));
        REQUIRE(clients.back().connected());
      }
      CHECK_FALSE(PgConnection(bezel.conninfo("", "holder", "not-" + at.password)).connected());
      wait_until("it is gone", [&] { return occurrences(bezel.process().pid(), at.end) == 0; });
      CHECK(bezel.log().find(at.end) == std::string::npos);
    }
  }
}

TEST_CASE(
    "long passwords of many clients that come at once, encrypted, are not in the pooler's memory after the logins") {
  Server at;
  Configuration configuration = at.configuration("plain", at.verifier());
  configuration.settings["workers"] = "1";
  // With AES-GCM OpenSSL 3.0 leaves some 300 bytes of a long message on the stack.
  configuration.settings["client_tls13_ciphers"] = "TLS_CHACHA20_POLY1305_SHA256";
  BezelProcess bezel(configuration);
  std::deque<TlsClient> clients;
  for (int i = 0; i < 8; i++) {
    TlsClient& client = clients.emplace_back(own_address(), bezel.port());
    REQUIRE(client.request() == 'S');
    REQUIRE(client.handshake() == "");
    REQUIRE(client.send(startup_packet("holder", "app")));
    REQUIRE(client.receive().substr(0, 1) == "R");
  }
  // More than fits where a turn of the event loop receives, all of it in one turn.
  std::string password;
  while (password.size() < 50'000) password += at.end;
  bezel.process().signal(SIGSTOP);
  std::vector<std::future<bool>> sent;
  for (TlsClient& client : clients) {
    sent.push_back(std::async(std::launch::async, [&] { return client.send(frame_bytes('p', password + '\0')); }));
  }
  for (auto& one : sent) one.wait();
  for (TlsClient& client : clients) wait_until("it is there", [&] { return has_arrived(client); });
  bezel.process().signal(SIGCONT);
  for (auto& one : sent) CHECK(one.get());
  for (TlsClient& client : clients) CHECK(client.receive().substr(0, 1) == "E");
  wait_until("it is gone", [&] { return occurrences(bezel.process().pid(), at.end) == 0; });
}
