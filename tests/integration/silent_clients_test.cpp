// Ten thousand clients that promise much and send little: they cost next to nothing, take nobody's place, and go.

#include <doctest/doctest.h>
#include <sys/resource.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <string>
#include <thread>
#include <vector>

#include "integration/bezel_process.h"
#include "integration/certificates.h"
#include "integration/loopback.h"
#include "integration/raw_client.h"
#include "integration/waiting.h"

using namespace bezel::integration;

namespace {

constexpr size_t kSilentClients = 10'000;
/// What the test and the pooler have open besides.
constexpr size_t kOtherDescriptors = 200;

/// How many descriptors this process and those that it starts may have, raised as far as it goes.
size_t raise_open_files() {
  rlimit limit{};
  getrlimit(RLIMIT_NOFILE, &limit);
  limit.rlim_cur = limit.rlim_max;
  setrlimit(RLIMIT_NOFILE, &limit);
  return limit.rlim_cur;
}

/// What one of them says at first; then it is silent, or goes on with a byte a second.
const std::array<std::string, 5>& openings() {
  static const std::array<std::string, 5> all = {
      "",
      int32_bytes(10004) + int32_bytes(3 << 16),  // the longest startup packet, and nothing of it
      int32_bytes(8) + int32_bytes(80877103),     // a handshake that does not come
      startup_packet("app", "app"),               // a proof that does not come
      startup_packet("app", "app"),               // the longest that is allowed, and nothing of it
  };
  return all;
}

}  // namespace

TEST_CASE("ten thousand clients that promise 2 GB and send nothing, or a byte a second") {
  const size_t allowed = raise_open_files();
  const size_t count = std::min(kSilentClients, allowed > kOtherDescriptors ? allowed - kOtherDescriptors : 0);
  if (count < kSilentClients) {
    MESSAGE("the limit of open files is " << allowed << ": only " << count << " clients; `ulimit -Hn 20000` for all");
  }
  REQUIRE(count > 100);
  CertificateAuthority authority;
  const Certificate certificate = authority.issue("server", "server");
  BezelProcess bezel({.settings = {{"log_level", "info"},
                                   {"client_login_timeout", "15s"},
                                   {"listen_backlog", "4096"},
                                   {"max_client_conn", "20000"},
                                   {"client_tls_sslmode", "prefer"},
                                   {"client_tls_cert_file", certificate.certificate},
                                   {"client_tls_key_file", certificate.key}}});
  REQUIRE(bezel.connect().value("SELECT 1") == "1");
  const uint64_t before = bezel.process().resident_bytes();

  // A promise that is too large is not waited for.
  for (const uint32_t length : {0x7fffffffu, 0xffffffffu}) {
    RawClient startup(own_address(), bezel.port()), password(own_address(), bezel.port());
    startup.send(int32_bytes(length) + int32_bytes(3 << 16));
    CHECK(sqlstate_of(startup.read_to_end().back()) == "08P01");
    password.send(startup_packet("app", "app"));
    REQUIRE(password.read_frame());
    password.send("p" + int32_bytes(length));
    CHECK(sqlstate_of(password.read_to_end().back()) == "08P01");
  }

  std::vector<RawClient> silent;
  silent.reserve(count);
  for (size_t i = 0; i < count; i++) {
    silent.emplace_back(own_address(), bezel.port());
    silent.back().send(openings()[i % openings().size()]);
  }
  wait_until("all are there", [&] { return bezel.process().descriptor_count() >= count; });
  for (size_t i = openings().size() - 1; i < count; i += openings().size()) {
    REQUIRE(silent[i].read_frame());
    silent[i].send("p" + int32_bytes(65535));
  }
  std::atomic<bool> over{false};
  std::thread trickle([&] {
    while (!over) {
      for (size_t i = 0; i < count && !over; i += 2) silent[i].send(std::string(1, '\0'));
      std::this_thread::sleep_for(std::chrono::seconds(1));
    }
  });
  // Others come and work, as long as these are there.
  size_t logins = 0;
  wait_until("all have gone", [&] {
    if (PgConnection(bezel.conninfo()).connected()) logins++;
    if (PgConnection(bezel.conninfo("sslmode=require")).connected()) logins++;
    std::this_thread::sleep_for(std::chrono::milliseconds(100));
    return bezel.process().descriptor_count() <= kOtherDescriptors;
  });
  over = true;
  trickle.join();
  CHECK(logins > 20);
  CHECK(bezel.process().resident_bytes_peak() < before + 50u * 1024 * 1024);
}
