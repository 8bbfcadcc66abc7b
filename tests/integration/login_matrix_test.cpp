// Every way in, with every way on to the server, with and without TLS on either side: it works, or it is refused for
// the reason that docs/authentication.md gives.

#include <doctest/doctest.h>

#include <string>

#include "integration/bezel_process.h"
#include "integration/certificates.h"
#include "integration/loopback.h"
#include "integration/postgres_server.h"

using namespace bezel::integration;

namespace {

constexpr const char* kPassword = "app-secret";

/// How a client proves who it is, and what auth_file has of it.
struct ClientMethod {
  const char* name;
  const char* auth_type;
  enum class Kept { verifier, md5_hash, password } kept;
  bool bound = false, certificate = false;
};

constexpr ClientMethod kClientMethods[] = {
    {"trust", "trust", ClientMethod::Kept::verifier},
    {"plain", "plain", ClientMethod::Kept::verifier},
    {"md5", "md5", ClientMethod::Kept::md5_hash},
    {"scram with a verifier", "scram-sha-256", ClientMethod::Kept::verifier},
    {"scram with a plain secret", "scram-sha-256", ClientMethod::Kept::password},
    {"scram-plus", "scram-sha-256", ClientMethod::Kept::verifier, true},
    {"cert", "cert", ClientMethod::Kept::verifier, false, true},
};

/// What the server asks of Bezel. `password`: stands in the entry of the database; without it Bezel has what auth_file
/// and the client's login give.
struct ServerMethod {
  const char* name;
  const char* hba;
  bool password = true, bound = false, certificate = false;
};

constexpr ServerMethod kServerMethods[] = {
    {"trust", "host all app 127.0.0.0/8 trust"},
    {"password", "host all app 127.0.0.0/8 password"},
    {"md5", "host all app 127.0.0.0/8 md5"},
    {"scram", "host all app 127.0.0.0/8 scram-sha-256"},
    {"scram with keys passed through", "host all app 127.0.0.0/8 scram-sha-256", false},
    {"scram-plus", "host all app 127.0.0.0/8 scram-sha-256", true, true},
    {"client certificate", "hostssl all app 127.0.0.0/8 cert", false, false, true},
};

std::string encrypted(const char* algorithm) {
  char* const text = PQencryptPasswordConn(PostgresServer::shared().observer().get(), kPassword, "app", algorithm);
  std::string copy(text != nullptr ? text : "");
  PQfreemem(text);
  return copy;
}

class Matrix {
 public:
  Matrix()
      : certificate_(authority_.issue("local", "local", {"IP:" + own_address()})),
        identity_(authority_.issue("app", "app")) {
    server_.enable_tls(certificate_, authority_.certificate());
    scram_secret_ = server_.stored_secret("app");
  }

  /// The server keeps an md5 hash where it is to ask for one: by its method md5 it would ask a SCRAM secret's user for
  /// SCRAM.
  void prepare(const ServerMethod& method) {
    const std::string secret = method.hba == kServerMethods[2].hba ? encrypted("md5") : scram_secret_;
    server_.observer().run("ALTER ROLE app PASSWORD '" + secret + "'");
    server_.set_hba(method.hba);
  }

  void check(const ClientMethod& client, const ServerMethod& server, bool client_tls, bool server_tls) {
    const std::string by_bezel = refusal_of_client(client, client_tls);
    const std::string by_server = refusal_of_server(client, server, server_tls);
    const bool works = by_bezel.empty() && by_server.empty();
    BezelProcess bezel(configuration(client, server, client_tls, server_tls, works));
    PgConnection connection(bezel.conninfo(way_in(client, client_tls), "app", kPassword));
    const bool served = connection.connected() && connection.exec("SELECT 1").value() == "1";
    INFO(connection.error());
    INFO(bezel.log());
    CHECK(served == works);
    if (works) {
      CHECK((connection.value("SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()") == "t") == server_tls);
      CHECK((PQsslInUse(connection.get()) == 1) == client_tls);
    } else if (!by_bezel.empty()) {
      CHECK(connection.error().find(by_bezel) != std::string::npos);
    } else {
      CHECK(bezel.log().find(by_server) != std::string::npos);
    }
    CHECK(bezel.log().find(kPassword) == std::string::npos);
  }

 private:
  static std::string refusal_of_client(const ClientMethod& client, bool tls) {
    if (client.certificate && !tls) return "connection requires a valid client certificate";
    if (client.bound && !tls) return "channel binding";  // libpq's words: it is the one that refuses
    return "";
  }

  static std::string refusal_of_server(const ClientMethod& client, const ServerMethod& server, bool tls) {
    if (server.bound && !tls) return "channel binding is required, but the connection is not encrypted";
    if (server.certificate) return tls ? "" : "no pg_hba.conf entry for host";
    if (server.password || server.hba == kServerMethods[0].hba) return "";
    const bool has_password = client.kept == ClientMethod::Kept::password;
    const bool shows_keys =
        client.auth_type == std::string("scram-sha-256") && client.kept == ClientMethod::Kept::verifier;
    return has_password || shows_keys ? ""
                                      : "server asks for SCRAM, and neither a password nor the keys of a client's "
                                        "login are known for user \"app\"";
  }

  Configuration configuration(const ClientMethod& client, const ServerMethod& server, bool client_tls, bool server_tls,
                              bool works) const {
    Configuration made{.settings = {{"auth_type", client.auth_type},
                                    {"workers", "1"},
                                    // Without it, `cert` would be an error of the configuration.
                                    {"client_tls_sslmode", client_tls || client.certificate ? "prefer" : "disable"},
                                    {"client_tls_cert_file", certificate_.certificate},
                                    {"client_tls_key_file", certificate_.key},
                                    {"client_tls_ca_file", authority_.certificate()},
                                    {"server_tls_sslmode", server_tls ? "verify-full" : "disable"},
                                    {"server_tls_ca_file", authority_.certificate()},
                                    {"server_login_retry", "50ms"},
                                    // Who will not be served need not wait for long.
                                    {"query_wait_timeout", works ? "20s" : "300ms"}}};
    std::string entry;
    if (server.password) entry += std::string(" user=app password=") + kPassword;
    if (server.bound) entry += " channel_binding=require";
    if (server.certificate) {
      made.settings["server_tls_cert_file"] = identity_.certificate;
      made.settings["server_tls_key_file"] = identity_.key;
    }
    made.databases = {{"app", database_at(server_, entry)}};
    const std::string secret = client.kept == ClientMethod::Kept::verifier   ? scram_secret_
                               : client.kept == ClientMethod::Kept::md5_hash ? encrypted("md5")
                                                                             : kPassword;
    made.userlist = "\"app\" \"" + secret + "\"\n";
    return made;
  }

  std::string way_in(const ClientMethod& client, bool tls) const {
    std::string way = tls ? "sslmode=verify-full sslrootcert=" + authority_.certificate() : "sslmode=disable";
    if (client.bound) way += " channel_binding=require";
    if (client.certificate && tls) way += " sslcert=" + identity_.certificate + " sslkey=" + identity_.key;
    return way;
  }

  CertificateAuthority authority_;
  Certificate certificate_, identity_;
  PostgresServer server_;
  std::string scram_secret_;
};

}  // namespace

TEST_CASE("every way in, every way on, with TLS on neither, either and both sides") {
  Matrix matrix;
  for (const ServerMethod& server : kServerMethods) {
    matrix.prepare(server);
    for (const ClientMethod& client : kClientMethods) {
      for (const bool client_tls : {false, true}) {
        for (const bool server_tls : {false, true}) {
          const std::string cell = std::string("client: ") + client.name + (client_tls ? ", by TLS" : "") +
                                   "; server: " + server.name + (server_tls ? ", by TLS" : "");
          INFO(cell);
          matrix.check(client, server, client_tls, server_tls);
        }
      }
    }
  }
}
