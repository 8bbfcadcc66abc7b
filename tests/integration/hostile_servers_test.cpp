// Servers that break the protocol: the login fails or the connection goes, and Bezel lives.

#include <doctest/doctest.h>

#include <string>
#include <thread>
#include <vector>

#include "integration/bezel_process.h"
#include "integration/fake_server.h"
#include "integration/loopback.h"
#include "integration/messages.h"
#include "integration/raw_client.h"
#include "integration/waiting.h"
#include "protocol/messages.h"

using namespace bezel::integration;

namespace {

Configuration configuration_for(const FakeServer& server) {
  return {.settings = {{"server_tls_sslmode", "disable"},  // scripts begin with the startup packet
                       {"server_login_retry", "50ms"},
                       {"server_connect_timeout", "100ms"},
                       {"query_wait_timeout", "150ms"},
                       {"workers", "1"}},
          .databases = {{"app", server.database("user=app password=app-secret")}}};
}

/// What a client gets from a pool whose server follows the script from the startup packet on: the first error's text.
std::string refusal_by(const FakeServer::Script& after_startup, std::string* log = nullptr) {
  FakeServer server([&](RawClient& peer) {
    if (FakeServer::read_startup(peer)) after_startup(peer);
  });
  BezelProcess bezel(configuration_for(server));
  const uint64_t before = bezel.process().resident_bytes();
  PgConnection client(bezel.conninfo());
  const bool served = client.connected() && client.exec("SELECT 1").ok();
  CHECK_FALSE(served);
  CHECK(bezel.process().running());
  CHECK(bezel.process().resident_bytes_peak() < before + 30u * 1024 * 1024);
  // Others, and the console, go on.
  CHECK(bezel.console().exec("SHOW VERSION").ok());
  if (log != nullptr) *log = bezel.log();
  return client.error();
}

std::string authentication(uint32_t code, const std::string& payload = "") {
  return frame_bytes('R', int32_bytes(code) + payload);
}

std::string sasl() {
  return authentication(10, std::string("SCRAM-SHA-256\0\0", 15));
}

/// The client's nonce in its first SCRAM message.
std::string nonce_in(const Frame& initial) {
  const size_t at = initial.body.find(",r=");
  return at == std::string::npos ? "" : initial.body.substr(at + 3);
}

/// Offers SCRAM and answers the client's first message with what `challenge` makes of its nonce.
FakeServer::Script scram_with(std::string (*challenge)(const std::string& nonce)) {
  return [challenge](RawClient& peer) {
    peer.send(sasl());
    const auto initial = peer.read_frame();
    if (!initial) return;
    peer.send(authentication(11, challenge(nonce_in(*initial))));
    peer.read_to_end();
  };
}

FakeServer::Script says(const std::string& bytes) {
  return [bytes](RawClient& peer) {
    peer.send(bytes);
    peer.read_to_end();
  };
}

}  // namespace

TEST_CASE("SCRAM challenges that no PostgreSQL sends (CVE-2026-6665)") {
  using Challenge = std::string (*)(const std::string&);
  const Challenge challenges[] = {
      [](const std::string&) { return std::string(); },
      [](const std::string& nonce) { return "r=" + nonce; },
      [](const std::string& nonce) { return "r=" + nonce + ",s=c2FsdA==,i=4096"; },  // nothing of its own in the nonce
      [](const std::string& nonce) { return "r=" + nonce + "x"; },
      [](const std::string& nonce) { return "r=" + nonce + "x,s=c2FsdA=="; },
      [](const std::string& nonce) { return "r=" + nonce + "x,i=4096"; },
      [](const std::string& nonce) { return "s=c2FsdA==,i=4096,r=" + nonce + "x"; },
      [](const std::string& nonce) { return "r=" + nonce + "x,s=,i=4096"; },
      [](const std::string& nonce) { return "r=" + nonce + "x,s=%%%,i=4096"; },
      [](const std::string& nonce) { return "r=" + nonce + "x,s=c2FsdA==,i=0"; },
      [](const std::string& nonce) { return "r=" + nonce + "x,s=c2FsdA==,i=-1"; },
      [](const std::string& nonce) { return "r=" + nonce + "x,s=c2FsdA==,i=2147483648"; },
      [](const std::string& nonce) { return "r=" + nonce + "x,s=c2FsdA==,i=2147483647"; },
      [](const std::string& nonce) { return "r=" + nonce + "x,s=c2FsdA==,i=4096x"; },
      [](const std::string& nonce) { return "r=" + nonce + std::string(65000, 'n') + ",s=c2FsdA==,i=4096"; },
      [](const std::string& nonce) { return "r=" + nonce + "x,s=" + std::string(65000, 'A') + ",i=4096"; },
      [](const std::string&) { return std::string("r=another,s=c2FsdA==,i=4096"); },
      [](const std::string&) { return std::string("e=other-error"); },
      [](const std::string&) { return std::string(3000, ','); },
  };
  for (const Challenge challenge : challenges) CHECK(refusal_by(scram_with(challenge)) != "");
}

TEST_CASE("a server that skips its part of SCRAM") {
  const std::string after_challenge = refusal_by([](RawClient& peer) {
    peer.send(sasl());
    if (peer.read_frame()) peer.send(FakeServer::greeting());
    peer.read_to_end();
  });
  CHECK(after_challenge != "");
  CHECK(refusal_by([](RawClient& peer) {
          peer.send(sasl());
          const auto initial = peer.read_frame();
          if (!initial) return;
          peer.send(authentication(11, "r=" + nonce_in(*initial) + "x,s=c2FsdA==,i=4096"));
          peer.read_frame();
          peer.send(FakeServer::greeting());  // no proof that it knows the password
          peer.read_to_end();
        }) != "");
  CHECK(refusal_by([](RawClient& peer) {
          peer.send(sasl());
          const auto initial = peer.read_frame();
          if (!initial) return;
          peer.send(authentication(11, "r=" + nonce_in(*initial) + "x,s=c2FsdA==,i=4096"));
          peer.read_frame();
          peer.send(authentication(12, "v=AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=") + FakeServer::greeting());
          peer.read_to_end();
        }) != "");
}

TEST_CASE("logins that make no sense") {
  const std::vector<std::string> nonsense = {
      authentication(11, "r=x"),
      authentication(12, "v=x"),
      authentication(10, ""),
      authentication(10, std::string("UNKNOWN\0\0", 9)),
      authentication(10, "SCRAM-SHA-256"),
      authentication(5, "abc"),
      authentication(5, "abcde"),
      authentication(7),
      authentication(0xffffffffu),
      frame_bytes('R', ""),
      frame_bytes('R', std::string("\0\0", 2)),
      frame_bytes('Z', "I"),  // without authentication
      authentication(0) + frame_bytes('Z', "X"),
      authentication(0) + frame_bytes('Z', ""),
      authentication(0) + frame_bytes('K', "abc"),
      authentication(0) + frame_bytes('S', "TimeZone"),
      authentication(0) + frame_bytes('D', std::string("\0\0", 2)),
      authentication(0) + frame_bytes('T', std::string("\0\0", 2)),
      "R" + int32_bytes(3),
      "R" + int32_bytes(0),
      "R" + int32_bytes(0x7fffffff) + "x",
      "S" + int32_bytes(0xffffffffu),
      "N",
      "HTTP/1.1 400 Bad Request\r\n\r\n",
      std::string(1'000'000, '\0'),
      authentication(0) + authentication(10, std::string("SCRAM-SHA-256\0\0", 15)),
  };
  for (const std::string& bytes : nonsense) {
    CAPTURE(bytes.substr(0, 40));
    CHECK(refusal_by(says(bytes)) != "");
  }
}

TEST_CASE("errors during the login, with fields missing (CVE-2026-6666)") {
  const auto field = [](char code, const std::string& text) { return code + text + std::string(1, '\0'); };
  const std::string s = field('S', "FATAL"), v = field('V', "FATAL"), c = field('C', "28000"),
                    m = field('M', "go away");
  const std::string end(1, '\0');
  for (const std::string& body :
       {s + v + c + m + end, v + c + m + end, s + v + m + end, s + v + c + end, s + c + m + end, end, std::string(), s,
        std::string("SFATAL"), std::string("M"), c + end, field('C', "28") + m + end,
        field('M', std::string(60'000, 'm')) + end, field('M', "line\nbreak\x1b[31m") + c + end}) {
    std::string log;
    CHECK(refusal_by(says(frame_bytes('E', body)), &log) != "");
    CHECK(log.find("\nbreak") == std::string::npos);
    CHECK(log.find('\x1b') == std::string::npos);
  }
}

TEST_CASE("errors in answers, with fields missing, reach the client as they are") {
  FakeServer server([](RawClient& peer) {
    if (!FakeServer::log_in(peer)) return;
    const std::string end(1, '\0');
    const std::string bodies[] = {end, std::string(), std::string("Mjust a message\0\0", 17),
                                  std::string("C42601\0\0", 8), std::string("no end")};
    for (size_t i = 0; const auto frame = peer.read_frame(); i++) {
      if (frame->type == 'Q') peer.send(frame_bytes('E', bodies[i % std::size(bodies)]) + frame_bytes('Z', "I"));
    }
  });
  BezelProcess bezel(configuration_for(server));
  RawClient client(own_address(), bezel.port());
  REQUIRE(client.log_in("app", "app-secret", "app").back().type == 'Z');
  for (int i = 0; i < 5; i++) {
    client.send(Messages().query("SELECT 1").bytes());
    const auto frames = client.read_until('Z');
    CHECK(frames.size() == 2);
    CHECK(frames.front().type == 'E');
  }
  CHECK(bezel.process().running());
}

TEST_CASE("what a server sends while nobody has asked it anything") {
  struct Case {
    const char* name;
    std::string bytes;
  };
  const Case cases[] = {
      {"DataRow", frame_bytes('D', std::string("\0\1\0\0\0\1x", 7))},
      {"ReadyForQuery", frame_bytes('Z', "I")},
      {"ReadyForQuery in a transaction", frame_bytes('Z', "T")},
      {"CommandComplete", frame_bytes('C', std::string("SELECT 1\0", 9))},
      {"CopyInResponse", frame_bytes('G', std::string("\0\0\0", 3))},
      {"half a message", std::string("D\0\0\0\x0a", 5)},
      {"a message of length 0", std::string("D\0\0\0\0", 5)},
      {"garbage", "garbage garbage"},
      {"an endless message", "D" + int32_bytes(0x7fffffff) + std::string(100'000, 'x')},
  };
  for (const Case& one : cases) {
    INFO(std::string(one.name));
    std::atomic<int> logins{0};
    FakeServer server([&](RawClient& peer) {
      if (!FakeServer::log_in(peer)) return;
      if (logins++ == 0) {
        // Answers the first query, then breaks the rules once it is idle.
        const auto frame = peer.read_frame();
        if (!frame) return;
        peer.send(frame_bytes('C', std::string("SELECT 0\0", 9)) + frame_bytes('Z', "I"));
        std::this_thread::sleep_for(std::chrono::milliseconds(50));
        peer.send(one.bytes);
        std::this_thread::sleep_for(std::chrono::milliseconds(100));
      }
      FakeServer::answer_queries(peer, "right");
    });
    BezelProcess bezel(configuration_for(server));
    PgConnection client = bezel.connect();
    CHECK(client.exec("SELECT 1").ok());
    std::this_thread::sleep_for(std::chrono::milliseconds(100));
    // Whether it goes on with that server or a new one: no stray message is taken for an answer.
    PgConnection next = bezel.connect();
    const PgResult result = next.exec("SELECT 2");
    CHECK(result.value() == "right");
    CHECK(bezel.process().running());
  }
}

TEST_CASE("a server that answers byte by byte") {
  FakeServer server([](RawClient& peer) {
    if (!FakeServer::read_startup(peer)) return;
    peer.send_bytewise(FakeServer::greeting());
    while (const auto frame = peer.read_frame()) {
      if (frame->type != 'Q') continue;
      std::string answer;
      const std::optional<std::string_view> row = "byte by byte";
      const bezel::protocol::ColumnDescription column{"value"};
      bezel::protocol::append_row_description(answer, {&column, 1});
      bezel::protocol::append_data_row(answer, {&row, 1});
      bezel::protocol::append_command_complete(answer, "SELECT 1");
      bezel::protocol::append_parameter_status(answer, "TimeZone", "Asia/Tokyo");
      bezel::protocol::append_ready_for_query(answer, 'I');
      peer.send_bytewise(answer);
    }
  });
  BezelProcess bezel(configuration_for(server));
  PgConnection client = bezel.connect();
  for (int i = 0; i < 3; i++) CHECK(client.value("SELECT 1") == "byte by byte");
  CHECK(client.parameter_status("TimeZone") == "Asia/Tokyo");
}

TEST_CASE("answers of impossible lengths") {
  for (const uint32_t declared : {0u, 3u, 0x80000000u, 0xffffffffu}) {
    FakeServer server([declared](RawClient& peer) {
      if (!FakeServer::log_in(peer)) return;
      peer.read_frame();
      peer.send("D" + int32_bytes(declared) + "xxxx");
      peer.read_to_end();
    });
    BezelProcess bezel(configuration_for(server));
    PgConnection client = bezel.connect();
    CHECK_FALSE(client.exec("SELECT 1").ok());
    CHECK(bezel.process().running());
  }
}

TEST_CASE("a server that never stops talking during the login is cut off") {
  CHECK(refusal_by([](RawClient& peer) {
          const std::string notice = frame_bytes('N', std::string("Mlong\0\0", 7));
          std::string many;
          for (int i = 0; i < 1000; i++) many += notice;
          while (peer.send(many)) {
          }
        }) != "");
}

TEST_CASE("ParameterStatus without end does not fill the memory") {
  CHECK(refusal_by([](RawClient& peer) {
          peer.send(authentication(0));
          for (int i = 0; i < 1'000'000; i++) {
            std::string status;
            bezel::protocol::append_parameter_status(status, "parameter_" + std::to_string(i), std::string(200, 'v'));
            if (!peer.send(status)) return;
          }
        }) != "");
}
