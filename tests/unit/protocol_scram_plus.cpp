// SCRAM-SHA-256-PLUS: the exchange of RFC 7677, bound to a certificate's hash.

#include <doctest/doctest.h>

#include <string>
#include <string_view>

#include "protocol/base64.h"
#include "protocol/scram.h"
#include "protocol/secret.h"
#include "protocol/sqlstate.h"

using namespace bezel::protocol;
using namespace std::string_literals;

namespace {

constexpr std::string_view kClientNonce = "rOprNGfwEbeRWgbNEkqO";
constexpr std::string_view kServerNonce = "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0";
constexpr std::string_view kClientFirst = "p=tls-server-end-point,,n=user,r=rOprNGfwEbeRWgbNEkqO";
constexpr std::string_view kServerFirst =
    "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096";
// Made with another implementation of HMAC and PBKDF2, for the data below.
constexpr std::string_view kClientFinal =
    "c=cD10bHMtc2VydmVyLWVuZC1wb2ludCwsA9Zt0Ig1wco/EozOrNHzGslBYwlrIPRFroQoW8CDLXI=,"
    "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,p=PDYoWyjL2USDf7LnQ7piOwt3OVcEPRbXsEvXHNKDU04=";
constexpr std::string_view kServerFinal = "v=WQt6/B0lyhcS0jEpTrs9PZzMa+An2Woiy3ZQ75nvla0=";
// The same where the client saw no offer.
constexpr std::string_view kUnofferedFinal =
    "c=eSws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,p=FoqiHTtQEDE8lz1CdaEe3tK4mS+iMDTl77SPyDS53DY=";
constexpr std::string_view kUnofferedServerFinal = "v=dI4KpiQJwBr1+V+K6U1dA6l6I4I9DUNXWND4pcpRU3U=";

/// SHA-256 of "certificate".
const std::string& end_point() {
  static const std::string data = *base64_decode("A9Zt0Ig1wco/EozOrNHzGslBYwlrIPRFroQoW8CDLXI=");
  return data;
}

const std::string& salt() {
  static const std::string bytes = *base64_decode("W22ZaJ0SNY7soEsUEjb6gQ==");
  return bytes;
}

const ScramKeys& keys() {
  static const ScramKeys derived = *derive_keys("pencil", salt(), 4096);
  return derived;
}

ScramServer server_with(ChannelBinding binding) {
  return ScramServer(keys(), salt(), 4096, std::string(kServerNonce), std::move(binding));
}

/// What a server that offered PLUS says to a client-first-message; `plus`: to one that chose it.
ProtocolError first_error(const std::string& message, bool plus, const std::string& data = end_point()) {
  ScramServer server = server_with({data, plus});
  const auto reply = server.client_first(message);
  CHECK(reply.has_value() == (server.failure().kind == ScramFailure::Kind::none));
  if (!reply) {
    CHECK(server.failure().kind == ScramFailure::Kind::protocol);
    CHECK_FALSE(server.client_first(kClientFirst));
    CHECK_FALSE(server.client_final(kClientFinal));
    CHECK_FALSE(server.keys());
  }
  return server.failure().error;
}

/// What it says to a client-final-message after a good first one.
ScramFailure final_failure(const std::string& message) {
  ScramServer server = server_with({end_point(), true});
  REQUIRE(server.client_first(kClientFirst));
  const auto reply = server.client_final(message);
  CHECK(reply.has_value() == (server.failure().kind == ScramFailure::Kind::none));
  CHECK(reply.has_value() == server.keys().has_value());
  if (!reply) CHECK_FALSE(server.client_final(kClientFinal));
  return server.failure();
}

std::string with_binding(const std::string& bytes) {
  return "c=" + base64_encode(bytes) + std::string(kClientFinal.substr(kClientFinal.find(",r=")));
}

/// Both sides against each other, each with its own view of the connection. What the server makes of it.
ScramFailure exchange(ChannelBinding at_client, ChannelBinding at_server, const ScramKeys& with = keys()) {
  ScramClient client(std::string(kClientNonce), "user", std::move(at_client));
  ScramServer server = server_with(std::move(at_server));
  const auto server_first = server.client_first(client.first());
  if (!server_first) return server.failure();
  REQUIRE(client.server_first(*server_first));
  const auto client_final = client.final_message(with);
  REQUIRE(client_final);
  const auto server_final = server.client_final(*client_final);
  if (server_final) CHECK(client.verify_server_final(*server_final));
  return server.failure();
}

}  // namespace

TEST_CASE("SCRAM PLUS: the whole exchange, both sides") {
  ScramClient client(std::string(kClientNonce), "user", {end_point(), true});
  ScramServer server = server_with({end_point(), true});
  CHECK(client.first() == kClientFirst);
  CHECK(server.client_first(kClientFirst) == kServerFirst);
  REQUIRE(client.server_first(kServerFirst));
  CHECK(client.final_message(keys()) == kClientFinal);
  CHECK_FALSE(client.channel_bound());
  CHECK(server.client_final(kClientFinal) == kServerFinal);
  CHECK(client.verify_server_final(kServerFinal));
  CHECK(client.channel_bound());
  CHECK(client.failure().empty());
}

TEST_CASE("SCRAM: a client that could bind and was not offered to") {
  ScramClient client(std::string(kClientNonce), "user", {end_point(), false});
  CHECK(client.first() == "y,,n=user,r=" + std::string(kClientNonce));
  REQUIRE(client.server_first(kServerFirst));
  CHECK(client.final_message(keys()) == kUnofferedFinal);
  CHECK(client.verify_server_final(kUnofferedServerFinal));
  CHECK_FALSE(client.channel_bound());

  ScramServer server = server_with({});
  REQUIRE(server.client_first(client.first()) == kServerFirst);
  CHECK(server.client_final(kUnofferedFinal) == kUnofferedServerFinal);
  CHECK(ScramClient(std::string(kClientNonce), "user").first() == "n,,n=user,r=" + std::string(kClientNonce));
}

TEST_CASE("SCRAM PLUS: keys recovered from a bound login make another bound one") {
  ScramServer server = server_with({end_point(), true});
  REQUIRE(server.client_first(kClientFirst));
  REQUIRE(server.client_final(kClientFinal));
  const auto recovered = server.keys();
  REQUIRE(recovered);
  CHECK(recovered->client_key == keys().client_key);
  // On the other side is another certificate.
  const ChannelBinding other = {std::string(48, 'h'), true};
  CHECK(exchange(other, other, *recovered).kind == ScramFailure::Kind::none);
  CHECK(exchange({}, {}, *recovered).kind == ScramFailure::Kind::none);
}

TEST_CASE("SCRAM PLUS: who is in the middle has another certificate") {
  for (const std::string& seen :
       {std::string(32, 'm'), end_point().substr(1), end_point() + "x", end_point().substr(0, 31), "x"s}) {
    const ScramFailure failure = exchange({seen, true}, {end_point(), true});
    CHECK(failure.kind == ScramFailure::Kind::protocol);
    CHECK(failure.error.sqlstate == sqlstate::kInvalidAuthorizationSpecification);
    CHECK(failure.error.message == "SCRAM channel binding check failed");
  }
  // It is checked before the password, whose rightness is thus not given away.
  CHECK(exchange({end_point(), true}, {end_point(), true}, *derive_keys("pen", salt(), 4096)).kind ==
        ScramFailure::Kind::wrong_password);
  CHECK(exchange({"x", true}, {end_point(), true}, *derive_keys("pen", salt(), 4096)).error.message ==
        "SCRAM channel binding check failed");
}

TEST_CASE("SCRAM PLUS: an offer that was taken away (Odyssey's gs2 flag 'y')") {
  const ScramFailure failure = exchange({end_point(), false}, {end_point(), false});
  CHECK(failure.kind == ScramFailure::Kind::protocol);
  CHECK(failure.error.sqlstate == sqlstate::kInvalidAuthorizationSpecification);
  CHECK(failure.error.message == "SCRAM channel binding negotiation error");
  CHECK_FALSE(failure.error.detail.empty());
  // Without the means, or where it does not want to, a client may do without.
  CHECK(exchange({}, {end_point(), false}).kind == ScramFailure::Kind::none);
}

TEST_CASE("SCRAM PLUS: flag and mechanism must agree") {
  const std::string unbound =
      "The client selected SCRAM-SHA-256-PLUS, but the SCRAM message does not include "
      "channel binding data.";
  const std::string bound =
      "The client selected SCRAM-SHA-256 without channel binding, but the SCRAM message "
      "includes channel binding data.";
  for (const char flag : {'n', 'y'}) {
    const ProtocolError error = first_error(flag + ",,n=,r=abc"s, true);
    CHECK(error.sqlstate == sqlstate::kProtocolViolation);
    CHECK(error.message == "malformed SCRAM message");
    CHECK(error.detail == unbound);
  }
  for (const std::string& data : {end_point(), ""s}) {
    const ProtocolError error = first_error(std::string(kClientFirst), false, data);
    CHECK(error.sqlstate == sqlstate::kProtocolViolation);
    CHECK(error.message == "malformed SCRAM message");
    CHECK(error.detail == bound);
  }
  CHECK(first_error("n,,n=,r=abc", false).message.empty());
  CHECK(first_error("y,,n=,r=abc", false).message == "SCRAM channel binding negotiation error");
  CHECK(first_error("y,,n=,r=abc", false, "").message.empty());
  CHECK(first_error(std::string(kClientFirst), true).message.empty());
}

TEST_CASE("SCRAM PLUS: other types of binding") {
  for (const std::string& type : {"tls-unique"s, "tls-exporter"s, "tls-server-end-poin"s, "tls-server-end-pointx"s,
                                  "TLS-SERVER-END-POINT"s, ""s}) {
    const ProtocolError error = first_error("p=" + type + ",,n=,r=abc", true);
    CHECK(error.sqlstate == sqlstate::kProtocolViolation);
    CHECK(error.message == "unsupported SCRAM channel-binding type \"" + type + "\"");
  }
  const std::string long_one = first_error("p=\x1b[31m" + std::string(10000, 't') + ",,n=,r=abc", true).message;
  CHECK(long_one.size() < 130);
  CHECK(long_one.find('\x1b') == std::string::npos);
}

TEST_CASE("SCRAM PLUS: malformed first messages") {
  for (const std::string& message :
       {""s, "p"s, "p="s, "p,,n=,r=abc"s, "p=tls-server-end-point"s, "p=tls-server-end-point,"s,
        "p=tls-server-end-point,,"s, "p=tls-server-end-point,n=,r=abc"s, "p=tls-server-end-point,x,n=,r=abc"s,
        "p=tls-server-end-point,,r=abc"s, "p=tls-server-end-point,,n=,r=a\0c"s, "P=tls-server-end-point,,n=,r=abc"s,
        "x,,n=,r=abc"s, "p=tls-server-end-point,,n=,r="s + std::string(1025, 'r')}) {
    CAPTURE(message.substr(0, 40));
    CHECK(first_error(message, true).sqlstate == sqlstate::kProtocolViolation);
  }
  CHECK(first_error("p=tls-server-end-point,a=other,n=,r=abc", true).sqlstate == sqlstate::kFeatureNotSupported);
  CHECK(first_error("p=tls-server-end-point,,m=x,n=,r=abc", true).sqlstate == sqlstate::kFeatureNotSupported);
  for (size_t size = 0; size <= kClientFirst.size() - kClientNonce.size(); size++) {
    CHECK(first_error(std::string(kClientFirst.substr(0, size)), true).sqlstate == sqlstate::kProtocolViolation);
  }
  // PLUS without anything to bind to is a mistake of the caller's; nobody gets in.
  CHECK_FALSE(first_error(std::string(kClientFirst), true, "").message.empty());
}

TEST_CASE("SCRAM PLUS: tampered final messages") {
  const std::string header = "p=tls-server-end-point,,";
  REQUIRE(with_binding(header + end_point()) == kClientFinal);
  REQUIRE(final_failure(std::string(kClientFinal)).kind == ScramFailure::Kind::none);
  for (const std::string& bytes :
       {""s, "n,,"s, "y,,"s, header, end_point(), "n,," + end_point(), header + end_point() + "x",
        header + end_point().substr(1), header + end_point() + end_point(), "p=tls-unique,," + end_point(),
        "p=tls-server-end-point," + end_point(), header + std::string(32, '\0'), header + std::string(8000, 'x')}) {
    const ScramFailure failure = final_failure(with_binding(bytes));
    CHECK(failure.kind == ScramFailure::Kind::protocol);
    CHECK(failure.error.sqlstate == sqlstate::kInvalidAuthorizationSpecification);
    CHECK(failure.error.message == "SCRAM channel binding check failed");
  }
  // Each bit of what is bound counts.
  std::string bytes = header + end_point();
  for (char& byte : bytes) {
    for (int bit = 0; bit < 8; bit++) {
      byte = static_cast<char>(byte ^ (1 << bit));
      CHECK(final_failure(with_binding(bytes)).error.message == "SCRAM channel binding check failed");
      byte = static_cast<char>(byte ^ (1 << bit));
    }
  }
  // Any change of one byte of the message fails, whatever it is taken for.
  for (size_t at = 0; at < kClientFinal.size(); at++) {
    std::string changed(kClientFinal);
    changed[at] = changed[at] == 'A' ? 'B' : 'A';
    CHECK(final_failure(changed).kind != ScramFailure::Kind::none);
  }
  for (size_t size = 0; size < kClientFinal.size(); size++) {
    CHECK(final_failure(std::string(kClientFinal.substr(0, size))).kind == ScramFailure::Kind::protocol);
  }
}

TEST_CASE("SCRAM PLUS: the proof is of the binding that was sent") {
  // Someone in the middle who corrects `c=` cannot correct the proof.
  ScramClient client(std::string(kClientNonce), "user", {std::string(32, 'm'), true});
  REQUIRE(client.server_first(kServerFirst));
  const std::string sent = *client.final_message(keys());
  const std::string corrected =
      std::string(kClientFinal.substr(0, kClientFinal.find(",r="))) + sent.substr(sent.find(",r="));
  CHECK(final_failure(sent).error.message == "SCRAM channel binding check failed");
  CHECK(final_failure(corrected).kind == ScramFailure::Kind::wrong_password);
  // Nor does the signature of another exchange pass at the client.
  ScramClient bound(std::string(kClientNonce), "user", {end_point(), true});
  REQUIRE(bound.server_first(kServerFirst));
  REQUIRE(bound.final_message(keys()));
  CHECK_FALSE(bound.verify_server_final(kUnofferedServerFinal));
  CHECK_FALSE(bound.channel_bound());
}

TEST_CASE("SCRAM PLUS: an unknown user fails as a wrong password does") {
  ScramClient client(std::string(kClientNonce), "ghost", {end_point(), true});
  ScramServer server(mock_verifier("ghost", "secret"), std::string(kServerNonce), {end_point(), true});
  REQUIRE(client.server_first(*server.client_first(client.first())));
  CHECK_FALSE(server.client_final(*client.final_message(keys())));
  CHECK(server.failure().kind == ScramFailure::Kind::wrong_password);
}

TEST_CASE("SCRAM PLUS: a client cannot bind to nothing") {
  ScramClient client(std::string(kClientNonce), "user", {"", true});
  CHECK_FALSE(client.server_first(kServerFirst));
  CHECK_FALSE(client.final_message(keys()));
  CHECK(client.failure() == "there is nothing to bind the login to");
}

TEST_CASE("SCRAM: passwords of 64 KiB") {
  const std::string password(65536, 'p');
  const ScramKeys derived = *derive_keys(password, salt(), 1);
  ScramClient client(std::string(kClientNonce), "", {end_point(), true});
  ScramServer server(derived, salt(), 1, std::string(kServerNonce), {end_point(), true});
  REQUIRE(client.server_first(*server.client_first(client.first())));
  const auto answer = server.client_final(*client.final_message(derived));
  REQUIRE(answer);
  CHECK(client.verify_server_final(*answer));
  CHECK(derive_keys(password.substr(1), salt(), 1)->stored_key != derived.stored_key);
  const StoredSecret verifier = parse_secret(build_verifier(make_verifier(derived, salt(), 1)));
  CHECK(verify_password(verifier, "user", password));
  CHECK_FALSE(verify_password(verifier, "user", password.substr(1)));
  CHECK(verify_password(parse_secret(password), "user", password));
}
