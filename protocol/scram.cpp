#include "protocol/scram.h"

#include <fmt/format.h>
#include <openssl/crypto.h>

#include <algorithm>
#include <utility>

#include "protocol/base64.h"
#include "protocol/scram_hash.h"
#include "protocol/secret.h"
#include "protocol/sqlstate.h"

namespace bezel::protocol {

namespace {

constexpr size_t kQuotedBytesMax = 64;
constexpr std::string_view kBindingType = "tls-server-end-point";

/// RFC 5802 section 7: printable = %x21-2B / %x2D-7E, what a nonce consists of.
bool is_nonce(std::string_view text) {
  return !text.empty() &&
         std::all_of(text.begin(), text.end(), [](char c) { return c >= 0x21 && c <= 0x7e && c != ','; });
}

/// A peer's text for an error message: cut, and without control characters.
std::string quoted(std::string_view text) {
  std::string result(text.substr(0, kQuotedBytesMax));
  for (char& c : result) {
    if (c < 0x20 || c > 0x7e) c = '?';
  }
  return result;
}

/// What is wrong with a message's form, whatever it says; nothing when it can be read.
std::optional<std::string> fault_of_form(std::string_view message) {
  if (message.empty()) return "The message is empty.";
  if (message.size() > kScramMessageBytesMax) return "The message is too long.";
  if (message.find('\0') != std::string_view::npos) return "Message length does not match input length.";
  if (message.ends_with(',')) return "Attribute expected at the end of the message.";
  return std::nullopt;
}

/// Cuts the next element, up to a comma, off a message.
std::string_view cut_element(std::string_view& message) {
  const size_t comma = message.find(',');
  const std::string_view element = message.substr(0, comma);
  message.remove_prefix(comma == std::string_view::npos ? message.size() : comma + 1);
  return element;
}

/// Cuts the next attribute, which must be `name`=…; nothing, and the message as it was, when it is not.
std::optional<std::string_view> cut_attribute(std::string_view& message, char name) {
  if (message.size() < 2 || message[0] != name || message[1] != '=') return std::nullopt;
  return cut_element(message).substr(2);
}

/// Cuts the type of channel binding, `p=`…, off a gs2 header, but for the comma behind it.
std::optional<std::string_view> cut_type(std::string_view& message) {
  if (!message.starts_with("p=")) return std::nullopt;
  const size_t comma = message.find(',');
  const std::string_view type = message.substr(2, comma == std::string_view::npos ? comma : comma - 2);
  message.remove_prefix(2 + type.size());
  return type;
}

/// Cuts any attribute: a letter, an equals sign, a value.
std::optional<std::pair<char, std::string_view>> cut_any_attribute(std::string_view& message) {
  if (message.size() < 2 || message[1] != '=') return std::nullopt;
  const char name = message[0];
  if (!((name >= 'a' && name <= 'z') || (name >= 'A' && name <= 'Z'))) return std::nullopt;
  return std::pair(name, cut_element(message).substr(2));
}

/// A user name inside an exchange: "=" and "," are escaped (RFC 5802 section 5.1).
std::string escape_user(std::string_view user) {
  std::string text;
  for (const char c : user) {
    if (c == '=') {
      text += "=3D";
    } else if (c == ',') {
      text += "=2C";
    } else {
      text.push_back(c);
    }
  }
  return text;
}

}  // namespace

// ---- The server's side -------------------------------------------------------------------------------------------

ScramServer::ScramServer(ScramVerifier verifier, std::string nonce, ChannelBinding binding)
    : verifier_(std::move(verifier)), server_nonce_(std::move(nonce)), binding_(std::move(binding)) {}

ScramServer::ScramServer(const ScramKeys& keys, std::string_view salt, int iterations, std::string nonce,
                         ChannelBinding binding)
    : ScramServer(make_verifier(keys, salt, iterations), std::move(nonce), std::move(binding)) {}

ScramServer::~ScramServer() {
  OPENSSL_cleanse(client_key_.data(), client_key_.size());
}

std::nullopt_t ScramServer::fail(ScramFailure::Kind kind, ProtocolError error) {
  // The first reason stays: what comes after a failure says nothing about the peer.
  if (failure_.kind == ScramFailure::Kind::none) failure_ = ScramFailure{kind, std::move(error)};
  state_ = State::failed;
  return std::nullopt;
}

std::nullopt_t ScramServer::fail_malformed(std::string detail) {
  return fail(ScramFailure::Kind::protocol,
              ProtocolError{sqlstate::kProtocolViolation, "malformed SCRAM message", std::move(detail), {}});
}

/// The flag says what the client thinks of channel binding (RFC 5802 section 6), and must agree with the mechanism that
/// it chose and with what was offered.
bool ScramServer::read_binding_flag(std::string_view& message) {
  const char flag = message.empty() ? '\0' : message.front();
  if (flag != 'n' && flag != 'y' && flag != 'p') {
    fail_malformed(fmt::format("Unexpected channel-binding flag \"{}\".", quoted(message.substr(0, 1))));
    return false;
  }
  if ((flag == 'p') != binding_.plus) return fail_flag(flag);
  if (flag == 'p') {
    const auto type = cut_type(message);
    if (!type) {
      fail_malformed("Attribute \"p\" expected.");
      return false;
    }
    if (*type == kBindingType && !binding_.server_end_point.empty()) return true;
    fail(ScramFailure::Kind::protocol,
         ProtocolError{sqlstate::kProtocolViolation,
                       fmt::format("unsupported SCRAM channel-binding type \"{}\"", quoted(*type)),
                       {},
                       {}});
    return false;
  }
  // 'y': the client could be bound, and saw no offer. If there was one, then somebody has taken it away.
  if (flag == 'y' && !binding_.server_end_point.empty()) {
    fail(ScramFailure::Kind::protocol,
         ProtocolError{sqlstate::kInvalidAuthorizationSpecification,
                       "SCRAM channel binding negotiation error",
                       "The client supports SCRAM channel binding but thinks the server does not.  However, this "
                       "server does support channel binding.",
                       {}});
    return false;
  }
  message.remove_prefix(1);
  return true;
}

bool ScramServer::fail_flag(char flag) {
  if (flag == 'p') {
    fail_malformed(
        "The client selected SCRAM-SHA-256 without channel binding, but the SCRAM message includes channel binding "
        "data.");
  } else {
    fail_malformed(
        "The client selected SCRAM-SHA-256-PLUS, but the SCRAM message does not include channel binding data.");
  }
  return false;
}

bool ScramServer::read_gs2_header(std::string_view& message) {
  const std::string_view whole = message;
  if (!read_binding_flag(message)) return false;
  if (!message.starts_with(',')) {
    fail_malformed("Comma expected, but found something else.");
    return false;
  }
  message.remove_prefix(1);
  if (message.starts_with("a=")) {
    fail(ScramFailure::Kind::protocol,
         ProtocolError{
             sqlstate::kFeatureNotSupported, "client uses authorization identity, but it is not supported", {}, {}});
    return false;
  }
  if (!message.starts_with(',')) {
    fail_malformed("Unexpected attribute in client-first-message.");
    return false;
  }
  message.remove_prefix(1);
  gs2_header_ = whole.substr(0, whole.size() - message.size());
  return true;
}

bool ScramServer::read_client_first_bare(std::string_view bare) {
  if (bare.starts_with("m=")) {
    fail(ScramFailure::Kind::protocol,
         ProtocolError{sqlstate::kFeatureNotSupported, "client requires an unsupported SCRAM extension", {}, {}});
    return false;
  }
  if (!cut_attribute(bare, 'n')) {
    fail_malformed("Attribute \"n\" expected.");
    return false;
  }
  const auto nonce = cut_attribute(bare, 'r');
  if (!nonce) {
    fail_malformed("Attribute \"r\" expected.");
    return false;
  }
  if (nonce->size() > kScramNonceBytesMax) {
    fail_malformed("The client's nonce is too long.");
    return false;
  }
  if (!is_nonce(*nonce)) {
    fail(ScramFailure::Kind::protocol,
         ProtocolError{sqlstate::kProtocolViolation, "non-printable characters in SCRAM nonce", {}, {}});
    return false;
  }
  // Optional extensions may follow; they are ours to ignore.
  while (!bare.empty()) {
    if (!cut_any_attribute(bare)) {
      fail_malformed("Attribute expected in client-first-message.");
      return false;
    }
  }
  nonce_ = *nonce;
  return true;
}

std::optional<std::string> ScramServer::client_first(std::string_view message) {
  if (state_ != State::initial) return fail_malformed("A client-first-message was not expected.");
  if (auto fault = fault_of_form(message)) return fail_malformed(std::move(*fault));

  if (!read_gs2_header(message)) return std::nullopt;
  if (!read_client_first_bare(message)) return std::nullopt;
  nonce_ += server_nonce_;
  std::string reply = fmt::format("r={},s={},i={}", nonce_, base64_encode(verifier_.salt), verifier_.iterations);
  auth_message_ = fmt::format("{},{}", message, reply);
  state_ = State::first_done;
  return reply;
}

bool ScramServer::proof_is_right(std::string_view proof) {
  ScramKey client_proof;
  std::copy(proof.begin(), proof.end(), client_proof.begin());
  const ScramKey signature = scram_hmac(verifier_.stored_key, auth_message_);
  client_key_ = scram_xor(client_proof, signature);
  const bool equal = scram_equal(scram_h(client_key_), verifier_.stored_key);
  return equal && !verifier_.never_matches;
}

bool ScramServer::check_binding(std::string_view attribute) {
  const std::string expected = base64_encode(binding_.plus ? gs2_header_ + binding_.server_end_point : gs2_header_);
  if (equal_in_constant_time(attribute, expected)) return true;
  ProtocolError error{
      sqlstate::kProtocolViolation, "unexpected SCRAM channel-binding attribute in client-final-message", {}, {}};
  if (binding_.plus) {
    error = {sqlstate::kInvalidAuthorizationSpecification, "SCRAM channel binding check failed", {}, {}};
  }
  fail(ScramFailure::Kind::protocol, std::move(error));
  return false;
}

void ScramServer::set_keys(const ScramKeys& keys) {
  verifier_.stored_key = keys.stored_key;
  verifier_.server_key = keys.server_key;
  verifier_.never_matches = false;
}

std::optional<std::string> ScramServer::client_final(std::string_view message) {
  if (state_ != State::first_done) return fail_malformed("A client-final-message was not expected.");
  if (auto fault = fault_of_form(message)) return fail_malformed(std::move(*fault));

  std::string_view rest = message;
  const auto binding = cut_attribute(rest, 'c');
  if (!binding) return fail_malformed("Attribute \"c\" expected.");
  if (!check_binding(*binding)) return std::nullopt;
  const auto nonce = cut_attribute(rest, 'r');
  if (!nonce) return fail_malformed("Attribute \"r\" expected.");

  // The proof is the last attribute; extensions may stand before it.
  std::optional<std::pair<char, std::string_view>> attribute;
  std::string_view without_proof;
  do {
    without_proof = message.substr(0, message.size() - rest.size());
    attribute = cut_any_attribute(rest);
    if (!attribute) return fail_malformed("Attribute \"p\" expected.");
  } while (attribute->first != 'p');
  if (!rest.empty()) return fail_malformed("Garbage found at the end of client-final-message.");
  const auto proof = base64_decode(attribute->second);
  if (!proof || proof->size() != kScramKeyBytes) return fail_malformed("Malformed proof in client-final-message.");

  if (*nonce != nonce_) {
    return fail(ScramFailure::Kind::protocol,
                ProtocolError{sqlstate::kProtocolViolation, "invalid SCRAM response", "Nonce does not match.", {}});
  }

  without_proof.remove_suffix(1);  // the comma before the proof
  auth_message_.append(",").append(without_proof);
  if (!proof_is_right(*proof)) {
    OPENSSL_cleanse(client_key_.data(), client_key_.size());
    return fail(ScramFailure::Kind::wrong_password,
                ProtocolError{sqlstate::kInvalidPassword, "password authentication failed", {}, {}});
  }
  state_ = State::succeeded;
  return "v=" + base64_encode(as_bytes(scram_hmac(verifier_.server_key, auth_message_)));
}

std::optional<ScramKeys> ScramServer::keys() const {
  if (state_ != State::succeeded) return std::nullopt;
  ScramKeys keys;
  keys.stored_key = verifier_.stored_key;
  keys.server_key = verifier_.server_key;
  keys.client_key = client_key_;
  return keys;
}

// ---- The client's side -------------------------------------------------------------------------------------------

namespace {

std::string gs2_header_for(const ChannelBinding& binding) {
  if (binding.server_end_point.empty()) return "n,,";
  return binding.plus ? fmt::format("p={},,", kBindingType) : "y,,";
}

}  // namespace

ScramClient::ScramClient(std::string nonce, std::string_view user, ChannelBinding binding)
    : nonce_(std::move(nonce)),
      binding_(std::move(binding)),
      gs2_header_(gs2_header_for(binding_)),
      first_bare_(fmt::format("n={},r={}", escape_user(user), nonce_)) {
  if (binding_.plus && binding_.server_end_point.empty()) fail("there is nothing to bind the login to");
}

ScramClient::~ScramClient() {
  OPENSSL_cleanse(server_key_.data(), server_key_.size());
}

std::nullopt_t ScramClient::fail(std::string reason) {
  if (failure_.empty()) failure_ = std::move(reason);
  state_ = State::failed;
  return std::nullopt;
}

std::string ScramClient::first() const {
  return gs2_header_ + first_bare_;
}

std::optional<ScramClient::Challenge> ScramClient::server_first(std::string_view message) {
  if (state_ != State::initial) return fail("server-first-message was not expected");
  if (const auto fault = fault_of_form(message)) return fail("malformed server-first-message: " + *fault);
  if (message.starts_with("m=")) return fail("the server requires an unsupported SCRAM extension");

  std::string_view rest = message;
  const auto nonce = cut_attribute(rest, 'r');
  if (!nonce) return fail("malformed server-first-message: no nonce");
  const auto salt_text = cut_attribute(rest, 's');
  if (!salt_text) return fail("malformed server-first-message: no salt");
  const auto iterations_text = cut_attribute(rest, 'i');
  if (!iterations_text) return fail("malformed server-first-message: no iteration count");
  if (!rest.empty()) return fail("malformed server-first-message: garbage at its end");

  if (nonce->size() > kScramNonceBytesMax) return fail("the server's nonce is too long");
  if (!is_nonce(*nonce)) return fail("the server's nonce has non-printable characters");
  if (!nonce->starts_with(nonce_)) return fail("the server's nonce does not begin with ours");
  if (nonce->size() == nonce_.size()) return fail("the server added nothing to the nonce");
  auto salt = base64_decode(*salt_text);
  if (!salt || salt->size() > kScramSaltBytesMax) return fail("malformed server-first-message: invalid salt");
  const auto iterations = parse_scram_iterations(*iterations_text);
  if (!iterations || *iterations > kScramIterationsMax) {
    return fail(fmt::format("invalid iteration count in server-first-message (1 to {} is taken)", kScramIterationsMax));
  }

  server_nonce_ = *nonce;
  server_first_ = message;
  state_ = State::challenged;
  return Challenge{std::move(*salt), *iterations};
}

std::optional<std::string> ScramClient::final_message(const ScramKeys& keys) {
  if (state_ != State::challenged) return fail("the server has not sent its challenge");
  if (!keys.client_key) return fail("no client key to log in with");
  const std::string bound = binding_.plus ? gs2_header_ + binding_.server_end_point : gs2_header_;
  const std::string without_proof = fmt::format("c={},r={}", base64_encode(bound), server_nonce_);
  auth_message_ = fmt::format("{},{},{}", first_bare_, server_first_, without_proof);
  const ScramKey signature = scram_hmac(keys.stored_key, auth_message_);
  const ScramKey proof = scram_xor(*keys.client_key, signature);
  server_key_ = keys.server_key;
  state_ = State::proven;
  return fmt::format("{},p={}", without_proof, base64_encode(as_bytes(proof)));
}

bool ScramClient::verify_server_final(std::string_view message) {
  if (state_ != State::proven) {
    fail("server-final-message was not expected");
    return false;
  }
  if (const auto fault = fault_of_form(message)) {
    fail("malformed server-final-message: " + *fault);
    return false;
  }
  std::string_view rest = message;
  if (const auto error = cut_attribute(rest, 'e')) {
    fail(fmt::format("the server refused the SCRAM exchange: {}", quoted(*error)));
    return false;
  }
  const auto text = cut_attribute(rest, 'v');
  const auto signature = text ? base64_decode(*text) : std::nullopt;
  if (!signature || signature->size() != kScramKeyBytes || !rest.empty()) {
    fail("malformed server-final-message");
    return false;
  }
  ScramKey given;
  std::copy(signature->begin(), signature->end(), given.begin());
  if (!scram_equal(given, scram_hmac(server_key_, auth_message_))) {
    fail("incorrect server signature: the server does not know the password");
    return false;
  }
  state_ = State::succeeded;
  return true;
}

}  // namespace bezel::protocol
