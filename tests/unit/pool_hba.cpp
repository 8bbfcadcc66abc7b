#include <doctest/doctest.h>

#include <string>
#include <vector>

#include "pool/hba.h"

using namespace bezel::pool;

namespace {

HbaRule rule(HbaTransport transport, AuthType method) {
  HbaRule made;
  made.transport = transport;
  made.databases.all = made.users.all = true;
  made.method = method;
  return made;
}

HbaClient by_tcp(const std::string& address, bool is_encrypted = false) {
  return {.is_local = false,
          .address = IpAddress::parse(address),
          .is_encrypted = is_encrypted,
          .database = "app",
          .user = "alice"};
}

HbaClient by_socket() {
  return {.is_local = true, .address = {}, .is_encrypted = false, .database = "app", .user = "alice"};
}

bool matches(const HbaRule& one, const HbaClient& client) {
  return HbaRules({one}).match(client) != nullptr;
}

IpNetwork network(const std::string& address, int bits) {
  return IpNetwork::of_prefix(*IpAddress::parse(address), bits);
}

}  // namespace

TEST_CASE("hba: the way a client comes") {
  struct Expected {
    HbaTransport transport;
    bool local, plain, encrypted;
  };
  for (const Expected& expected :
       {Expected{HbaTransport::local, true, false, false}, Expected{HbaTransport::host, false, true, true},
        Expected{HbaTransport::hostssl, false, false, true}, Expected{HbaTransport::hostnossl, false, true, false}}) {
    const HbaRule one = rule(expected.transport, AuthType::trust);
    CHECK(matches(one, by_socket()) == expected.local);
    CHECK(matches(one, by_tcp("192.0.2.1")) == expected.plain);
    CHECK(matches(one, by_tcp("192.0.2.1", true)) == expected.encrypted);
    CHECK_FALSE(matches(one, by_tcp("not an address")));
  }
}

TEST_CASE("hba: addresses") {
  HbaRule one = rule(HbaTransport::host, AuthType::trust);
  CHECK(matches(one, by_tcp("::1")));
  one.network = network("10.1.0.0", 16);
  CHECK(matches(one, by_tcp("10.1.255.255")));
  CHECK_FALSE(matches(one, by_tcp("10.2.0.0")));
  CHECK_FALSE(matches(one, by_tcp("a01::")));
  one.network = network("10.1.2.3", 16);  // bits beyond the mask do not count
  CHECK(matches(one, by_tcp("10.1.9.9")));
  one.network = network("0.0.0.0", 0);
  CHECK(matches(one, by_tcp("203.0.113.9")));
  CHECK_FALSE(matches(one, by_tcp("::1")));
  one.network = network("2001:db8::", 33);
  CHECK(matches(one, by_tcp("2001:db8:7fff::1")));
  CHECK_FALSE(matches(one, by_tcp("2001:db8:8000::1")));
  // A mask with holes, as PostgreSQL takes it.
  one.network = IpNetwork{*IpAddress::parse("10.0.0.5"), *IpAddress::parse("255.0.0.255")};
  CHECK(matches(one, by_tcp("10.77.88.5")));
  CHECK_FALSE(matches(one, by_tcp("10.77.88.6")));
}

TEST_CASE("hba: names") {
  HbaRule one = rule(HbaTransport::local, AuthType::trust);
  one.databases = {.all = false, .same_user = false, .names = {"x", "app"}};
  one.users = {.all = false, .same_user = false, .names = {"alice"}};
  CHECK(matches(one, by_socket()));
  one.users.names = {"Alice", "all"};
  CHECK_FALSE(matches(one, by_socket()));
  one.users.all = true;
  one.databases.names = {"x"};
  CHECK_FALSE(matches(one, by_socket()));
  one.databases = {.all = false, .same_user = true, .names = {}};
  HbaClient client = by_socket();
  CHECK_FALSE(matches(one, client));
  client.database = "alice";
  CHECK(matches(one, client));
  one.databases = {};
  CHECK_FALSE(matches(one, client));
}

TEST_CASE("hba: the first rule that is meant counts, and without one there is none") {
  HbaRule other_user = rule(HbaTransport::host, AuthType::trust);
  other_user.users = {.all = false, .same_user = false, .names = {"bob"}};
  HbaRule near = rule(HbaTransport::host, AuthType::reject);
  near.network = network("127.0.0.0", 8);
  const HbaRules rules({other_user, near, rule(HbaTransport::host, AuthType::md5)});
  REQUIRE(rules.match(by_tcp("127.0.0.9")) != nullptr);
  CHECK(rules.match(by_tcp("127.0.0.9"))->method == AuthType::reject);
  CHECK(rules.match(by_tcp("192.0.2.1"))->method == AuthType::md5);
  CHECK(rules.match(by_socket()) == nullptr);
  CHECK(HbaRules({}).match(by_socket()) == nullptr);
}
