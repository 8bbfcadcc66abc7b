#include <optional>

#include "dns_fixture.h"

namespace bezel::dns {
namespace {

using namespace fake_dns;
using Names = std::vector<std::string>;
using Failure = Answer::Failure;

/// A client whose names come from a server of the test.
struct Fixture {
  integration::TemporaryFolder files;
  FakeDnsServer server;
  TestLoop loop;
  std::optional<Client> client{loop.get()};
  Sources sources;

  /// Answers are waited for as long as by default; where none comes, one may not want to wait for that.
  static constexpr const char* kImpatient = "options timeout:1 attempts:1\n";

  explicit Fixture(const std::string& further = "") {
    write_conf(server.line() + further);
    sources.hosts_file = files.write("hosts", "10.9.9.9 by-file\n");
  }
  void write_conf(const std::string& text) { sources.resolv_conf = files.write("resolv.conf", text); }

  Answer take(const std::function<void(Client::Done)>& begin) {
    std::optional<Answer> result;
    begin([&](const Answer& answer) {
      REQUIRE_FALSE(result.has_value());
      result = answer;
    });
    CHECK_FALSE(result.has_value());  // never from inside the call
    loop.until([&] { return result.has_value(); });
    return *result;
  }
  Answer addresses(const std::string& name) {
    return take([&](Client::Done done) { client->find_addresses(sources, name, std::move(done)); });
  }
  Answer services(const std::string& name) {
    return take([&](Client::Done done) { client->find_services(sources, name, std::move(done)); });
  }
};

TEST_CASE("dns: the addresses of a name are those of its A and AAAA records") {
  Fixture fixture;
  fixture.server.set("db.example", kA, {a("10.0.0.2", 40), a("10.0.0.1", 40)});
  fixture.server.set("db.example", kAaaa, {aaaa("2001:db8::1", 30)});
  const Answer answer = fixture.addresses("db.example");
  CHECK(texts(answer) == Names{"10.0.0.1", "10.0.0.2", "2001:db8::1"});
  CHECK(answer.ttl_s == 30);
  CHECK(answer.failure == Failure::none);
  CHECK(answer.error.empty());
  CHECK(fixture.server.queries("db.example", kA) == 1);
  CHECK(fixture.server.queries("db.example", kAaaa) == 1);

  // Nothing is kept.
  fixture.server.set("db.example", kA, {a("10.0.0.3", 1)});
  fixture.server.set("db.example", kAaaa, std::vector<Record>{});
  CHECK(texts(fixture.addresses("db.example")) == Names{"10.0.0.3"});
  CHECK(fixture.client->running() == 0);
}

TEST_CASE("dns: aliases, and names with IPv6 addresses only") {
  Fixture fixture;
  fixture.server.set(
      "alias.example", kA,
      {cname("next.example", 9), of("next.example", cname("real.example", 5)), of("real.example", a("10.0.0.1", 60))});
  fixture.server.set("alias.example", kAaaa, {cname("next.example", 9), of("next.example", cname("real.example", 5))});
  const Answer answer = fixture.addresses("alias.example");
  CHECK(texts(answer) == Names{"10.0.0.1"});
  CHECK(answer.ttl_s == 5);
  fixture.server.set("six.example", kAaaa, {aaaa("::1")});
  CHECK(texts(fixture.addresses("six.example")) == Names{"::1"});
  // An alias of nothing.
  fixture.server.set("empty.example", kA, {cname("nothing.example")});
  fixture.server.set("empty.example", kAaaa, {cname("nothing.example")});
  const Answer nothing = fixture.addresses("empty.example");
  CHECK(nothing.failure == Failure::final);
  CHECK(nothing.error == "the name has no such records");
}

TEST_CASE("dns: services") {
  Fixture fixture("search example\n");
  fixture.server.set("_postgresql._tcp.db.example", kSrv,
                     Reply{.answers = {srv("two.example", 5433, 2), srv("one.example", 5432, 1, 0, 20)},
                           .additional = {of("one.example", a("10.0.0.1"))}});
  const Answer answer = fixture.services("_postgresql._tcp.db.example");
  CHECK(answer.services == std::vector<Service>{{"one.example", 5432, 1, 0}, {"two.example", 5433, 2, 0}});
  CHECK(answer.addresses.empty());
  CHECK(answer.ttl_s == 20);
  CHECK(fixture.services("_postgresql._tcp.db").services.size() == 2);
  CHECK(fixture.services("_postgresql._tcp.none").failure == Failure::final);
  fixture.server.set("_none._tcp.example", kSrv, {srv("", 0)});
  const Answer refused = fixture.services("_none._tcp.example");
  CHECK(refused.failure == Failure::final);
  CHECK(refused.error == "the name has no such records");
}

TEST_CASE("dns: failures are final when a server says that there is nothing") {
  Fixture fixture;
  const Answer unknown = fixture.addresses("unknown.example");
  CHECK(unknown.failure == Failure::final);
  CHECK(unknown.error == "the name does not exist");
  CHECK(unknown.addresses.empty());
  fixture.server.set("text.example", 16, std::vector<Record>{});
  const Answer no_data = fixture.addresses("text.example");
  CHECK(no_data.failure == Failure::final);
  CHECK(no_data.error == "the name has no such records");
  for (const std::string& name : {std::string(), std::string("."), std::string(300, 'x'), std::string("a..b")}) {
    CAPTURE(name);
    const Answer bad = fixture.addresses(name);
    CHECK(bad.failure == Failure::final);
    CHECK(bad.error == "this is no name");
  }
}

TEST_CASE("dns: failures are passing when nobody could say") {
  Fixture fixture(Fixture::kImpatient);
  for (const uint8_t code : {kServerFailure, kRefused}) {
    fixture.server.set_all({.code = code});
    const Answer failed = fixture.addresses("db.example");
    CHECK(failed.failure == Failure::passing);
    CHECK(failed.error == "the DNS servers fail, or cannot be reached");
  }
  fixture.server.set_all({.silent = true});
  const Answer silent = fixture.addresses("db.example");
  CHECK(silent.failure == Failure::passing);
  CHECK(silent.error == "the DNS servers do not answer");
  fixture.server.clear_all();

  // That one family does not exist says nothing of the other one.
  fixture.server.set("half.example", kA, Reply{.code = kServerFailure});
  fixture.server.set("half.example", kAaaa, std::vector<Record>{});
  CHECK(fixture.addresses("half.example").failure == Failure::passing);
  fixture.server.set("half.example", kA, std::vector<Record>{});
  fixture.server.set("half.example", kAaaa, Reply{.silent = true});
  CHECK(fixture.addresses("half.example").failure == Failure::passing);
  // But one is enough.
  fixture.server.set("half.example", kA, {a("10.0.0.1")});
  CHECK(texts(fixture.addresses("half.example")) == Names{"10.0.0.1"});
}

TEST_CASE("dns: nobody listens, or there is no file") {
  Fixture fixture;
  uint16_t dead_port = 0;
  {
    const FakeDnsServer gone;
    dead_port = gone.port();
  }
  fixture.write_conf("nameserver 127.0.0.1:" + std::to_string(dead_port) + "\n");
  CHECK(fixture.addresses("db.example").failure == Failure::passing);
  // The second server has what the first one has not.
  fixture.write_conf("nameserver 127.0.0.1:" + std::to_string(dead_port) + "\n" + fixture.server.line());
  fixture.server.set("db.example", kA, {a("10.0.0.1")});
  CHECK(texts(fixture.addresses("db.example")) == Names{"10.0.0.1"});
  fixture.sources.resolv_conf = fixture.files.path_of("missing");
  const Answer answer = fixture.addresses("db.example");
  CHECK(answer.failure == Failure::passing);
  CHECK(answer.error == "could not read " + fixture.files.path_of("missing") + ": No such file or directory");
}

TEST_CASE("dns: search domains, and how many dots a name needs") {
  Fixture fixture("search one.example two.example\noptions ndots:2\n");
  fixture.server.set("db.two.example", kA, {a("10.0.0.2")});
  CHECK(texts(fixture.addresses("db")) == Names{"10.0.0.2"});
  CHECK(fixture.server.queries("db.one.example", kA) == 1);
  CHECK(fixture.server.queries("db.one.example", kAaaa) == 1);
  CHECK(fixture.server.queries("db", kA) == 0);
  fixture.server.set("db.x", kA, {a("10.0.0.3")});
  CHECK(texts(fixture.addresses("db.x")) == Names{"10.0.0.3"});
  CHECK(fixture.server.queries("db.x.two.example", kA) == 1);
  fixture.server.set("a.b.c", kA, {a("10.0.0.4")});
  CHECK(texts(fixture.addresses("a.b.c")) == Names{"10.0.0.4"});
  CHECK(fixture.server.queries("a.b.c.one.example", kA) == 0);
  CHECK(fixture.addresses("db.").failure == Failure::final);
  // A domain whose server fails does not hide the next one; one whose server is silent does.
  fixture.server.set("db.one.example", kA, Reply{.code = kServerFailure});
  CHECK(texts(fixture.addresses("db")) == Names{"10.0.0.2"});
  // Nothing anywhere, and one of them failed: who knows?
  fixture.server.set("gone.one.example", kA, Reply{.code = kServerFailure});
  CHECK(fixture.addresses("gone").failure == Failure::passing);
  fixture.write_conf(fixture.server.line() + "search one.example two.example\n" + Fixture::kImpatient);
  fixture.server.set("db.one.example", kA, Reply{.silent = true});
  CHECK(fixture.addresses("db").failure == Failure::passing);
}

TEST_CASE("dns: the resolv.conf of the time of asking counts") {
  Fixture fixture;
  const Answer before = fixture.addresses("db");
  CHECK(before.failure == Failure::final);
  fixture.server.set("db.late.example", kA, {a("10.0.0.1")});
  fixture.write_conf(fixture.server.line() + "search late.example\n");
  CHECK(texts(fixture.addresses("db")) == Names{"10.0.0.1"});
}

TEST_CASE("dns: the hosts file, localhost and addresses are not asked for") {
  Fixture fixture;
  CHECK(texts(fixture.addresses("by-file")) == Names{"10.9.9.9"});
  CHECK(texts(fixture.addresses("localhost")) == Names{"127.0.0.1", "::1"});
  CHECK(texts(fixture.addresses("192.0.2.7")) == Names{"192.0.2.7"});
  CHECK(texts(fixture.addresses("[2001:db8::7]")) == Names{"2001:db8::7"});
  CHECK(fixture.server.queries() == 0);
  // They work without any server.
  fixture.sources.resolv_conf = fixture.files.path_of("missing");
  CHECK(texts(fixture.addresses("by-file")) == Names{"10.9.9.9"});
  fixture.sources.hosts_file = fixture.files.path_of("missing");
  CHECK(texts(fixture.addresses("localhost")) == Names{"127.0.0.1", "::1"});
}

TEST_CASE("dns: long answers come over TCP") {
  Fixture fixture;
  Reply reply{.truncated = true};
  for (int i = 1; i <= 50; i++) reply.answers.push_back(a("10.0.0." + std::to_string(i)));
  fixture.server.set("many.example", kA, reply);
  CHECK(fixture.addresses("many.example").addresses.size() == 50);
  CHECK(fixture.server.queries_over_tcp() == 1);
  fixture.write_conf(fixture.server.line() + "options use-vc\n");
  CHECK(fixture.addresses("many.example").addresses.size() == 50);
  CHECK(fixture.server.queries_over_tcp() == 3);
}

TEST_CASE("dns: hostile packets end in a passing failure") {
  Fixture fixture(Fixture::kImpatient);
  const std::vector<std::function<std::string(std::string)>> hostile = {
      [](std::string packet) { return packet.substr(0, packet.size() - 3); },
      [](std::string packet) { return packet.substr(0, 5); },
      [](std::string packet) { return packet.substr(0, 12); },
      [](std::string packet) { return packet.substr(0, 2) + std::string(600, '\xff'); },
      [](std::string packet) {
        packet[7] = '\x7f';  // many records, it says
        return packet;
      },
      [](std::string packet) {
        packet[13] ^= 1;  // another question's answer
        return packet;
      },
      [](std::string packet) {
        packet[packet.size() - 16] = '\xc0';
        packet[packet.size() - 15] = static_cast<char>(packet.size() - 16);  // a name that points to itself
        return packet;
      },
      [](const std::string&) { return std::string("?"); },
  };
  std::vector<Answer> answers;
  for (size_t i = 0; i < hostile.size(); i++) {
    const std::string name = "db" + std::to_string(i) + ".example";
    fixture.server.set(name, kA, Reply{.answers = {a("10.0.0.1")}, .distort = hostile[i]});
    fixture.server.set(name, kAaaa, Reply{.distort = hostile[i]});
    fixture.client->find_addresses(fixture.sources, name, [&](const Answer& answer) { answers.push_back(answer); });
  }
  fixture.loop.until([&] { return answers.size() == hostile.size(); });
  for (const Answer& answer : answers) {
    CHECK(texts(answer) == Names{});
    CHECK(answer.failure == Failure::passing);
  }
}

TEST_CASE("dns: many lookups at a time") {
  Fixture fixture;
  constexpr int kLookups = 200;
  int right = 0, ended = 0;
  for (int i = 0; i < kLookups; i++) {
    const std::string address = "10.0.0." + std::to_string(i);
    fixture.server.set("n" + std::to_string(i) + ".example", kA, {a(address)});
    fixture.client->find_addresses(fixture.sources, "n" + std::to_string(i) + ".example",
                                   [&, address](const Answer& answer) {
                                     ended++;
                                     right += texts(answer) == Names{address};
                                   });
  }
  CHECK(fixture.client->running() == kLookups);
  fixture.loop.until([&] { return ended == kLookups; });
  CHECK(right == kLookups);
  CHECK(fixture.client->running() == 0);
}

TEST_CASE("dns: a client that goes does not call back, and may go while it does") {
  Fixture fixture;
  fixture.server.set("db.example", kA, {a("10.0.0.1")});
  fixture.server.set("silent.example", kA, Reply{.silent = true});
  int called = 0;
  fixture.client->find_addresses(fixture.sources, "silent.example", [&](const Answer&) { called += 100; });
  fixture.client->find_addresses(fixture.sources, "localhost", [&](const Answer&) { called += 100; });
  fixture.client.emplace(fixture.loop.get());
  for (int i = 0; i < 3; i++) {
    fixture.client->find_addresses(fixture.sources, "localhost", [&](const Answer&) {
      called++;
      fixture.client.reset();
    });
  }
  fixture.client->find_addresses(fixture.sources, "db.example", [&](const Answer&) { called += 100; });
  fixture.loop.until([&] { return called > 0; });
  int turns = 0;
  fixture.loop.until([&] { return turns++ > 20; });
  CHECK(called == 1);
}

}  // namespace
}  // namespace bezel::dns
