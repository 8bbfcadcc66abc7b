// Logins that are not what they seem, on either side of Bezel: each fails for the reason that it should, and no other.

#include <doctest/doctest.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "integration/bezel_process.h"
#include "integration/fake_server.h"
#include "integration/loopback.h"
#include "integration/raw_client.h"
#include "integration/victim.h"
#include "integration/waiting.h"
#include "protocol/messages.h"
#include "protocol/scram.h"
#include "protocol/secret.h"

using namespace bezel::integration;
namespace protocol = bezel::protocol;

namespace {

constexpr const char* kPlus = "SCRAM-SHA-256-PLUS";
constexpr const char* kScram = "SCRAM-SHA-256";

std::string authentication(uint32_t code, const std::string& payload = "") {
  return frame_bytes('R', int32_bytes(code) + payload);
}

std::string sasl(const std::vector<std::string_view>& mechanisms = {kScram}) {
  std::string request;
  protocol::append_authentication_sasl(request, mechanisms);
  return request;
}

std::string password_request() {
  return authentication(3);
}

std::string md5_request() {
  return authentication(5, "salt");
}

/// A server's part of SCRAM, in steps, so that any of them can be left out or replaced.
class ScramSteps {
 public:
  explicit ScramSteps(RawClient& peer, const std::string& password = "app-secret",
                      const std::string& nonce = "server-nonce")
      : peer_(peer), scram_(*protocol::derive_keys(password, "salt", 4096), "salt", 4096, nonce) {}

  /// Offers it and takes the client's first message; the answer to send.
  std::string challenge() {
    peer_.send(sasl());
    return challenge_after_offer();
  }
  std::string challenge_after_offer() {
    const auto frame = peer_.read_frame();
    const auto initial = protocol::decode_sasl_initial_response(frame.value().body);
    mechanism_ = initial.value().mechanism;
    first_ = initial->data.value();
    return authentication(11, scram_.client_first(first_).value());
  }
  /// Sends that and takes the proof; the answer to send.
  std::string signature() {
    peer_.send(challenge());
    return signature_after_challenge();
  }
  std::string signature_after_challenge() {
    const auto signature = scram_.client_final(peer_.read_frame().value().body);
    return authentication(12, signature.value());
  }
  const std::string& mechanism() const { return mechanism_; }
  const std::string& first() const { return first_; }

 private:
  RawClient& peer_;
  protocol::ScramServer scram_;
  std::string mechanism_, first_;
};

/// From the login's end on: whoever gets here is served.
void serve(RawClient& peer, const std::string& last_of_login = "") {
  peer.send(last_of_login + FakeServer::greeting());
  FakeServer::answer_queries(peer);
}

Configuration configuration_for(const FakeServer& server, const std::string& further = "") {
  return {.settings = {{"server_login_retry", "50ms"},
                       {"server_connect_timeout", "5s"},
                       {"query_wait_timeout", "300ms"},
                       {"server_tls_sslmode", "disable"},
                       {"workers", "1"}},
          .databases = {{"app", server.database("user=app password=app-secret " + further)}}};
}

/// Why Bezel's login to a server that follows the script failed, as the log says it; "served" if it did not.
std::string verdict_on(const FakeServer::Script& script, const std::string& further = "") {
  FakeServer server([&](RawClient& peer) {
    if (FakeServer::read_startup(peer)) script(peer);
  });
  BezelProcess bezel(configuration_for(server, further));
  {
    PgConnection client(bezel.conninfo());
    if (client.connected() && client.exec("SELECT 1").ok()) return "served";
  }
  const std::string mark = "login to " + own_address() + ":" + std::to_string(server.port()) + " failed: ";
  const std::string log = bezel.log();
  CHECK(log.find("app-secret") == std::string::npos);
  const size_t at = log.find(mark);
  if (at == std::string::npos) return "no failed login in: " + log;
  const size_t begin = at + mark.size();
  return log.substr(begin, log.find('\n', begin) - begin);
}

}  // namespace

TEST_CASE("a server that does SCRAM right is served from") {
  CHECK(verdict_on([](RawClient& peer) {
          ScramSteps scram(peer);
          serve(peer, scram.signature());
        }) == "served");
  // The longest nonce that is taken; one byte more is refused.
  for (const size_t added : {1u, 900u, 1000u, 1024u, 60000u}) {
    CAPTURE(added);
    const std::string verdict = verdict_on([&](RawClient& peer) {
      ScramSteps scram(peer, "app-secret", std::string(added, 'n'));
      serve(peer, scram.signature());
    });
    CHECK(verdict == (added <= 1000   ? "served"
                      : added == 1024 ? "the server's nonce is too long"
                                      : "malformed server-first-message: The message is too long."));
  }
}

TEST_CASE("a server that leaves out a part of SCRAM") {
  const std::string skipped = "server skipped its part of SCRAM";
  CHECK(verdict_on([](RawClient& peer) { serve(peer, sasl()); }) == skipped);
  CHECK(verdict_on([](RawClient& peer) {
          ScramSteps scram(peer);
          scram.challenge();
          serve(peer);
        }) == skipped);
  CHECK(verdict_on([](RawClient& peer) {
          ScramSteps scram(peer);
          serve(peer, scram.challenge());  // while the proof is being made
        }) == skipped);
  CHECK(verdict_on([](RawClient& peer) {
          ScramSteps scram(peer);
          scram.signature();
          serve(peer);
        }) == skipped);
  CHECK(verdict_on([](RawClient& peer) {
          ScramSteps scram(peer);
          peer.send(scram.signature());
          peer.send(frame_bytes('Z', "I"));  // no AuthenticationOk
          FakeServer::answer_queries(peer);
        }) == "server skipped authentication");
}

TEST_CASE("a server that does not know the password") {
  const std::string verdict = "incorrect server signature: the server does not know the password";
  for (const std::string& signature : {std::string("v=AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="),
                                       std::string("v=dGhlIHNpZ25hdHVyZSBvZiBub2JvZHkgYXQgYWxsLiE=")}) {
    CHECK(verdict_on([&](RawClient& peer) {
            ScramSteps scram(peer);
            scram.signature();
            serve(peer, authentication(12, signature));
          }) == verdict);
  }
  for (const char* broken : {"", "v=", "v=AAAA", "x", "v=AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=,x=y"}) {
    CHECK(verdict_on([&](RawClient& peer) {
            ScramSteps scram(peer);
            scram.signature();
            serve(peer, authentication(12, broken));
          }).find("malformed server-final-message") == 0);
  }
  CHECK(verdict_on([](RawClient& peer) {
          ScramSteps scram(peer);
          scram.signature();
          serve(peer, authentication(12, "e=invalid-proof"));
        }) == "the server refused the SCRAM exchange: invalid-proof");
}

TEST_CASE("steps of SASL in another order") {
  CHECK(verdict_on([](RawClient& peer) { serve(peer, sasl() + sasl()); }) == "server asks for SASL twice");
  CHECK(verdict_on([](RawClient& peer) {
          ScramSteps scram(peer);
          scram.signature();
          serve(peer, sasl());
        }) == "server asks for SASL twice");
  CHECK(verdict_on([](RawClient& peer) { serve(peer, authentication(11, "r=x,s=c2FsdA==,i=1")); }) ==
        "server continues SASL that was not begun");
  CHECK(verdict_on([](RawClient& peer) { serve(peer, authentication(12, "v=x")); }) ==
        "server ends SASL that was not begun");
  CHECK(verdict_on([](RawClient& peer) { serve(peer, sasl() + authentication(12, "v=x")); }) ==
        "server-final-message was not expected");
  CHECK(verdict_on([](RawClient& peer) {
          ScramSteps scram(peer);
          const std::string challenge = scram.challenge();
          serve(peer, challenge + challenge);
        }) == "server-first-message was not expected");
  CHECK(verdict_on([](RawClient& peer) {
          ScramSteps scram(peer);
          const std::string signature = scram.signature();
          serve(peer, signature + signature);
        }) == "server-final-message was not expected");
  const std::string once_more = "server asks for authentication once more";
  CHECK(verdict_on([](RawClient& peer) { serve(peer, authentication(0)); }) == once_more);
  for (const std::string& request : {password_request(), md5_request(), sasl()}) {
    CHECK(verdict_on([&](RawClient& peer) {
            peer.send(password_request());
            peer.read_frame();
            serve(peer, request);
          }) == once_more);
  }
}

TEST_CASE("a server that has begun SCRAM does not get the password") {
  for (const std::string& request : {password_request(), md5_request()}) {
    std::atomic<bool> got_more{false};
    CHECK(verdict_on([&](RawClient& peer) {
            ScramSteps scram(peer);
            peer.send(sasl());
            peer.read_frame();
            peer.send(request);
            if (peer.read_frame()) got_more = true;
          }) == "server asks for a password in the middle of SCRAM");
    CHECK_FALSE(got_more);
  }
}

TEST_CASE("errors of a server in the middle of SCRAM, with fields missing") {
  const std::string end(1, '\0');
  const auto with = [](const std::string& body) {
    return verdict_on([&](RawClient& peer) {
      ScramSteps scram(peer);
      scram.signature();
      peer.send(frame_bytes('E', body));
      peer.read_to_end();
    });
  };
  CHECK(with("SFATAL" + end + "Mgo away" + end + end) == "go away");  // no SQLSTATE
  CHECK(with("Mgo away" + end + end) == "go away");
  CHECK(with("SFATAL" + end + "C28P01" + end + end) == "server sent an error without a message");
  CHECK(with("") == "server sent an error without a message");
  CHECK(with("Mno end") == "server sent an error without a message");
}

TEST_CASE("SASL mechanisms that a server offers without TLS") {
  const auto right = [](std::vector<std::string_view> offered) {
    return [offered](RawClient& peer) {
      ScramSteps scram(peer);
      peer.send(sasl(offered));
      peer.send(scram.challenge_after_offer());
      // Neither bound, nor "I would have": there is no TLS.
      const bool plain = scram.mechanism() == kScram && scram.first().find("n,,") == 0;
      const std::string signature = scram.signature_after_challenge();
      if (plain) serve(peer, signature);
    };
  };
  const std::string stripped = "server offers SCRAM-SHA-256-PLUS on a connection that is not encrypted";
  CHECK(verdict_on(right({kScram})) == "served");
  CHECK(verdict_on(right({"OAUTHBEARER", kScram})) == "served");
  CHECK(verdict_on(right({kPlus, kScram})) == stripped);
  CHECK(verdict_on(right({kPlus})) == stripped);
  CHECK(verdict_on(right({kPlus, kScram}), "channel_binding=disable") == "served");
  CHECK(verdict_on(right({kPlus}), "channel_binding=disable") == "server offers no SASL mechanism that is supported");
  CHECK(verdict_on(right({})) == "server offers no SASL mechanism that is supported");
  CHECK(verdict_on(right({"SCRAM-SHA-1", "scram-sha-256"})) == "server offers no SASL mechanism that is supported");
}

TEST_CASE("channel_binding=require without TLS is no login, whatever the server asks for") {
  const std::string require = "channel_binding=require";
  CHECK(verdict_on([](RawClient& peer) { serve(peer, sasl()); }, require) ==
        "channel binding is required, but the connection is not encrypted");
  CHECK(verdict_on(
            [](RawClient& peer) {
              serve(peer, sasl({kPlus, kScram}));
            },
            require) == "channel binding is required, but the connection is not encrypted");
  CHECK(verdict_on([](RawClient& peer) { serve(peer); }, require) ==
        "channel binding is required, but the server did without it");
  for (const std::string& request : {password_request(), md5_request()}) {
    std::atomic<bool> got_more{false};
    CHECK(verdict_on(
              [&](RawClient& peer) {
                peer.send(request);
                if (peer.read_frame()) got_more = true;
              },
              require) ==
          "channel binding is required, but the server asks for a password in a way that cannot be bound");
    CHECK_FALSE(got_more);
  }
}

namespace {

/// The pooler of all these tests.
BezelProcess& victim() {
  static FakeServer server([](RawClient& peer) {
    if (FakeServer::read_startup(peer)) serve(peer);
  });
  static BezelProcess bezel(configuration_for(server));
  return bezel;
}

/// A client that has been asked for SASL.
RawClient asked_client(const Victim& bezel, const std::string& user = "app") {
  RawClient raw = bezel.client();
  raw.send(startup_packet(user, "app"));
  const auto request = raw.read_frame();
  REQUIRE(request);
  CHECK(frame_bytes('R', request->body) == sasl());  // without TLS there is nothing to bind to
  return raw;
}

std::string refusal(RawClient& client) {
  const auto frames = client.read_to_end();
  if (frames.empty()) return "closed";
  const auto fields = protocol::decode_error_fields(frames.back().body);
  if (!fields) return readable(frames.back());
  return std::string(fields->sqlstate) + " " + std::string(fields->message);
}

/// What a client gets for its first SASL message, if that is a refusal.
std::string first_refusal(const std::string& first, const std::string& mechanism = kScram) {
  const Victim bezel(victim());
  RawClient client = asked_client(bezel);
  std::string message;
  protocol::append_sasl_initial_response(message, mechanism, first);
  client.send(message);
  return refusal(client);
}

/// What it gets for its last one, made from the right one by `change`.
std::string last_refusal(const std::function<std::string(const std::string&)>& change) {
  const Victim bezel(victim());
  RawClient client = asked_client(bezel);
  protocol::ScramClient scram("client-nonce");
  std::string message;
  protocol::append_sasl_initial_response(message, kScram, scram.first());
  client.send(message);
  const auto challenge = scram.server_first(client.read_frame().value().body.substr(4));
  REQUIRE(challenge);
  const auto last = scram.final_message(*protocol::derive_keys("app-secret", challenge->salt, challenge->iterations));
  client.send(frame_bytes('p', change(last.value())));
  const auto frame = client.read_frame();
  REQUIRE(frame);
  if (frame->type == 'R') return "accepted";
  return sqlstate_of(*frame) + " " + message_of(*frame);
}

std::string replaced(std::string text, const std::string& what, const std::string& by) {
  return text.replace(text.find(what), what.size(), by);
}

}  // namespace

TEST_CASE("a client's first SCRAM message") {
  const std::string malformed = "08P01 malformed SCRAM message";
  CHECK(first_refusal("p=tls-server-end-point,,n=,r=abc") == malformed);
  CHECK(first_refusal("p=tls-server-end-point,,n=,r=abc", kPlus) ==
        "08P01 client selected an invalid SASL authentication mechanism");
  CHECK(first_refusal("n,,n=,r=abc", kPlus) == "08P01 client selected an invalid SASL authentication mechanism");
  CHECK(first_refusal("n,,n=,r=abc", "PLAIN") == "08P01 client selected an invalid SASL authentication mechanism");
  CHECK(first_refusal("n,a=admin,n=,r=abc") == "0A000 client uses authorization identity, but it is not supported");
  CHECK(first_refusal("n,,m=ext,n=,r=abc") == "0A000 client requires an unsupported SCRAM extension");
  CHECK(first_refusal("n,,n=,r=a\x01"
                      "bc") == "08P01 non-printable characters in SCRAM nonce");
  for (const std::string& first :
       {std::string("n,,n=,r=") + std::string(1025, 'r'), std::string("n,,n=,r=") + std::string(60000, 'r'),
        std::string("n,,n=") + std::string(60000, 'u') + ",r=abc", std::string("n,,r=abc"), std::string("n,,n="),
        std::string("z,,n=,r=abc"), std::string("n"), std::string("n,,n=,r=abc,")}) {
    CAPTURE(first.substr(0, 30));
    CHECK(first_refusal(first) == malformed);
  }
}

TEST_CASE("a client's last SCRAM message") {
  using Text = std::string;
  CHECK(last_refusal([](const Text& right) { return right; }) == "accepted");
  const Text binding = "08P01 unexpected SCRAM channel-binding attribute in client-final-message";
  // Another gs2 header than the one that was sent: "y,,", with binding data, none.
  for (const char* other : {"c=eSws", "c=cD10bHMtc2VydmVyLWVuZC1wb2ludCws", "c=", "c=biw=", "c=biwsbiws"}) {
    CHECK(last_refusal([&](const Text& right) { return replaced(right, "c=biws", other); }) == binding);
  }
  CHECK(last_refusal([](const Text& right) { return replaced(right, "r=client-nonce", "r=client-nonsense"); }) ==
        "08P01 invalid SCRAM response");
  CHECK(last_refusal([](const Text& right) { return right.substr(0, right.find(",p=")); }) ==
        "08P01 malformed SCRAM message");
  CHECK(last_refusal([](const Text& right) { return right + ",x=y"; }) == "08P01 malformed SCRAM message");
  CHECK(last_refusal([](const Text& right) { return replaced(right, ",p=", ",m=ext,p="); }).substr(0, 5) != "accep");
  CHECK(last_refusal([](const Text&) { return Text(); }) == "08P01 malformed SCRAM message");
  CHECK(last_refusal([](const Text& right) { return right + Text(1, '\0'); }) == "08P01 malformed SCRAM message");
  CHECK(last_refusal([](const Text& right) { return right + Text(60000, 'A'); }) == "08P01 malformed SCRAM message");
  CHECK(last_refusal([](const Text& right) {
          return right.substr(0, right.find(",p=")) + ",p=" + Text(43, 'A') + "=";
        }) == "28P01 password authentication failed for user \"app\"");
}

TEST_CASE("a client that begins SCRAM twice") {
  const Victim bezel(victim());
  RawClient client = asked_client(bezel);
  std::string message;
  protocol::append_sasl_initial_response(message, kScram, "n,,n=,r=abc");
  client.send(message);
  REQUIRE(client.read_frame());
  client.send(message);
  CHECK(refusal(client) == "08P01 malformed SCRAM message");
}

TEST_CASE("a client may say that it could bind, where it was not offered to") {
  const Victim bezel(victim());
  RawClient client = asked_client(bezel);
  protocol::ScramClient scram("client-nonce", "", {"some certificate's hash", false});
  std::string message;
  protocol::append_sasl_initial_response(message, kScram, scram.first());
  client.send(message);
  const auto challenge = scram.server_first(client.read_frame().value().body.substr(4));
  REQUIRE(challenge);
  const auto keys = protocol::derive_keys("app-secret", challenge->salt, challenge->iterations);
  client.send(frame_bytes('p', scram.final_message(*keys).value()));
  CHECK(scram.verify_server_final(client.read_frame().value().body.substr(4)));
}

TEST_CASE("passwords of 64 KiB, and what is longer than a password may be") {
  FakeServer server([](RawClient& peer) {
    if (FakeServer::read_startup(peer)) serve(peer);
  });
  for (const char* auth_type : {"plain", "scram-sha-256"}) {
    CAPTURE(auth_type);
    const bool plain = auth_type == std::string("plain");
    Configuration configuration = configuration_for(server);
    configuration.settings["auth_type"] = auth_type;
    std::string userlist;
    for (const size_t length : {1000u, 8192u, 65535u, 65536u}) {
      userlist += "\"u" + std::to_string(length) + "\" \"" + std::string(length, 'p') + "\"\n";
    }
    configuration.userlist = userlist;
    BezelProcess bezel(configuration);
    for (const size_t length : {1000u, 8192u, 65535u, 65536u}) {
      CAPTURE(length);
      const std::string user = "u" + std::to_string(length);
      RawClient right(own_address(), bezel.port()), wrong(own_address(), bezel.port());
      CHECK(right.log_in(user, std::string(length, 'p'), "app").back().type == 'Z');
      CHECK(sqlstate_of(wrong.log_in(user, std::string(length - 1, 'p') + "q", "app").back()) == "28P01");
    }
    for (const uint32_t declared : {70'000u, 1'000'000u, 0x7fffffffu}) {
      RawClient client(own_address(), bezel.port());
      client.send(startup_packet("u1000", "app"));
      REQUIRE(client.read_frame());
      client.send("p" + int32_bytes(declared) + "few bytes");
      CHECK(refusal(client) == "08P01 invalid password packet size");
    }
    if (plain) CHECK(bezel.log().find("pppp") == std::string::npos);
  }
}

TEST_CASE("SCRAM in single bytes, on both sides") {
  FakeServer server([](RawClient& peer) {
    if (!FakeServer::read_startup(peer)) return;
    ScramSteps scram(peer);
    peer.send_bytewise(sasl());
    peer.send_bytewise(scram.challenge_after_offer());
    peer.send_bytewise(scram.signature_after_challenge() + FakeServer::greeting());
    FakeServer::answer_queries(peer);
  });
  BezelProcess bezel(configuration_for(server));
  RawClient client(own_address(), bezel.port());
  client.send_bytewise(startup_packet("app", "app"));
  REQUIRE(client.read_frame());
  protocol::ScramClient scram("client-nonce");
  std::string message;
  protocol::append_sasl_initial_response(message, kScram, scram.first());
  client.send_bytewise(message);
  const auto challenge = scram.server_first(client.read_frame().value().body.substr(4));
  REQUIRE(challenge);
  const auto keys = protocol::derive_keys("app-secret", challenge->salt, challenge->iterations);
  client.send_bytewise(frame_bytes('p', scram.final_message(*keys).value()));
  CHECK(scram.verify_server_final(client.read_frame().value().body.substr(4)));
  CHECK(client.read_until('Z').back().type == 'Z');
}

TEST_CASE("a SCRAM proof that ends at each of its bytes") {
  Victim bezel(victim());
  std::string initial;
  protocol::append_sasl_initial_response(initial, kScram, "n,,n=,r=client-nonce");
  const std::string last = frame_bytes('p', "c=biws,r=client-nonce,p=" + std::string(43, 'A') + "=");
  for (size_t size = 0; size < last.size(); size++) {
    RawClient client = asked_client(bezel);
    client.send(initial);
    REQUIRE(client.read_frame());
    client.send(last.substr(0, size));
    client.shut_down_sending();
    CHECK(client.read_to_end().empty());
  }
}

TEST_CASE("a login that was overheard cannot be repeated (pgagroal's md5)") {
  FakeServer server([](RawClient& peer) {
    if (FakeServer::read_startup(peer)) serve(peer);
  });
  Configuration configuration = configuration_for(server);
  configuration.settings["auth_type"] = "md5";
  BezelProcess md5(configuration), scram(configuration_for(server));

  const auto greeted = [](const BezelProcess& bezel, const std::vector<std::string>& messages) {
    RawClient client(own_address(), bezel.port());
    client.send(startup_packet("app", "app"));
    std::vector<Frame> frames = {client.read_frame().value()};
    for (const std::string& message : messages) {
      client.send(message);
      frames.push_back(client.read_frame().value());
    }
    return frames.back();
  };
  RawClient honest(own_address(), md5.port());
  honest.send(startup_packet("app", "app"));
  std::array<unsigned char, 4> salt;
  const std::string challenge = honest.read_frame().value().body;
  REQUIRE(challenge.size() == 8);
  std::copy(challenge.begin() + 4, challenge.end(), salt.begin());
  const auto response = protocol::md5_challenge_response(protocol::parse_secret("app-secret"), "app", salt);
  std::string message;
  protocol::append_password_message(message, response.value());
  honest.send(message);
  CHECK(honest.read_frame().value().type == 'R');
  CHECK(sqlstate_of(greeted(md5, {message})) == "28P01");

  protocol::ScramClient exchange("client-nonce");
  std::string initial;
  protocol::append_sasl_initial_response(initial, kScram, exchange.first());
  RawClient salted(own_address(), scram.port());
  salted.send(startup_packet("app", "app"));
  REQUIRE(salted.read_frame());
  salted.send(initial);
  const auto asked = exchange.server_first(salted.read_frame().value().body.substr(4));
  REQUIRE(asked);
  const auto keys = protocol::derive_keys("app-secret", asked->salt, asked->iterations);
  const std::string proof = frame_bytes('p', exchange.final_message(*keys).value());
  salted.send(proof);
  CHECK(salted.read_frame().value().type == 'R');
  CHECK(message_of(greeted(scram, {initial, proof})) == "invalid SCRAM response");
}
