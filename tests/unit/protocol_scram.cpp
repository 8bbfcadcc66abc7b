#include <doctest/doctest.h>

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "protocol/base64.h"
#include "protocol/scram.h"
#include "protocol/sqlstate.h"

using namespace bezel::protocol;
using namespace std::string_literals;

namespace {

// The exchange of RFC 7677 section 3: user "user", password "pencil".
constexpr std::string_view kClientNonce = "rOprNGfwEbeRWgbNEkqO";
constexpr std::string_view kServerNonce = "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0";
constexpr std::string_view kClientFirst = "n,,n=user,r=rOprNGfwEbeRWgbNEkqO";
constexpr std::string_view kServerFirst =
    "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096";
constexpr std::string_view kWithoutProof = "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0";
constexpr std::string_view kProof = "p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=";
constexpr std::string_view kServerFinal = "v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=";

std::string client_final() {
  return std::string(kWithoutProof) + "," + std::string(kProof);
}

const std::string& rfc_salt() {
  static const std::string salt = *base64_decode("W22ZaJ0SNY7soEsUEjb6gQ==");
  return salt;
}

const ScramKeys& rfc_keys() {
  static const ScramKeys keys = *derive_keys("pencil", rfc_salt(), 4096);
  return keys;
}

ScramVerifier rfc_verifier() {
  return make_verifier(rfc_keys(), rfc_salt(), 4096);
}

ScramServer rfc_server() {
  return ScramServer(rfc_verifier(), std::string(kServerNonce));
}

/// What a server makes of a client-first-message: empty when taken, else its SQLSTATE.
std::string first_error(std::string_view message) {
  const std::string exact(message);
  ScramServer server = rfc_server();
  const auto reply = server.client_first(exact);
  CHECK(reply.has_value() == (server.failure().kind == ScramFailure::Kind::none));
  if (reply) return "";
  CHECK(server.failure().kind == ScramFailure::Kind::protocol);
  CHECK_FALSE(server.client_first(kClientFirst));
  CHECK_FALSE(server.client_final(client_final()));
  CHECK_FALSE(server.keys());
  return std::string(server.failure().error.sqlstate);
}

/// The failure of a client-final-message after a good first one.
ScramFailure final_failure(const std::string& message) {
  ScramServer server = rfc_server();
  REQUIRE(server.client_first(kClientFirst));
  const auto reply = server.client_final(message);
  CHECK(reply.has_value() == (server.failure().kind == ScramFailure::Kind::none));
  CHECK(reply.has_value() == server.keys().has_value());
  if (!reply) CHECK_FALSE(server.client_final(client_final()));
  return server.failure();
}

/// Why a client refuses a server-first-message; empty when it does not.
std::string server_first_failure(const std::string& message) {
  ScramClient client{std::string(kClientNonce), "user"};
  const auto challenge = client.server_first(message);
  CHECK(challenge.has_value() == client.failure().empty());
  if (!challenge) {
    CHECK_FALSE(client.server_first(kServerFirst));
    CHECK_FALSE(client.final_message(rfc_keys()));
    CHECK_FALSE(client.verify_server_final(kServerFinal));
  }
  return client.failure();
}

}  // namespace

TEST_CASE("base64: RFC 4648 vectors, and nothing lenient") {
  const std::pair<std::string, std::string> vectors[] = {{"", ""},
                                                         {"f", "Zg=="},
                                                         {"fo", "Zm8="},
                                                         {"foo", "Zm9v"},
                                                         {"foob", "Zm9vYg=="},
                                                         {"fooba", "Zm9vYmE="},
                                                         {"foobar", "Zm9vYmFy"},
                                                         {"\xfb\xff\xbf", "+/+/"}};
  for (const auto& [bytes, text] : vectors) {
    CHECK(base64_encode(bytes) == text);
    CHECK(base64_decode(text) == bytes);
  }
  for (const std::string& text : {"Z"s, "Zg"s, "Zg="s, "Zg==="s, "===="s, "Z==="s, "=Zg="s, "Zg==Zg=="s, " Zg="s,
                                  "Zg==\n"s, "Zg =\0"s, "Zm9v\n\n\n\n"s, "Z-_v"s,
                                  "Zm\xff"
                                  "v"s,
                                  "    "s, "Zm9vYg==    "s}) {
    CAPTURE(text);
    CHECK_FALSE(base64_decode(text));
  }
}

TEST_CASE("SCRAM: the exchange of RFC 7677, both sides") {
  ScramClient client{std::string(kClientNonce), "user"};
  ScramServer server = rfc_server();

  CHECK(client.first() == kClientFirst);
  CHECK(server.client_first(client.first()) == kServerFirst);
  const auto challenge = client.server_first(kServerFirst);
  REQUIRE(challenge);
  CHECK(challenge->salt == rfc_salt());
  CHECK(challenge->iterations == 4096);
  CHECK(client.final_message(*derive_keys("pencil", challenge->salt, challenge->iterations)) == client_final());
  CHECK_FALSE(server.keys());
  CHECK(server.client_final(client_final()) == kServerFinal);
  CHECK(client.verify_server_final(kServerFinal));
  CHECK(client.failure().empty());
}

TEST_CASE("SCRAM: the client key recovered from a login makes another one") {
  ScramServer server = rfc_server();
  REQUIRE(server.client_first(kClientFirst));
  REQUIRE(server.client_final(client_final()));
  const auto keys = server.keys();
  REQUIRE(keys);
  CHECK(keys->client_key == rfc_keys().client_key);
  CHECK(keys->stored_key == rfc_keys().stored_key);

  ScramClient client(scram_nonce("eighteen raw bytes"));
  ScramServer behind(rfc_keys(), rfc_salt(), 4096, scram_nonce("another eighteen.."));
  CHECK(client.first() == "n,,n=,r=ZWlnaHRlZW4gcmF3IGJ5dGVz");
  const auto server_first = behind.client_first(client.first());
  REQUIRE(server_first);
  REQUIRE(client.server_first(*server_first));
  const auto final_text = client.final_message(*keys);
  REQUIRE(final_text);
  const auto server_final = behind.client_final(*final_text);
  REQUIRE(server_final);
  CHECK(client.verify_server_final(*server_final));
}

TEST_CASE("SCRAM: user names are escaped inside the exchange") {
  CHECK(ScramClient("abc", "a=b,c").first() == "n,,n=a=3Db=2Cc,r=abc");
}

TEST_CASE("SCRAM server: a wrong password, and a user that does not exist") {
  ScramServer server = rfc_server();
  ScramClient client{std::string(kClientNonce)};
  REQUIRE(client.server_first(*server.client_first(client.first())));
  const auto wrong = client.final_message(*derive_keys("Pencil", rfc_salt(), 4096));
  CHECK_FALSE(server.client_final(*wrong));
  CHECK(server.failure().kind == ScramFailure::Kind::wrong_password);
  CHECK(server.failure().error.sqlstate == sqlstate::kInvalidPassword);
  CHECK_FALSE(server.keys());

  const ScramVerifier mock = mock_verifier("ghost", "server secret");
  CHECK(mock == mock_verifier("ghost", "server secret"));
  CHECK(mock.salt.size() == kScramSaltBytes);
  CHECK(mock.iterations == 4096);
  CHECK(mock.salt != mock_verifier("ghosu", "server secret").salt);
  CHECK(mock.salt != mock_verifier("ghost", "server secreu").salt);

  // Even the keys that belong to it do not log in.
  ScramVerifier doomed = rfc_verifier();
  doomed.never_matches = true;
  ScramServer never(doomed, std::string(kServerNonce));
  REQUIRE(never.client_first(kClientFirst) == kServerFirst);
  CHECK_FALSE(never.client_final(client_final()));
  CHECK(never.failure().kind == ScramFailure::Kind::wrong_password);
  CHECK_FALSE(never.keys());
}

TEST_CASE("SCRAM server: the gs2 header") {
  CHECK(first_error("n,,n=,r=abc").empty());
  CHECK(first_error("y,,n=,r=abc").empty());
  CHECK(first_error("n,,n=,r=abc,x=ext").empty());
  ScramServer server = rfc_server();
  CHECK_FALSE(server.client_first("p=tls-server-end-point,,n=,r=abc"));
  CHECK(server.failure().error.sqlstate == sqlstate::kProtocolViolation);
  CHECK(server.failure().error.message == "malformed SCRAM message");
  CHECK(server.failure().error.detail ==
        "The client selected SCRAM-SHA-256 without channel binding, but the SCRAM message includes channel binding "
        "data.");
  CHECK(first_error("n,a=other,n=,r=abc") == sqlstate::kFeatureNotSupported);
  CHECK(first_error("n,,m=x,n=,r=abc") == sqlstate::kFeatureNotSupported);
}

TEST_CASE("SCRAM server: 'y' must be repeated as 'y'") {
  ScramClient client{std::string(kClientNonce)};
  ScramServer server = rfc_server();
  REQUIRE(server.client_first("y,,n=,r=" + std::string(kClientNonce)));
  CHECK_FALSE(server.client_final(client_final()));
  CHECK(server.failure().kind == ScramFailure::Kind::protocol);
  CHECK(server.failure().error.message == "unexpected SCRAM channel-binding attribute in client-final-message");
  // With "eSws" the binding is right, and the proof is what fails.
  ScramServer again = rfc_server();
  REQUIRE(again.client_first("y,,n=,r=" + std::string(kClientNonce)));
  std::string repeated = client_final();
  repeated.replace(repeated.find("biws"), 4, "eSws");
  CHECK_FALSE(again.client_final(repeated));
  CHECK(again.failure().kind == ScramFailure::Kind::wrong_password);
}

TEST_CASE("SCRAM server: malformed first messages") {
  for (const std::string& message : {""s,
                                     "n"s,
                                     "n,"s,
                                     "n,,"s,
                                     "n,,n"s,
                                     "n,,n="s,
                                     "n,,n=,"s,
                                     "n,,n=,r"s,
                                     "n,,n=,r="s,
                                     "n,,r=abc"s,
                                     "x,,n=,r=abc"s,
                                     ",,n=,r=abc"s,
                                     "nn,,n=,r=abc"s,
                                     "n,x,n=,r=abc"s,
                                     "n,,n=,r=abc,"s,
                                     "n,,n=,r=abc,,"s,
                                     "n,,n=,r=abc,1=x"s,
                                     "n,,n=,r=abc,x"s,
                                     "n,,n=,r=a\0c"s,
                                     "n,,n=,r=abc\0"s,
                                     "n,,n=,r=a c"s,
                                     "n,,n=,r=\xff"s,
                                     "n,,n=,r=\x7f"s,
                                     "n,,n=,r="s + std::string(1025, 'r'),
                                     "n,,n=,r="s + std::string(65536, 'r'),
                                     "n,,n="s + std::string(20000, 'u') + ",r=abc"}) {
    CAPTURE(message.substr(0, 40));
    CHECK(first_error(message) == sqlstate::kProtocolViolation);
  }
  CHECK(first_error("n,,n=,r=r").empty());
  CHECK(first_error("n,,n=,r=" + std::string(1024, 'r')).empty());
  for (size_t size = 0; size < kClientFirst.size() - kClientNonce.size() + 1; ++size) {
    CHECK(first_error(kClientFirst.substr(0, size)) == sqlstate::kProtocolViolation);
  }
}

TEST_CASE("SCRAM server: malformed final messages") {
  REQUIRE(final_failure(client_final()).kind == ScramFailure::Kind::none);
  const std::string whole = client_final();
  for (size_t size = 0; size < whole.size(); ++size) {
    CHECK(final_failure(whole.substr(0, size)).kind == ScramFailure::Kind::protocol);
  }
  const std::string head(kWithoutProof);
  const std::string proof(kProof);
  for (const std::string& message :
       {whole + ",", whole + ",x=y", whole + "\0"s, whole + "=", head + ",p=", head + ",p=AAAA",
        head + ",p=" + std::string(44, 'A'), head + ",p=" + std::string(60000, 'A'), head + "," + proof + "," + proof,
        head + ",1=x," + proof, proof, "c=biws," + proof, "r=abc,c=biws," + proof, "c=eSws" + whole.substr(6),
        "c=" + whole.substr(6)}) {
    CAPTURE(message.substr(0, 80));
    const ScramFailure failure = final_failure(message);
    CHECK(failure.kind == ScramFailure::Kind::protocol);
    CHECK(failure.error.sqlstate == sqlstate::kProtocolViolation);
  }
  // An extension before the proof is part of what is signed, so this proof is wrong but the message is not malformed.
  CHECK(final_failure(head + ",x=y," + proof).kind == ScramFailure::Kind::wrong_password);
  for (const std::string& nonce : {"r=x"s, "r="s, "r="s + std::string(kClientNonce), head.substr(7) + "x"}) {
    const ScramFailure failure = final_failure("c=biws," + nonce + "," + proof);
    CHECK(failure.kind == ScramFailure::Kind::protocol);
    CHECK(failure.error.detail == "Nonce does not match.");
  }
  // A single flipped bit of the proof.
  std::string bytes = *base64_decode(kProof.substr(2));
  for (char& byte : bytes) {
    byte = static_cast<char>(byte ^ 1);
    CHECK(final_failure(head + ",p=" + base64_encode(bytes)).kind == ScramFailure::Kind::wrong_password);
    byte = static_cast<char>(byte ^ 1);
  }
}

TEST_CASE("SCRAM server: calls out of order") {
  ScramServer early = rfc_server();
  CHECK_FALSE(early.client_final(client_final()));
  CHECK_FALSE(early.client_first(kClientFirst));
  ScramServer twice = rfc_server();
  CHECK(twice.client_first(kClientFirst));
  CHECK_FALSE(twice.client_first(kClientFirst));
  CHECK_FALSE(twice.client_final(client_final()));
  ScramServer late = rfc_server();
  CHECK(late.client_first(kClientFirst));
  CHECK(late.client_final(client_final()));
  CHECK_FALSE(late.client_final(client_final()));
  CHECK_FALSE(late.keys());
}

TEST_CASE("SCRAM client: hostile server-first-messages (CVE-2026-6665)") {
  const std::string nonce = "r=" + std::string(kClientNonce);
  const std::string tail = ",s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096";
  REQUIRE(server_first_failure(std::string(kServerFirst)).empty());
  for (size_t added = 1; added <= 65536; added *= 2) {
    const bool too_long = kClientNonce.size() + added > kScramNonceBytesMax;
    CHECK(server_first_failure(nonce + std::string(added, 'x') + tail).empty() != too_long);
  }
  for (const std::string& message : {""s,
                                     "r"s,
                                     "r="s,
                                     "s=W22Z,i=1"s,
                                     tail.substr(1),
                                     nonce + "x,i=4096",
                                     nonce + "x,s=W22Z",
                                     nonce + "x,s=W22Z,i=",
                                     nonce + "x",
                                     nonce + tail,
                                     "r=x" + tail,
                                     "r=other" + std::string(kClientNonce) + tail,
                                     nonce + " x" + tail,
                                     nonce + "\0x"s + tail,
                                     nonce + "\xff" + tail,
                                     nonce + "x,s=W22,i=4096",
                                     nonce + "x,s=W2 Z,i=4096",
                                     nonce + "x,s=====,i=4096",
                                     nonce + "x,s=" + std::string(2048, 'A') + ",i=4096",
                                     "m=ext," + nonce + "x" + tail,
                                     nonce + "x" + tail + ",e=x",
                                     nonce + "x" + tail + ",",
                                     nonce + "x,i=4096,s=W22Z",
                                     "e=other-error"s,
                                     std::string(100000, 'r')}) {
    CAPTURE(message.substr(0, 60));
    CHECK_FALSE(server_first_failure(message).empty());
  }
  for (const char* iterations : {"0", "-1", "+1", " 1", "1 ", "1e3", "0x10", "1000001", "2147483647", "2147483648",
                                 "4294967297", "99999999999999999999", "4096x", "4096\n"}) {
    CAPTURE(iterations);
    CHECK_FALSE(server_first_failure(nonce + "x,s=W22Z,i=" + iterations).empty());
  }
  CHECK(server_first_failure(nonce + "x,s=W22Z,i=1").empty());
  CHECK(server_first_failure(nonce + "x,s=W22Z,i=1000000").empty());
  CHECK(server_first_failure(nonce + "x,s=,i=1").empty());
}

TEST_CASE("SCRAM client: every truncation of the server's messages") {
  for (size_t size = 0; size < kServerFirst.size(); ++size) {
    const std::string failure = server_first_failure(std::string(kServerFirst.substr(0, size)));
    // A cut inside the number leaves another number; every other one is malformed.
    CHECK(failure.empty() == (size > kServerFirst.size() - 4));
  }
  for (size_t size = 0; size <= kServerFinal.size(); ++size) {
    ScramClient client{std::string(kClientNonce), "user"};
    REQUIRE(client.server_first(kServerFirst));
    REQUIRE(client.final_message(rfc_keys()));
    const std::string cut(kServerFinal.substr(0, size));
    CHECK(client.verify_server_final(cut) == (size == kServerFinal.size()));
  }
}

TEST_CASE("SCRAM client: the server must prove itself") {
  const auto verdict = [](const std::string& message) {
    ScramClient client{std::string(kClientNonce), "user"};
    REQUIRE(client.server_first(kServerFirst));
    REQUIRE(client.final_message(rfc_keys()));
    const bool verified = client.verify_server_final(message);
    CHECK(verified == client.failure().empty());
    return client.failure();
  };
  CHECK(verdict(std::string(kServerFinal)).empty());
  CHECK(verdict("v=" + base64_encode(std::string(32, '\0'))) ==
        "incorrect server signature: the server does not know the password");
  CHECK(verdict("e=invalid-proof\x1b[31m") == "the server refused the SCRAM exchange: invalid-proof?[31m");
  CHECK(verdict("e=" + std::string(5000, 'x')).size() < 120);
  CHECK_FALSE(verdict("").empty());
  CHECK_FALSE(verdict("v=").empty());
  CHECK_FALSE(verdict("v=AAAA").empty());
  CHECK_FALSE(verdict(std::string(kServerFinal) + ",x=y").empty());
  CHECK_FALSE(verdict(std::string(70000, 'v')).empty());
}

TEST_CASE("SCRAM client: no login without a client key, nor out of order") {
  ScramClient client{std::string(kClientNonce)};
  REQUIRE(client.server_first(kServerFirst));
  ScramKeys keys = rfc_keys();
  keys.client_key.reset();
  CHECK_FALSE(client.final_message(keys));
  CHECK(client.failure() == "no client key to log in with");
  ScramClient early{std::string(kClientNonce)};
  CHECK_FALSE(early.final_message(rfc_keys()));
  ScramClient eager{std::string(kClientNonce), "user"};
  REQUIRE(eager.server_first(kServerFirst));
  // What a server could send that skips the proof: the signature of nothing by a key of zeroes.
  CHECK_FALSE(eager.verify_server_final("v=thNnmggU2ex3L5XXeMNfxf8Wl8STcVZTxscSFEKSxa0="));
}

TEST_CASE("SCRAM: derivation is bounded") {
  CHECK_FALSE(derive_keys("x", "salt", 0));
  CHECK_FALSE(derive_keys("x", "salt", -1));
  CHECK_FALSE(derive_keys("x", "salt", kScramIterationsMax + 1));
  CHECK_FALSE(derive_keys("x", std::string(kScramSaltBytesMax + 1, 's'), 1));
  CHECK(derive_keys("", "", 1));
  CHECK(derive_keys(std::string(65536, 'p'), "salt", 1));
}

TEST_CASE("SCRAM: verifiers as text") {
  const std::string text =
      "SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=:"
      "wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU=";
  CHECK(build_verifier(rfc_verifier()) == text);
  CHECK(parse_verifier(text) == rfc_verifier());
  for (size_t size = 0; size < text.size(); ++size) CHECK_FALSE(parse_verifier(text.substr(0, size)));
  CHECK_FALSE(parse_verifier(text + "x"));
  CHECK_FALSE(parse_verifier(text + "AAAA"));
  const auto with_iterations = [&](const std::string& count) {
    return parse_verifier("SCRAM-SHA-256$" + count + text.substr(18));
  };
  CHECK(with_iterations("1"));
  CHECK(with_iterations("2147483647"));
  for (const char* count : {"", "0", "-1", "+1", "2147483648", "4096 ", "x"}) CHECK_FALSE(with_iterations(count));
  CHECK_FALSE(parse_verifier("scram-sha-256" + text.substr(13)));
}

TEST_CASE("SASLprep: RFC 4013 section 3, and what stays raw") {
  CHECK(saslprep_or_raw("I\xc2\xadX") == "IX");  // a soft hyphen vanishes
  CHECK(saslprep_or_raw("user") == "user");
  CHECK(saslprep_or_raw("\xc2\xaa") == "a");            // NFKC
  CHECK(saslprep_or_raw("\xe2\x85\xa8") == "IX");       // Roman numeral nine
  CHECK(saslprep_or_raw("\xc2\xa0") == " ");            // a non-breaking space
  CHECK(saslprep_or_raw("\xef\xb7\xba").size() == 33);  // the longest expansion there is
  for (const std::string& raw : {""s, "\x07"s, "a\0b\xc2\xaa"s, "\xff\xfe"s, "\xc2"s, "\xed\xa0\x80"s,  // not UTF-8
                                 "\xc2\xad"s,          // nothing would be left
                                 "\xd8\xa7\x31"s,      // right-to-left letters must end as they begin
                                 "\xc2\xaa\x07"s,      // a control character among others
                                 "\xcd\xb8\xc2\xaa"s,  // an unassigned character
                                 std::string(5000, 'x') + "\xc2\xaa"}) {
    CHECK(saslprep_or_raw(raw) == raw);
  }
  // As slow as it gets: all expansions, and a long run of marks to be sorted.
  std::string expanding;
  while (expanding.size() + 3 <= 4096) expanding += "\xef\xb7\xba";
  CHECK(saslprep_or_raw(expanding).size() == expanding.size() / 3 * 33);
  std::string marks = "a";
  while (marks.size() + 4 <= 4096) marks += "\xcc\x81\xcc\x96";
  CHECK(saslprep_or_raw(marks).size() >= marks.size() - 2);
}
