// Databases whose hosts are names.

#include <doctest/doctest.h>

#include <future>
#include <string>
#include <vector>

#include "fake_dns/fake_dns_server.h"
#include "integration/bezel_process.h"
#include "integration/fake_server.h"
#include "integration/loopback.h"
#include "integration/postgres_server.h"
#include "integration/temporary_folder.h"
#include "integration/waiting.h"

using namespace bezel::integration;
using namespace bezel::fake_dns;

namespace {

/// A server that answers every query with `value`, at a place.
struct AnsweringServer {
  FakeServer server;

  AnsweringServer(const std::string& value, const std::string& address, uint16_t port)
      : server(
            [value](RawClient& peer) {
              if (FakeServer::log_in(peer)) FakeServer::answer_queries(peer, value);
            },
            address, port) {}
};

/// A Bezel that asks a DNS server of the test. It does not believe that addresses are good for longer than a second.
struct Fixture {
  TemporaryFolder folder;
  FakeDnsServer names;

  Configuration configuration(const std::string& database) {
    const std::string conf = folder.write("resolv.conf", names.line() + "search bezel.test\noptions timeout:1\n");
    return {.settings = {{"resolv_conf", conf}, {"dns_max_ttl", "1"}, {"dns_nxdomain_ttl", "1"}},
            .databases = {{"app", database}}};
  }
};

/// What a new server connection answers.
std::string fresh_answer(PgConnection& console, PgConnection& client) {
  console.run("RECONNECT");
  return client.value("SELECT 1");
}

}  // namespace

TEST_CASE("the host of a database may be a name, by DNS and its search domains") {
  Fixture fixture;
  PostgresServer& server = PostgresServer::shared();
  fixture.names.set("db.bezel.test", kA, {a(server.address(), 3600)});
  BezelProcess bezel(fixture.configuration("host=db port=" + std::to_string(server.port())));
  PgConnection client = bezel.connect();
  CHECK(client.value("SELECT 'by name'") == "by name");
  PgConnection console = bezel.console();
  const PgResult hosts = console.exec("SHOW DNS_HOSTS");
  REQUIRE(hosts.rows() == 1);
  CHECK(hosts.value(0, "hostname") == "db");
  CHECK(hosts.value(0, "addrs") == server.address());
  const std::string ttl = hosts.value(0, "ttl");
  CHECK((ttl == "0" || ttl == "1"));
  CHECK(bezel.show("LISTS", "items", "list", "dns_names") == "1");
}

TEST_CASE("a changed address is followed when its time is over, and known ones outlive an outage of DNS") {
  Fixture fixture;
  const uint16_t port = next_port();
  AnsweringServer first("first", own_address(), port);
  AnsweringServer second("second", other_own_address(), port);
  fixture.names.set("db.bezel.test", kA, {a(own_address(), 3600)});
  BezelProcess bezel(fixture.configuration("host=db.bezel.test port=" + std::to_string(port)));
  PgConnection console = bezel.console();
  PgConnection client = bezel.connect();
  CHECK(fresh_answer(console, client) == "first");

  fixture.names.set("db.bezel.test", kA, {a(other_own_address(), 3600)});
  wait_until("the new address is used", [&] { return fresh_answer(console, client) == "second"; });

  // Nobody answers. Long after the address was to be looked up again it still serves.
  fixture.names.set_all({.silent = true});
  const int asked = fixture.names.queries();
  wait_until("DNS is asked, in vain", [&] {
    CHECK(fresh_answer(console, client) == "second");
    return fixture.names.queries() >= asked + 4;
  });

  fixture.names.set("db.bezel.test", kA, {a(own_address(), 3600)});
  fixture.names.clear_all();
  wait_until("DNS is back", [&] { return fresh_answer(console, client) == "first"; });
}

TEST_CASE("clients wait until a name has an address; a file of name servers may come later") {
  Fixture fixture;
  PostgresServer& server = PostgresServer::shared();
  Configuration configuration = fixture.configuration("host=late port=" + std::to_string(server.port()));
  BezelProcess bezel(configuration);
  auto waiting = std::async(std::launch::async, [&] { return bezel.connect().value("SELECT 'at last'"); });
  wait_until("it is logged", [&] {
    return bezel.log().find("could not resolve \"late\": the name does not exist") != std::string::npos;
  });
  fixture.names.set("late.bezel.test", kA, {a(server.address())});
  CHECK(waiting.get() == "at last");

  // Another file, by a reload.
  FakeDnsServer others;
  others.set("late", kA, {a(server.address())});
  configuration.settings["resolv_conf"] = fixture.folder.write("other.conf", others.line());
  bezel.write_configuration(configuration);
  PgConnection console = bezel.console();
  PgConnection client = bezel.connect();
  console.run("RELOAD");
  wait_until("the other servers are asked", [&] {
    CHECK(fresh_answer(console, client) == "1");
    return others.queries("late", kA) > 0;
  });
}
