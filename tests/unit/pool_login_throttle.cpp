#include <doctest/doctest.h>
#include <fmt/format.h>

#include <string>
#include <thread>
#include <vector>

#include "pool/login_throttle.h"

using bezel::pool::IpAddress;
using bezel::pool::LoginThrottle;

namespace {

constexpr int64_t kSecondUs = 1'000'000;

IpAddress address(const std::string& text) {
  const auto parsed = IpAddress::parse(text);
  REQUIRE(parsed);
  return *parsed;
}

}  // namespace

TEST_CASE("throttle: so many failures at once, then one in each share of the minute") {
  LoginThrottle throttle;
  const IpAddress guesser = address("192.0.2.1");
  int64_t now = 5 * kSecondUs;
  for (int i = 0; i < 6; i++) {
    CHECK(throttle.allows(guesser, 6, now));
    throttle.failed(guesser, 6, now);
  }
  CHECK_FALSE(throttle.allows(guesser, 6, now));
  CHECK_FALSE(throttle.allows(guesser, 6, now + 10 * kSecondUs - 1));
  now += 10 * kSecondUs;
  CHECK(throttle.allows(guesser, 6, now));
  CHECK(throttle.allows(guesser, 6, now));  // asking costs nothing
  throttle.failed(guesser, 6, now);
  CHECK_FALSE(throttle.allows(guesser, 6, now));
  // All is forgotten after a minute.
  now += 60 * kSecondUs;
  for (int i = 0; i < 6; i++) {
    CHECK(throttle.allows(guesser, 6, now));
    throttle.failed(guesser, 6, now);
  }
  CHECK_FALSE(throttle.allows(guesser, 6, now));
}

TEST_CASE("throttle: failures under way at the same time do not lock an address out for longer") {
  LoginThrottle throttle;
  const IpAddress guesser = address("192.0.2.1");
  for (int i = 0; i < 10'000; i++) throttle.failed(guesser, 6, 0);
  CHECK_FALSE(throttle.allows(guesser, 6, 10 * kSecondUs - 1));
  CHECK(throttle.allows(guesser, 6, 10 * kSecondUs));
}

TEST_CASE("throttle: every address for itself; IPv6 by /64") {
  LoginThrottle throttle;
  throttle.failed(address("192.0.2.1"), 1, 0);
  CHECK_FALSE(throttle.allows(address("192.0.2.1"), 1, 0));
  CHECK(throttle.allows(address("192.0.2.2"), 1, 0));
  throttle.failed(address("2001:db8:1:2::1"), 1, 0);
  CHECK_FALSE(throttle.allows(address("2001:db8:1:2:ffff::9"), 1, 0));
  CHECK(throttle.allows(address("2001:db8:1:3::1"), 1, 0));
  CHECK(throttle.addresses() == 2);
  // An IPv6 address with the bytes of an IPv4 one is another.
  CHECK(throttle.allows(address("c000:201::"), 1, 0));
}

TEST_CASE("throttle: a limit of 0 is none, and limits may change") {
  LoginThrottle throttle;
  const IpAddress guesser = address("192.0.2.1");
  for (int i = 0; i < 100; i++) throttle.failed(guesser, 0, 0);
  CHECK(throttle.addresses() == 0);
  for (int i = 0; i < 2; i++) throttle.failed(guesser, 2, 0);
  CHECK_FALSE(throttle.allows(guesser, 2, 0));
  CHECK(throttle.allows(guesser, 0, 0));
  for (int i = 0; i < 2; i++) throttle.failed(guesser, LoginThrottle::kLimitMax, 0);
  CHECK_FALSE(throttle.allows(guesser, 1, 0));
}

TEST_CASE("throttle: a clock that is a little behind does no harm") {
  LoginThrottle throttle;
  const IpAddress guesser = address("192.0.2.1");
  throttle.failed(guesser, 2, 10 * kSecondUs);
  throttle.failed(guesser, 2, 10 * kSecondUs - 5);
  CHECK_FALSE(throttle.allows(guesser, 2, 10 * kSecondUs - 10));
  CHECK(throttle.allows(guesser, 2, 40 * kSecondUs));
}

TEST_CASE("throttle: the table is bounded, and who failed longest ago is forgotten") {
  LoginThrottle throttle;
  const auto nth = [](size_t i) { return address(fmt::format("10.{}.{}.{}", i / 65536, i / 256 % 256, i % 256)); };
  for (size_t i = 0; i < LoginThrottle::kAddressesMax; i++) throttle.failed(nth(i), 1, 0);
  throttle.failed(nth(0), 1, 0);  // again: now the second one is the oldest
  CHECK(throttle.addresses() == LoginThrottle::kAddressesMax);
  throttle.failed(nth(LoginThrottle::kAddressesMax), 1, 0);
  CHECK(throttle.addresses() == LoginThrottle::kAddressesMax);
  CHECK_FALSE(throttle.allows(nth(0), 1, 0));
  CHECK(throttle.allows(nth(1), 1, 0));
  CHECK_FALSE(throttle.allows(nth(2), 1, 0));
  CHECK_FALSE(throttle.allows(nth(LoginThrottle::kAddressesMax), 1, 0));
}

TEST_CASE("throttle: any thread") {
  LoginThrottle throttle;
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; t++) {
    threads.emplace_back([&throttle, t] {
      for (int i = 0; i < 5000; i++) {
        const IpAddress one = *IpAddress::parse(fmt::format("10.{}.{}.1", i % 2 == 0 ? 9 : t, i % 200));
        throttle.failed(one, 3, i);
        throttle.allows(one, 3, i);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  CHECK(throttle.addresses() == 500);
}

TEST_CASE("IP addresses") {
  for (const char* wrong : {"", "1.2.3", "1.2.3.4.5", "1.2.3.256", "1.2.3.4 ", "db.example", "::1%lo", "[::1]",
                            "1::2::3", "unix", "1.2.3.4/8", "0000:0000:0000:0000:0000:0000:0000:0000:0000:0000"}) {
    CAPTURE(std::string(wrong));
    CHECK_FALSE(IpAddress::parse(wrong));
  }
  CHECK_FALSE(IpAddress::parse(std::string_view("1.2.3.4\0", 8)));
  CHECK(address("1.2.3.4").bytes[3] == 4);
  CHECK(address("::1").bytes[15] == 1);
  CHECK(address("255.255.255.255").prefix(13) == address("255.248.0.0"));
  CHECK(address("1.2.3.4").prefix(0) == address("0.0.0.0"));
  CHECK(address("1.2.3.4").prefix(32) == address("1.2.3.4"));
  CHECK(address("2001:db8:ffff::1").prefix(33) == address("2001:db8:8000::"));
}
