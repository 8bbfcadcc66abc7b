#include "dns_fixture.h"
#include "net_loops.h"
#include "src/net/resolver.h"

namespace bezel::net {
namespace {

using namespace fake_dns;
using Names = std::vector<std::string>;

/// One who asks, and what it was told. Used on the loop's thread.
class Asker final : public Resolver::Waiter {
 public:
  int told = 0;
  Names addresses;
  std::string error;

  /// Asks; whether the answer came at once.
  bool ask(Resolver& resolver, const std::string& host, const Resolver::Options& options) {
    const auto known = resolver.resolve(host, options, *this);
    if (known != nullptr) resolved(*known);
    return known != nullptr;
  }
  void resolved(const NameAnswer& answer) override {
    told++;
    error = answer.error;
    addresses.clear();
    for (const SocketAddress& address : answer.addresses) addresses.push_back(address.host_text());
  }
};

struct Fixture {
  integration::TemporaryFolder files;
  FakeDnsServer server;
  TestLoops loops{2};
  Resolver::Options options;

  explicit Fixture(const NameTtls& ttls = {15'000'000, 15'000'000}) {
    options.ttls = ttls;
    options.sources.resolv_conf = files.write("resolv.conf", server.line());
    options.sources.hosts_file = files.write("hosts", "");
  }
  Resolver& resolver(int worker = 0) { return loops.runtime(worker).loop().resolver(); }

  std::shared_ptr<Asker> ask(const std::string& host, int worker = 0) {
    auto asker = std::make_shared<Asker>();
    loops.on(worker, [&] { asker->ask(resolver(worker), host, options); });
    loops.until(worker, [&] { return asker->told > 0; });
    loops.on(worker, [&] { CHECK(asker->told == 1); });
    return asker;
  }
};

TEST_CASE("net: a name is looked up once, for all who ask, on all loops") {
  Fixture fixture;
  fixture.server.set("db.example", kA, {a("10.0.0.1", 3600)});
  std::vector<Asker> askers(5);
  fixture.loops.on(0, [&] {
    for (Asker& asker : askers) CHECK_FALSE(asker.ask(fixture.resolver(), "db.example", fixture.options));
    CHECK(fixture.resolver().pending() == 1);
    fixture.resolver().forget("db.example", askers[4]);
  });
  fixture.loops.until(0, [&] { return askers[0].told > 0; });
  fixture.loops.on(0, [&] {
    for (int i = 0; i < 4; i++) CHECK(askers[static_cast<size_t>(i)].addresses == Names{"10.0.0.1"});
    CHECK(askers[4].told == 0);
    Asker later;
    CHECK(later.ask(fixture.resolver(), "db.example", fixture.options));
  });
  fixture.loops.on(1, [&] {
    Asker elsewhere;
    CHECK(elsewhere.ask(fixture.resolver(1), "db.example", fixture.options));
  });
  CHECK(fixture.server.queries("db.example", kA) == 1);
}

TEST_CASE("net: a name is looked up again when its time to live is over") {
  Fixture fixture;
  fixture.server.set("short.example", kA, {a("10.0.0.1", 1)});
  fixture.server.set("long.example", kA, {a("10.0.0.2", 3600)});
  CHECK(fixture.ask("short.example")->addresses == Names{"10.0.0.1"});
  CHECK(fixture.ask("long.example")->addresses == Names{"10.0.0.2"});
  fixture.server.set("short.example", kA, {a("10.0.0.3", 3600)});
  fixture.server.set("long.example", kA, {a("10.0.0.4", 3600)});
  fixture.loops.until(0, [&] {
    Asker asker;
    if (!asker.ask(fixture.resolver(), "short.example", fixture.options)) {
      fixture.resolver().forget("short.example", asker);
      return false;
    }
    return asker.addresses == Names{"10.0.0.3"};
  });
  CHECK(fixture.ask("long.example")->addresses == Names{"10.0.0.2"});
  CHECK(fixture.server.queries("short.example", kA) == 2);
  CHECK(fixture.server.queries("long.example", kA) == 1);
}

TEST_CASE("net: a name that does not exist is asked for again after dns_nxdomain_ttl") {
  Fixture fixture({15'000'000, 3600'000'000});
  CHECK(fixture.ask("late.example")->error == "the name does not exist");
  fixture.server.set("late.example", kA, {a("10.0.0.1")});
  CHECK(fixture.ask("late.example")->error == "the name does not exist");
  CHECK(fixture.server.queries("late.example", kA) == 1);
  fixture.resolver().names().clear();
  fixture.options.ttls.nxdomain_us = 0;
  fixture.server.forget("late.example");
  CHECK(fixture.ask("late.example")->error == "the name does not exist");
  fixture.server.set("late.example", kA, {a("10.0.0.1")});
  CHECK(fixture.ask("late.example")->addresses == Names{"10.0.0.1"});
}

TEST_CASE("net: an outage of DNS does not take away what is known, nor keep anybody waiting for long") {
  // Each use looks up again.
  Fixture fixture({0, 0});
  fixture.server.set("db.example", kA, {a("10.0.0.1", 1)});
  CHECK(fixture.ask("db.example")->addresses == Names{"10.0.0.1"});
  fixture.server.set_all({.code = kServerFailure});
  CHECK(fixture.ask("db.example")->addresses == Names{"10.0.0.1"});

  // Silence: the first one waits for a moment, who comes later does not. The lookup goes on all the while.
  fixture.files.write("resolv.conf", fixture.server.line() + "options timeout:30 attempts:5\n");
  fixture.server.set_all({.silent = true});
  CHECK(fixture.ask("db.example")->addresses == Names{"10.0.0.1"});
  fixture.loops.on(0, [&] {
    CHECK(fixture.resolver().pending() == 1);
    Asker next;
    CHECK(next.ask(fixture.resolver(), "db.example", fixture.options));
    CHECK(next.addresses == Names{"10.0.0.1"});
  });
  // What was never known, nobody can be told.
  Asker unlucky;
  fixture.loops.on(0, [&] { CHECK_FALSE(unlucky.ask(fixture.resolver(), "other.example", fixture.options)); });
  CHECK(fixture.ask("db.example", 1)->addresses == Names{"10.0.0.1"});
  fixture.loops.on(0, [&] {
    CHECK(unlucky.told == 0);
    fixture.resolver().forget("other.example", unlucky);
  });
}

TEST_CASE("net: after an outage the new addresses are found") {
  Fixture fixture({0, 0});
  fixture.server.set("db.example", kA, {a("10.0.0.1", 1)});
  fixture.ask("db.example");
  fixture.files.write("resolv.conf", fixture.server.line() + "options timeout:1 attempts:2\n");
  fixture.server.set_all({.silent = true});
  CHECK(fixture.ask("db.example")->addresses == Names{"10.0.0.1"});
  fixture.server.set("db.example", kA, {a("10.0.0.2", 1)});
  fixture.server.clear_all();
  fixture.loops.until(0, [&] { return fixture.resolver().pending() == 0; });
  CHECK(fixture.ask("db.example")->addresses == Names{"10.0.0.2"});
  fixture.server.forget("db.example");
  CHECK(fixture.ask("db.example")->error == "the name does not exist");
}

TEST_CASE("net: a loop ends at once, whatever is being looked up") {
  Asker unlucky;
  FakeDnsServer server;
  integration::TemporaryFolder files;
  server.set_all({.silent = true});
  Resolver::Options options{.ttls = {}, .sources = {.resolv_conf = files.write("resolv.conf", server.line())}};
  {
    TestLoops loops(1);
    loops.on(0, [&] { CHECK_FALSE(unlucky.ask(loops.runtime().loop().resolver(), "db.example", options)); });
    loops.threads().stop();
    CHECK_FALSE(loops.runtime().loop().is_abandoned());
    Asker late;
    CHECK(late.ask(loops.runtime().loop().resolver(), "db.example", options));
    CHECK(late.error == "the event loop ends");
  }
  CHECK(unlucky.told == 0);
}

}  // namespace
}  // namespace bezel::net
