// Encryption, on the clients' side and on the servers'.

#include <doctest/doctest.h>
#include <fmt/format.h>

#include <atomic>
#include <list>

#include "integration/bezel_process.h"
#include "integration/certificates.h"
#include "integration/fake_server.h"
#include "integration/loopback.h"
#include "integration/postgres_server.h"
#include "integration/tls_client.h"
#include "integration/waiting.h"

using namespace bezel::integration;

namespace {

CertificateAuthority& authority() {
  static CertificateAuthority made;
  return made;
}

/// For whatever listens on the tests' own address.
const Certificate& local_certificate() {
  static const Certificate made = authority().issue("local", "local", {"IP:" + own_address()});
  return made;
}

PostgresServer& tls_server() {
  static PostgresServer server;
  static const bool enabled = [] {
    server.enable_tls(local_certificate(), authority().certificate());
    return true;
  }();
  (void)enabled;
  return server;
}

Configuration client_tls(const std::string& mode) {
  return {.settings = {{"client_tls_sslmode", mode},
                       {"client_tls_cert_file", local_certificate().certificate},
                       {"client_tls_key_file", local_certificate().key}}};
}

Configuration server_tls(const std::string& mode, const PostgresServer& server = tls_server()) {
  return {.settings = {{"server_tls_sslmode", mode},
                       {"server_tls_ca_file", authority().certificate()},
                       {"server_login_retry", "50ms"},
                       {"query_wait_timeout", "2s"}},
          .databases = {{"app", database_at(server)}}};
}

/// What the later of two says counts.
std::string with(const BezelProcess& bezel, const std::string& further) {
  return bezel.conninfo(further);
}

std::string verify_full() {
  return "sslmode=verify-full sslrootcert=" + authority().certificate();
}

bool server_is_encrypted(PgConnection& client) {
  return client.value("SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()") == "t";
}

}  // namespace

TEST_CASE("client_tls_sslmode, all of them") {
  struct Expectation {
    const char* mode;
    bool plain, encrypted;
  };
  for (const Expectation& expected :
       {Expectation{"disable", true, false}, {"allow", true, true}, {"prefer", true, true}, {"require", false, true}}) {
    CAPTURE(expected.mode);
    BezelProcess bezel(client_tls(expected.mode));
    PgConnection plain(with(bezel, "sslmode=disable"));
    CHECK(plain.connected() == expected.plain);
    if (!expected.plain) CHECK(plain.error().find("FATAL:  SSL required") != std::string::npos);
    PgConnection encrypted(with(bezel, verify_full()));
    CHECK(encrypted.connected() == expected.encrypted);
    if (!expected.encrypted) continue;
    CHECK(encrypted.value("SELECT 1") == "1");
    CHECK(std::string(PQsslAttribute(encrypted.get(), "protocol")) == "TLSv1.3");
    const std::string shown = fmt::format("TLSv1.3/{}", PQsslAttribute(encrypted.get(), "cipher"));
    PgConnection console(bezel.conninfo("sslmode=require", "admin", "admin-secret", "pgbouncer"));
    const PgResult shown_clients = console.exec("SHOW CLIENTS");
    int shown_count = 0;
    for (int row = 0; row < shown_clients.rows(); row++) shown_count += shown_clients.value(row, "tls") == shown;
    CHECK(shown_count == 2);
  }
}

TEST_CASE("clients must show a certificate of the authority that is not revoked") {
  for (const char* mode : {"verify-ca", "verify-full"}) {
    CertificateAuthority clients("Clients"), others("Others");
    const Certificate good = clients.issue("good", "app"), revoked = clients.issue("revoked", "app");
    Configuration configuration = client_tls(mode);
    configuration.settings["client_tls_ca_file"] = clients.certificate();
    configuration.settings["client_tls_crl_file"] = clients.revoke(revoked);
    configuration.settings["admin_users"] = "[admin, app]";
    BezelProcess bezel(configuration);
    const auto connects = [&](const std::string& further) {
      PgConnection client(with(bezel, "sslmode=require " + further));
      return client.connected() && client.value("SELECT 1") == "1";
    };
    const auto identity = [](const Certificate& one) { return "sslcert=" + one.certificate + " sslkey=" + one.key; };
    CHECK(connects(identity(good)));
    CHECK_FALSE(connects("sslcert=/nonexistent"));
    CHECK_FALSE(connects(identity(revoked)));
    CHECK_FALSE(connects(identity(others.issue("other", "app"))));
    CHECK(bezel.log().find("certificate revoked") != std::string::npos);
  }
}

TEST_CASE("files that are wrong are errors of the configuration, and a reload keeps the old ones") {
  Configuration configuration = client_tls("require");
  BezelProcess bezel(configuration);
  configuration.settings["client_tls_key_file"] = authority().issue("another", "another").key;
  bezel.write_configuration(configuration);
  PgConnection console(bezel.conninfo("sslmode=require", "admin", "admin-secret", "pgbouncer"));
  const PgResult reload = console.exec("RELOAD");
  CHECK_FALSE(reload.ok());
  INFO(bezel.log());
  CHECK(bezel.log().find("client_tls_key_file") != std::string::npos);
  PgConnection client(with(bezel, verify_full()));
  CHECK(client.connected());
  for (const auto& [key, value] : {std::pair("client_tls_cert_file", "/nonexistent"),
                                   {"client_tls_protocols", "sslv2"},
                                   {"client_tls_ciphers", "no-such-cipher"},
                                   {"client_tls13_ciphers", "no-such-suite"},
                                   {"client_tls_ecdhcurve", "no-such-curve"},
                                   {"client_tls_dheparams", "/nonexistent"},
                                   {"client_tls_ca_file", "/nonexistent"}}) {
    const std::string setting = key;  // a lambda of the macro's may not have the binding itself
    CAPTURE(setting);
    Configuration wrong = client_tls("require");
    wrong.settings[key] = value;
    std::string said;
    try {
      BezelProcess none(wrong);
    } catch (const std::runtime_error& error) {
      said = error.what();
    }
    CHECK(said.find(key) != std::string::npos);
  }
}

TEST_CASE("protocols and ciphers are those that were asked for") {
  Configuration configuration = client_tls("require");
  configuration.settings["client_tls_protocols"] = "tlsv1.2";
  configuration.settings["client_tls_ciphers"] = "ECDHE-ECDSA-AES128-GCM-SHA256";
  configuration.settings["client_tls_ecdhcurve"] = "P-384";
  BezelProcess bezel(configuration);
  PgConnection client(with(bezel, "sslmode=require"));
  REQUIRE(client.connected());
  CHECK(std::string(PQsslAttribute(client.get(), "protocol")) == "TLSv1.2");
  CHECK(std::string(PQsslAttribute(client.get(), "cipher")) == "ECDHE-ECDSA-AES128-GCM-SHA256");
  PgConnection newer(with(bezel, "sslmode=require ssl_min_protocol_version=TLSv1.3"));
  CHECK_FALSE(newer.connected());
}

TEST_CASE("everything passes through TLS on both sides: large answers, COPY, many clients on two workers") {
  Configuration configuration = client_tls("require");
  for (const auto& [key, value] : server_tls("verify-full").settings) configuration.settings[key] = value;
  configuration.databases = {{"app", database_at(tls_server())}};
  configuration.settings["default_pool_size"] = "3";
  BezelProcess bezel(configuration);
  std::list<PgConnection> clients;
  for (int i = 0; i < 20; i++) {
    clients.emplace_back(with(bezel, verify_full()));
    REQUIRE(clients.back().connected());
  }
  for (PgConnection& client : clients)
    client.send("SELECT repeat('x', 300000), ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()");
  for (PgConnection& client : clients) {
    const PgResult result = client.last_result();
    CHECK(result.value() == std::string(300000, 'x'));
    CHECK(result.value(0, 1) == "t");
  }
  PgConnection& first = clients.front();
  CHECK(first.value("SELECT '" + std::string(5'000'000, 'y') + "'").size() == 5'000'000);
  first.run("CREATE TABLE tls_copy (line text)");
  CHECK(first.exec("COPY tls_copy FROM STDIN").status() == PGRES_COPY_IN);
  const std::string line = std::string(999, 'z') + "\n";
  for (int i = 0; i < 2000; i++) REQUIRE(PQputCopyData(first.get(), line.data(), static_cast<int>(line.size())) == 1);
  REQUIRE(PQputCopyEnd(first.get(), nullptr) == 1);
  CHECK(first.last_result().ok());
  CHECK(first.value("SELECT sum(length(line)) FROM tls_copy") == "1998000");
  first.run("DROP TABLE tls_copy");
}

TEST_CASE("TLS from the first byte, as PostgreSQL 17 has it") {
  BezelProcess bezel(client_tls("require"));
  TlsClient client(own_address(), bezel.port());
  REQUIRE(client.handshake("postgresql") == "");
  CHECK(client.protocol() == "postgresql");
  client.send(startup_packet("app", "app"));
  CHECK(client.receive().substr(0, 1) == "R");
  // It must name its protocol; who asked before need not.
  TlsClient nameless(own_address(), bezel.port());
  nameless.handshake();
  nameless.send(startup_packet("app", "app"));
  CHECK(nameless.receive() == "");
  TlsClient foreign(own_address(), bezel.port());
  CHECK(foreign.handshake("http/1.1") != "");
  TlsClient asked(own_address(), bezel.port());
  REQUIRE(asked.request() == 'S');
  CHECK(asked.handshake() == "");
}

TEST_CASE("a session is resumed, on whatever worker") {
  BezelProcess bezel(client_tls("require"));
  TlsClient first(own_address(), bezel.port());
  REQUIRE(first.request() == 'S');
  REQUIRE(first.handshake() == "");
  first.send(startup_packet("app", "app"));
  first.receive();
  SSL_SESSION* const session = SSL_get1_session(first.ssl());
  for (int i = 0; i < 8; i++) {
    TlsClient again(own_address(), bezel.port());
    REQUIRE(again.request() == 'S');
    // OpenSSL resumes no session again that a connection has used which ended without a word.
    SSL_SESSION* const copy = SSL_SESSION_dup(session);
    REQUIRE(again.handshake("", copy) == "");
    CHECK(again.was_resumed());
    SSL_SESSION_free(copy);
  }
  SSL_SESSION_free(session);
}

TEST_CASE("a changed certificate is served, without a signal, and open connections stay") {
  CertificateAuthority own;
  const Certificate certificate = own.issue("server", "before");
  Configuration configuration = client_tls("require");
  configuration.settings["client_tls_cert_file"] = certificate.certificate;
  configuration.settings["client_tls_key_file"] = certificate.key;
  BezelProcess bezel(configuration);
  const auto name_now = [&] {
    TlsClient client(own_address(), bezel.port());
    return client.request() == 'S' && client.handshake() == "" ? client.server_name() : std::string();
  };
  CHECK(name_now() == "before");
  PgConnection client(with(bezel, "sslmode=require"));
  own.issue("server", "after");
  wait_until("the new certificate is served", [&] { return name_now() == "after"; });
  // A key that does not fit is not taken, and does no harm.
  write_file(certificate.key, read_file(local_certificate().key));
  wait_until("the log tells of it",
             [&] { return bezel.log().find("changed files are not used") != std::string::npos; });
  CHECK(name_now() == "after");
  CHECK(client.value("SELECT 1") == "1");
}

TEST_CASE(
    "bytes before the handshake are refused, and a handshake that is none (CVE-2021-3935, PgDog's dropped bytes)") {
  BezelProcess bezel(client_tls("require"));
  TlsClient early(own_address(), bezel.port());
  early.raw().send(int32_bytes(8) + int32_bytes(80877103) + startup_packet("app", "app"));
  const auto answer = early.raw().read_frame();
  REQUIRE(answer);
  CHECK(message_of(*answer) == "received unencrypted data after SSL or GSSAPI encryption request");
  TlsClient garbage(own_address(), bezel.port());
  REQUIRE(garbage.request() == 'S');
  garbage.raw().send(startup_packet("app", "app"));
  while (garbage.raw().read_byte()) {
  }
  CHECK(bezel.log().find("TLS handshake failed") != std::string::npos);
  // Twice is once too often.
  TlsClient twice(own_address(), bezel.port());
  REQUIRE(twice.request() == 'S');
  REQUIRE(twice.handshake() == "");
  twice.send(int32_bytes(8) + int32_bytes(80877103));
  CHECK(twice.receive().substr(0, 1) == "E");
}

TEST_CASE(
    "bytes before the handshake are refused where the certificate is the login, and reach no server (CVE-2021-43766)") {
  std::atomic<int> connections{0};
  FakeServer server([&](RawClient& peer) {
    connections++;
    peer.read_to_end();
  });
  CertificateAuthority clients("Clients");
  const Certificate identity = clients.issue("app", "app");
  Configuration configuration = client_tls("verify-full");
  configuration.settings["client_tls_ca_file"] = clients.certificate();
  configuration.settings["auth_type"] = "cert";
  configuration.databases = {{"app", server.database("user=app")}};
  BezelProcess bezel(configuration);
  for (const std::string& injected :
       {startup_packet("app", "app"), std::string("Q"), std::string("\x16\x03\x01", 3),
        startup_packet("app", "app") + frame_bytes('Q', std::string("DROP TABLE x\0", 13))}) {
    TlsClient client(own_address(), bezel.port());
    client.raw().send(int32_bytes(8) + int32_bytes(80877103) + injected);
    const auto answer = client.raw().read_frame();
    REQUIRE(answer);
    CHECK(message_of(*answer) == "received unencrypted data after SSL or GSSAPI encryption request");
    CHECK_FALSE(client.raw().read_byte());
  }
  CHECK(connections == 0);
}

TEST_CASE("who does not finish the handshake goes with client_login_timeout") {
  Configuration configuration = client_tls("require");
  configuration.settings["client_login_timeout"] = "300ms";
  BezelProcess bezel(configuration);
  TlsClient silent(own_address(), bezel.port());
  REQUIRE(silent.request() == 'S');
  while (silent.raw().read_byte()) {
  }
  PgConnection client(with(bezel, "sslmode=require"));
  CHECK(client.connected());
}

TEST_CASE("server_tls_sslmode, all of them, to a server with TLS and one without") {
  for (const char* mode : {"disable", "allow", "prefer", "require", "verify-ca", "verify-full"}) {
    CAPTURE(mode);
    BezelProcess bezel(server_tls(mode));
    PgConnection client = bezel.connect();
    CHECK(server_is_encrypted(client) == (std::string(mode) != "disable"));
    const std::string shown = bezel.show("SERVERS", "tls", "database", "app");
    CHECK(shown.substr(0, 8) == (std::string(mode) == "disable" ? "" : "TLSv1.3/"));
  }
  for (const char* mode : {"disable", "allow", "prefer"}) {
    BezelProcess bezel(server_tls(mode, PostgresServer::shared()));
    PgConnection client = bezel.connect();
    CHECK_FALSE(server_is_encrypted(client));
  }
  for (const char* mode : {"require", "verify-ca", "verify-full"}) {
    BezelProcess bezel(server_tls(mode, PostgresServer::shared()));
    PgConnection client(bezel.conninfo());
    CHECK_FALSE(client.connected());
    CHECK(bezel.log().find("server does not support TLS") != std::string::npos);
  }
}

TEST_CASE("a server with a certificate of another authority, or for another name") {
  CertificateAuthority others("Others");
  PostgresServer server;
  server.enable_tls(authority().issue("elsewhere", "elsewhere", {"DNS:elsewhere.example"}));
  const auto connects = [&](const std::string& mode, const std::string& trusted) {
    Configuration configuration = server_tls(mode, server);
    configuration.settings["server_tls_ca_file"] = trusted;
    BezelProcess bezel(configuration);
    PgConnection client(bezel.conninfo());
    return client.connected();
  };
  CHECK(connects("require", others.certificate()));
  CHECK_FALSE(connects("verify-ca", others.certificate()));
  CHECK(connects("verify-ca", authority().certificate()));
  CHECK_FALSE(connects("verify-full", authority().certificate()));
}

TEST_CASE("the pooler's certificate is its login to a server") {
  tls_server().set_hba("hostssl all app 127.0.0.0/8 cert");
  const Certificate identity = authority().issue("pooler", "app");
  Configuration configuration = server_tls("verify-full");
  {
    BezelProcess bezel(configuration);
    PgConnection client(bezel.conninfo());
    CHECK_FALSE(client.connected());
  }
  configuration.settings["server_tls_cert_file"] = identity.certificate;
  configuration.settings["server_tls_key_file"] = identity.key;
  BezelProcess bezel(configuration);
  CHECK(bezel.connect().value("SELECT 1") == "1");
  tls_server().set_hba("");
}

TEST_CASE("a server by TLS from the first byte, as PostgreSQL 17 takes it") {
  SSL_CTX* const context = SSL_CTX_new(TLS_server_method());
  SSL_CTX_use_certificate_chain_file(context, local_certificate().certificate.c_str());
  SSL_CTX_use_PrivateKey_file(context, local_certificate().key.c_str(), SSL_FILETYPE_PEM);
  SSL_CTX_set_alpn_select_cb(
      context,
      [](SSL*, const unsigned char** chosen, unsigned char* size, const unsigned char* offered, unsigned, void*) {
        *size = *offered;
        *chosen = offered + 1;
        return SSL_TLSEXT_ERR_OK;
      },
      nullptr);
  FakeServer server([&](RawClient& peer) {
    SSL* const ssl = SSL_new(context);
    SSL_set_fd(ssl, peer.fd());
    const unsigned char* protocol = nullptr;
    unsigned int size = 0;
    char startup[1000];
    if (SSL_accept(ssl) == 1 && SSL_read(ssl, startup, sizeof startup) > 8) {
      SSL_get0_alpn_selected(ssl, &protocol, &size);
      const std::string greeting = FakeServer::greeting();
      if (std::string(reinterpret_cast<const char*>(protocol), size) == "postgresql") {
        SSL_write(ssl, greeting.data(), static_cast<int>(greeting.size()));
        SSL_read(ssl, startup, sizeof startup);
      }
    }
    SSL_free(ssl);
  });
  Configuration configuration = server_tls("verify-full");
  configuration.databases = {{"app", server.database("sslnegotiation=direct")}};
  {
    BezelProcess bezel(configuration);
    PgConnection client(bezel.conninfo());
    CHECK(client.connected());
    CHECK(bezel.show("SERVERS", "tls", "database", "app").substr(0, 7) == "TLSv1.3");
  }
  configuration.settings["server_tls_sslmode"] = "prefer";
  CHECK_THROWS(BezelProcess(configuration));
  SSL_CTX_free(context);
}

TEST_CASE("cancel requests take the servers' TLS settings") {
  BezelProcess bezel(server_tls("verify-full"));
  PgConnection client = bezel.connect();
  client.send("SELECT pg_sleep(60)");
  wait_until("the query runs", [] { return tls_server().backend_count("app") == 1; });
  char problem[256] = "";
  PGcancel* const cancel = PQgetCancel(client.get());
  CHECK(PQcancel(cancel, problem, sizeof problem) == 1);
  PQfreeCancel(cancel);
  CHECK(client.last_result().sqlstate() == "57014");
}

TEST_CASE("a cancel request is not sent to a server whose certificate is wrong") {
  const std::string here = "IP:" + own_address();
  CertificateAuthority others("Others");
  PostgresServer server;
  const Certificate right = authority().issue("right", "right", {here});
  server.enable_tls(right);
  const auto runs = [&] {
    return server.observer().value(
               "SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'SELECT pg_sleep%' "
               "AND state = 'active'") == "1";
  };
  const auto cancel = [](PgConnection& client) {
    char problem[256] = "";
    PGcancel* const request = PQgetCancel(client.get());
    CHECK(PQcancel(request, problem, sizeof problem) == 1);
    PQfreeCancel(request);
  };
  struct Wrong {
    const char* what;
    Certificate certificate;
    bool by_verify_ca, by_verify_full;
  };
  for (const Wrong& wrong : {Wrong{"another authority", others.issue("other", "other", {here}), true, true},
                             {"another name", authority().issue("name", "name", {"DNS:elsewhere"}), false, true}}) {
    for (const char* mode : {"require", "verify-ca", "verify-full"}) {
      INFO(std::string(wrong.what));
      INFO(std::string(mode));
      const bool refused = (mode == std::string("verify-ca") && wrong.by_verify_ca) ||
                           (mode == std::string("verify-full") && wrong.by_verify_full);
      BezelProcess bezel(server_tls(mode, server));
      PgConnection client = bezel.connect();
      client.send("SELECT pg_sleep(60)");
      wait_until("the query runs", runs);
      server.change_certificate(wrong.certificate);
      cancel(client);
      if (refused) {
        wait_until("the log tells of it", [&] {
          return bezel.log().find("cancel request to a server failed: TLS handshake failed") != std::string::npos;
        });
        CHECK(runs());
        // Nothing else is amiss: the next one is sent where the certificate is right again.
        server.change_certificate(right);
        cancel(client);
      }
      CHECK(client.last_result().sqlstate() == "57014");
      server.change_certificate(right);
    }
  }
}

TEST_CASE("a cancel request asks for TLS first (PgBouncer's and PgDog's cancel in clear text)") {
  std::atomic<int> asked{0}, bare{0};
  FakeServer server([&](RawClient& peer) {
    std::string packet;
    const auto take = [&](size_t size) {
      packet.clear();
      while (packet.size() < size) {
        const auto byte = peer.read_byte();
        if (!byte) return false;
        packet += *byte;
      }
      return true;
    };
    if (!take(8)) return;
    (packet.substr(4) == int32_bytes(80877103) ? asked : bare)++;
    peer.send("N");
    if (!FakeServer::read_startup(peer)) return;  // a cancel request
    peer.send(FakeServer::greeting());
    peer.read_to_end();
  });
  BezelProcess bezel({.settings = {{"server_tls_sslmode", "prefer"}}, .databases = {{"app", server.database()}}});
  PgConnection client = bezel.connect();
  client.send("SELECT 1");
  wait_until("the query is with the server",
             [&] { return bezel.show("POOLS", "cl_active", "database", "app") == "1"; });
  char problem[256] = "";
  PGcancel* const cancel = PQgetCancel(client.get());
  CHECK(PQcancel(cancel, problem, sizeof problem) == 1);
  PQfreeCancel(cancel);
  wait_until("both have asked", [&] { return asked == 2; });
  CHECK(bare == 0);
}

TEST_CASE("hostile answers to SSLRequest (CVE-2021-43767)") {
  struct Hostile {
    std::string answer, said;
  };
  for (const Hostile& hostile :
       {Hostile{std::string("N") + FakeServer::greeting(), "server sent unencrypted data after its answer"},
        {std::string("S") + FakeServer::greeting(), "server sent unencrypted data after its answer"},
        {"S" + frame_bytes('E', std::string("SERROR\0MPretend to be PostgreSQL\0\0", 34)),
         "server sent unencrypted data after its answer"},
        {frame_bytes('E', "SERROR\0MPretend to be PostgreSQL\0\0"), "server answered SSLRequest with an error"},
        {"X", "server sent an invalid answer to SSLRequest"}}) {
    FakeServer server([answer = hostile.answer](RawClient& peer) {
      for (int i = 0; i < 8; i++) {
        if (!peer.read_byte()) return;
      }
      peer.send(answer);
      peer.read_to_end();
    });
    BezelProcess bezel({.settings = {{"server_tls_sslmode", "prefer"}, {"query_wait_timeout", "300ms"}},
                        .databases = {{"app", server.database()}}});
    PgConnection client(bezel.conninfo());
    CHECK_FALSE(client.connected());
    CHECK(bezel.log().find(hostile.said) != std::string::npos);
    CHECK(bezel.log().find("Pretend") == std::string::npos);
  }
}

TEST_CASE("logins are bound to their connections: libpq to Bezel, and Bezel to PostgreSQL") {
  Configuration configuration = client_tls("require");
  for (const auto& [key, value] : server_tls("verify-full").settings) configuration.settings[key] = value;
  configuration.databases = {{"app", database_at(tls_server(), "channel_binding=require")}};
  for (const char* secret : {"\"app\" \"app-secret\"\n", ""}) {
    // A plain password; or the verifier, and the keys of the client's own login.
    configuration.userlist =
        *secret != '\0' ? std::string(secret) : "\"app\" \"" + tls_server().stored_secret("app") + "\"\n";
    BezelProcess bezel(configuration);
    PgConnection client(with(bezel, verify_full() + " channel_binding=require"));
    INFO(client.error());
    REQUIRE(client.connected());
    CHECK(client.value("SELECT 1") == "1");
  }
  // What cannot be bound is not let pass: a database without TLS asks for it in vain.
  configuration.databases = {{"app", database_at(PostgresServer::shared(), "channel_binding=require")}};
  configuration.settings["server_tls_sslmode"] = "prefer";
  configuration.userlist = "\"app\" \"app-secret\"\n";
  BezelProcess bezel(configuration);
  PgConnection client(with(bezel, verify_full()));
  CHECK_FALSE(client.connected());
  CHECK(bezel.log().find("channel binding is required") != std::string::npos);
}

TEST_CASE("a certificate is a login, by auth_type cert and by a rule with a map") {
  CertificateAuthority clients("Clients");
  const auto identity = [&](const std::string& name) {
    const Certificate one = clients.issue(name, name);
    return "sslmode=require sslcert=" + one.certificate + " sslkey=" + one.key;
  };
  Configuration configuration = client_tls("verify-full");
  configuration.settings["client_tls_ca_file"] = clients.certificate();
  configuration.databases = {{"app", database_at(PostgresServer::shared(), "user=app password=app-secret")}};
  const auto error_of = [](const BezelProcess& bezel, const std::string& further) {
    PgConnection client(bezel.conninfo(further, "app", "wrong"));
    return client.connected() && client.value("SELECT 1") == "1" ? std::string() : client.error();
  };
  configuration.settings["auth_type"] = "cert";
  {
    BezelProcess bezel(configuration);
    CHECK(error_of(bezel, identity("app")) == "");
    CHECK(error_of(bezel, identity("stranger")).find("certificate authentication failed for user \"app\"") !=
          std::string::npos);
  }
  const TemporaryFolder rules;
  configuration.settings["auth_type"] = "hba";
  configuration.settings["client_tls_sslmode"] = "prefer";
  configuration.settings["auth_hba_file"] =
      rules.write("hba", "hostssl all all 127.0.0.0/8 cert map=people\nhostnossl all all 127.0.0.0/8 reject\n");
  configuration.settings["auth_ident_file"] = rules.write("ident", "people /^(.*)-person$ \\1\n");
  BezelProcess bezel(configuration);
  CHECK(error_of(bezel, identity("app-person")) == "");
  CHECK(error_of(bezel, identity("app")) != "");
  CHECK(error_of(bezel, "sslmode=disable").find("rejects connection") != std::string::npos);
}
