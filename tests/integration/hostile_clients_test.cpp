// Bytes that no honest client sends, above all before its login: refused, bounded, survived.

#include <doctest/doctest.h>

#include <string>
#include <thread>
#include <vector>

#include "integration/bezel_process.h"
#include "integration/loopback.h"
#include "integration/messages.h"
#include "integration/postgres_server.h"
#include "integration/raw_client.h"
#include "integration/victim.h"
#include "integration/waiting.h"
#include "protocol/messages.h"

using namespace bezel::integration;

namespace {

/// The pooler of all these tests.
BezelProcess& victim() {
  static BezelProcess bezel({.settings = {{"log_level", "info"}, {"max_client_conn", "2000"}}});
  return bezel;
}

RawClient logged_in(const Victim& bezel) {
  RawClient raw = bezel.client();
  REQUIRE(raw.log_in("app", "app-secret", "app").back().type == 'Z');
  return raw;
}

/// The answer to bytes that end a connection: SQLSTATE and message of the last frame, or "closed".
std::string end_after(RawClient client, const std::string& bytes) {
  client.send(bytes);
  const auto frames = client.read_to_end();
  if (frames.empty()) return "closed";
  CHECK(frames.back().type == 'E');
  return sqlstate_of(frames.back()) + " " + message_of(frames.back());
}

std::string with_length(uint32_t length, const std::string& rest) {
  return int32_bytes(length) + rest;
}

const std::string kVersion3 = int32_bytes(3 << 16);

}  // namespace

TEST_CASE("startup packets whose length is a lie (PgCat's startup length)") {
  Victim bezel(victim());
  for (const uint32_t length : {0u, 3u, 4u, 7u, 0xffffffffu, 0x7fffffffu, 0x80000000u, 10005u, 1000000u}) {
    CAPTURE(length);
    CHECK(end_after(bezel.client(), with_length(length, kVersion3)) == "08P01 invalid length of startup packet");
  }
  // A header and nothing else: no user.
  CHECK(end_after(bezel.client(), with_length(8, kVersion3)) ==
        "08P01 invalid startup packet layout: expected terminator as last byte");
  CHECK(end_after(bezel.client(), with_length(9, kVersion3 + std::string(1, '\0'))) ==
        "28000 no PostgreSQL user name specified in startup packet");
}

TEST_CASE("the longest startup packet that is allowed, and one byte more") {
  Victim bezel(victim());
  for (const size_t length : {10000u, 10004u, 10005u}) {
    std::string packet = startup_packet("app", "app", 0, {{"application_name", ""}});
    const size_t missing = length - packet.size();
    packet = startup_packet("app", "app", 0, {{"application_name", std::string(missing, 'n')}});
    REQUIRE(packet.size() == length);
    RawClient client = bezel.client();
    client.send(packet);
    const auto frames = client.authenticate("app-secret", "app");
    REQUIRE_FALSE(frames.empty());
    CHECK((frames.back().type == 'Z') == (length <= 10004));
  }
}

TEST_CASE("a startup packet that ends at each of its bytes") {
  Victim bezel(victim());
  const std::string packet = startup_packet("app", "app", 2, {{"application_name", "x"}});
  for (size_t length = 0; length < packet.size(); length++) {
    RawClient client = bezel.client();
    client.send(packet.substr(0, length));
    client.shut_down_sending();
    CHECK(client.read_to_end().empty());
  }
}

TEST_CASE("bytes behind an SSLRequest, a GSSENCRequest, and the startup packet (CVE-2021-3935)") {
  Victim bezel(victim());
  for (const uint32_t code : {80877103u, 80877104u}) {
    RawClient polite = bezel.client();
    polite.send(with_length(8, int32_bytes(code)));
    CHECK(polite.read_byte() == 'N');
    CHECK(polite.log_in("app", "app-secret", "app").back().type == 'Z');

    const std::string eager =
        end_after(bezel.client(), with_length(8, int32_bytes(code)) + startup_packet("app", "app"));
    CHECK(eager.substr(0, 5) == "08P01");
    CHECK(end_after(bezel.client(), with_length(12, int32_bytes(code) + "more")).substr(0, 5) == "08P01");
  }
  // Refused twice, then in clear text: as libpq does it.
  RawClient both = bezel.client();
  both.send(with_length(8, int32_bytes(80877104)));
  CHECK(both.read_byte() == 'N');
  both.send(with_length(8, int32_bytes(80877103)));
  CHECK(both.read_byte() == 'N');
  CHECK(both.log_in("app", "app-secret", "app").back().type == 'Z');
  CHECK(end_after(bezel.client(), startup_packet("app", "app") + "p").find("08P01") == 0);
}

TEST_CASE("encryption requests without end") {
  Victim bezel(victim());
  RawClient client = bezel.client();
  int answered = 0;
  for (int i = 0; i < 100 && client.send(with_length(8, int32_bytes(80877103))); i++) {
    const auto answer = client.read_byte();
    if (!answer || *answer != 'N') break;
    answered++;
  }
  CHECK(answered >= 1);
}

TEST_CASE("other protocol versions") {
  Victim bezel(victim());
  for (const uint32_t version : {0u, 1u << 16, 2u << 16, 4u << 16, 0xffffffffu}) {
    CHECK(end_after(bezel.client(), with_length(9, int32_bytes(version) + std::string(1, '\0'))).substr(0, 5) ==
          "0A000");
  }
}

TEST_CASE("cancel requests of strange lengths (PgDog's CancelRequest)") {
  Victim bezel(victim());
  for (const uint32_t length : {8u, 12u, 15u, 16u, 44u, 268u, 269u, 10000u}) {
    CAPTURE(length);
    RawClient client = bezel.client();
    client.send(with_length(length, int32_bytes(80877102) + std::string(length - 8, '\1')));
    for (const Frame& frame : client.read_to_end()) CHECK(frame.type == 'E');
  }
  // Nothing is set aside for what is only promised.
  const uint64_t before = bezel->process().resident_bytes();
  for (const uint32_t length : {0x7fffffffu, 0xffffffffu}) {
    CHECK(end_after(bezel.client(), with_length(length, int32_bytes(80877102))) ==
          "08P01 invalid length of startup packet");
  }
  CHECK(bezel->process().resident_bytes_peak() < before + 50u * 1024 * 1024);
}

TEST_CASE("names of all lengths (CVE-2012-4575)") {
  Victim bezel(victim());
  for (const size_t length : {1u, 63u, 64u, 65u, 4000u}) {
    CAPTURE(length);
    const std::string name(length, 'n');
    RawClient user = bezel.client();
    CHECK(sqlstate_of(user.log_in(name, "x", "app").back()) == "28P01");
    RawClient database = bezel.client();
    CHECK(sqlstate_of(database.log_in("app", "app-secret", name).back()) == "3D000");
    RawClient application = bezel.client();
    CHECK(application.log_in("app", "app-secret", "app", 0, {{"application_name", name}}).back().type == 'Z');
  }
  for (const std::string& name : {std::string("\xff\xfe\x80"), std::string("a\nb\rc"), std::string("%s%n%p")}) {
    RawClient user = bezel.client();
    CHECK(sqlstate_of(user.log_in(name, "x", "app").back()) == "28P01");
    RawClient database = bezel.client();
    CHECK(sqlstate_of(database.log_in("app", "app-secret", name).back()) == "3D000");
  }
  // As long as a packet can take, and none at all.
  for (const std::string& name : {std::string(9900, 'n'), std::string()}) {
    CAPTURE(name.size());
    RawClient user = bezel.client();
    CHECK(user.log_in(name, "x", "app").back().type == 'E');
    RawClient database = bezel.client();
    // No name of a database is the user's.
    CHECK((database.log_in("app", "app-secret", name).back().type == 'Z') == name.empty());
  }
  // A line break in a name must not make a line of its own in the log.
  CHECK(bezel->log().find("\nb") == std::string::npos);
  const std::string twice = startup_packet("app", "app", 0, {{"user", "nobody"}});
  RawClient client = bezel.client();
  client.send(twice);
  CHECK(sqlstate_of(client.authenticate("app-secret", "app").back()) == "28P01");
}

TEST_CASE("authenticated clients that promise 2 GB and send little") {
  Victim bezel(victim());
  const uint64_t before = bezel->process().resident_bytes();
  std::vector<RawClient> clients;
  for (int i = 0; i < 20; i++) {
    clients.push_back(logged_in(bezel));
    // Each of these must wait for the rest; none may be given room for it.
    const char type = "QPBDCd"[i % 6];
    clients.back().send(type + int32_bytes(0x7fffffff) + std::string("name\0text", 9));
  }
  std::this_thread::sleep_for(std::chrono::milliseconds(100));
  CHECK(bezel->process().resident_bytes_peak() < before + 50u * 1024 * 1024);
}

TEST_CASE("broken SASL messages (CVE-2026-6664)") {
  Victim bezel(victim());
  const auto attempt = [&](const std::string& bytes) {
    RawClient client = bezel.client();
    client.send(startup_packet("app", "app"));
    REQUIRE(client.read_frame());
    client.send(bytes);
    client.shut_down_sending();
    const auto frames = client.read_to_end();
    if (frames.empty()) return std::string("closed");
    return std::string(1, frames.back().type) + " " + sqlstate_of(frames.back());
  };
  std::string initial;
  bezel::protocol::append_sasl_initial_response(initial, "SCRAM-SHA-256", "n,,n=,r=nonce");
  const auto initial_with_length = [](uint32_t length, const std::string& data) {
    return frame_bytes('p', std::string("SCRAM-SHA-256\0", 14) + int32_bytes(length) + data);
  };
  for (const uint32_t length : {0u, 5u, 100u, 0x7fffffffu, 0xfffffffeu, 0x80000000u}) {
    CAPTURE(length);
    CHECK(attempt(initial_with_length(length, "n,,n=,r=nonce")) == "E 08P01");
  }
  CHECK(attempt(initial_with_length(0xffffffffu, "")) ==
        "E 08P01");  // no initial response: allowed by the RFC, not here
  CHECK(attempt(frame_bytes('p', "")) == "E 08P01");
  CHECK(attempt(frame_bytes('p', std::string("UNKNOWN\0\0\0\0\0", 12))) == "E 08P01");
  for (const uint32_t declared : {0u, 1u, 3u, 0x7fffffffu, 0xffffffffu, 70000u}) {
    CHECK(attempt("p" + int32_bytes(declared)) == "E 08P01");
  }
  CHECK(attempt(frame_bytes('Q', std::string("SELECT 1\0", 9))) == "E 08P01");
  for (const char* first : {"", "n", "n,,", "n,,n=", "n,,n=,r=", "x,,n=,r=a", "p=tls-unique,,n=,r=a",
                            "n,a=you,n=,r=abc", "n,,m=ext,n=,r=a", "n,,n=,r=a\x01", "n,,r=a", "y,,n=,r=,,,,"}) {
    std::string message;
    bezel::protocol::append_sasl_initial_response(message, "SCRAM-SHA-256", first);
    INFO(std::string(first));
    CHECK(attempt(message).substr(0, 1) == "E");
  }
  CHECK(attempt(initial + frame_bytes('p', "c=biws,r=nonce,p=AAAA")).substr(0, 1) == "E");
  for (size_t length = 0; length < initial.size(); length++) attempt(initial.substr(0, length));
  for (const std::string& last : {std::string(), std::string("c="), std::string("c=biws,r=x,p="), std::string("c=biws"),
                                  std::string(5000, 'c')}) {
    RawClient client = bezel.client();
    client.send(startup_packet("app", "app"));
    REQUIRE(client.read_frame());
    client.send(initial);
    REQUIRE(client.read_frame());
    client.send(frame_bytes('p', last));
    const auto frames = client.read_to_end();
    REQUIRE_FALSE(frames.empty());
    CHECK(frames.back().type == 'E');
  }
}

TEST_CASE("passwords longer than any buffer (pgbouncer#1310, pgbouncer#1520)") {
  Victim bezel(victim());
  for (const char* auth_type : {"plain", "md5"}) {
    BezelProcess other({.settings = {{"auth_type", auth_type}}});
    for (const size_t length : {100u, 1000u, 8000u, 20000u, 1000000u}) {
      RawClient client(own_address(), other.port());
      client.send(startup_packet("app", "app"));
      REQUIRE(client.read_frame());
      std::string message;
      bezel::protocol::append_password_message(message, std::string(length, 'p'));
      client.send(message);
      const auto frames = client.read_to_end();
      // So much may be refused with a reset behind the message that the message does not arrive.
      if (!frames.empty()) CHECK(frames.back().type == 'E');
    }
    CHECK(other.process().running());
  }
}

TEST_CASE("message lengths that lie") {
  Victim bezel(victim());
  for (const uint32_t declared : {0u, 1u, 3u, 0x80000000u, 0xffffffffu}) {
    for (const char type : {'Q', 'P', 'B', 'E', 'S', 'd', 'X', 'F'}) {
      CAPTURE(declared);
      CAPTURE(type);
      CHECK(end_after(logged_in(bezel), type + int32_bytes(declared)).substr(0, 5) == "08P01");
    }
  }
  CHECK(end_after(logged_in(bezel), "S" + int32_bytes(8) + "abcd").substr(0, 5) == "08P01");
}

TEST_CASE("statement names and definitions without bound") {
  Victim bezel(victim());
  const uint64_t before = bezel->process().resident_bytes();
  CHECK(end_after(logged_in(bezel), frame_bytes('B', std::string(1, '\0') + std::string(100'000, 'n'))).substr(0, 5) ==
        "08P01");
  CHECK(end_after(logged_in(bezel), frame_bytes('D', "S" + std::string(100'000, 'n') + std::string(1, '\0')))
            .substr(0, 5) == "08P01");
  CHECK(end_after(logged_in(bezel), "P" + int32_bytes(0x40000000) + "name").substr(0, 5) == "54000");
  RawClient many = logged_in(bezel);
  std::string flood;
  for (int i = 0; i < 70'000; i++) bezel::protocol::append_parse(flood, "s" + std::to_string(i), "SELECT 1");
  std::thread sender([&] { many.send(flood); });
  bool refused = false;
  while (const auto frame = many.read_frame()) refused = refused || frame->type == 'E';
  sender.join();
  CHECK(refused);
  CHECK(bezel->process().resident_bytes() < before + 60u * 1024 * 1024);
}

TEST_CASE("a client that pipelines without reading is held up, not collected") {
  Victim bezel(victim());
  const uint64_t before = bezel->process().resident_bytes();
  RawClient client = logged_in(bezel);
  const std::string query = Messages().query("SELECT repeat('x', 100000)").bytes();
  std::string flood;
  for (int i = 0; i < 2000; i++) flood += query;
  std::thread sender([&] { client.send(flood); });
  std::this_thread::sleep_for(std::chrono::milliseconds(500));
  CHECK(bezel->process().resident_bytes() < before + 20u * 1024 * 1024);
  for (int i = 0; i < 2000; i++) CHECK(client.read_until('Z').back().type == 'Z');
  sender.join();
}

TEST_CASE("replication connections are refused in so many words") {
  Victim bezel(victim());
  RawClient client = bezel.client();
  CHECK(message_of(client.log_in("app", "app-secret", "app", 0, {{"replication", "database"}}).back()) ==
        "replication connections are not supported");
}

TEST_CASE("random bytes, logged in and not") {
  Victim bezel(victim());
  uint32_t state = 12345;
  const auto next = [&] { return state = state * 1664525 + 1013904223; };
  for (int i = 0; i < 300; i++) {
    std::string bytes;
    const uint32_t length = next() % 300;
    for (uint32_t k = 0; k < length; k++) bytes += static_cast<char>(next() >> 24);
    RawClient client = i % 3 == 0 ? logged_in(bezel) : bezel.client();
    if (i % 3 == 1) bytes = with_length(static_cast<uint32_t>(bytes.size()) + 8, kVersion3 + bytes);
    client.send(bytes);
    client.shut_down_sending();
    client.read_to_end();
  }
}
