// What of a client's password is in the pooler's memory, as a core image would show it.

#include <doctest/doctest.h>
#include <fcntl.h>
#include <unistd.h>

#include <cstdio>
#include <fstream>
#include <stdexcept>
#include <string>
#include <vector>

#include "integration/bezel_process.h"
#include "integration/certificates.h"
#include "integration/loopback.h"
#include "integration/postgres_server.h"

using namespace bezel::integration;

namespace {

/// How often the text is in the memory of a process: in all that it can write to.
int occurrences(pid_t pid, const std::string& text) {
  const std::string folder = "/proc/" + std::to_string(pid);
  const int memory = open((folder + "/mem").c_str(), O_RDONLY | O_CLOEXEC);
  if (memory < 0) throw std::runtime_error("the memory of a child cannot be read");
  std::ifstream maps(folder + "/maps");
  int found = 0;
  for (std::string line; std::getline(maps, line);) {
    unsigned long begin = 0, end = 0;
    char access[5] = "";
    if (std::sscanf(line.c_str(), "%lx-%lx %4s", &begin, &end, access) != 3 || std::string(access, 2) != "rw") continue;
    std::string bytes(end - begin, '\0');
    const ssize_t got = pread(memory, bytes.data(), bytes.size(), static_cast<off_t>(begin));
    bytes.resize(got > 0 ? static_cast<size_t>(got) : 0);
    for (size_t at = bytes.find(text); at != std::string::npos; at = bytes.find(text, at + 1)) found++;
  }
  close(memory);
  return found;
}

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
  const std::string password = "a-password-like-no-other-7391";
  CertificateAuthority authority;
  PostgresServer server;
};

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
    CHECK(occurrences(bezel.process().pid(), at.password) == 0);
    CHECK(bezel.log().find(at.password) == std::string::npos);
  }
}

TEST_CASE("a password that is kept in clear text is in the pooler's memory, and the search finds it") {
  Server at;
  BezelProcess bezel(at.configuration("scram-sha-256", "\"holder\" \"" + at.password + "\"\n"));
  PgConnection client(bezel.conninfo("", "holder", at.password));
  REQUIRE(client.connected());
  CHECK(occurrences(bezel.process().pid(), at.password) > 0);
  CHECK(bezel.log().find(at.password) == std::string::npos);
}
