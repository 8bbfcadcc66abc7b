// A SCRAM login, with SCRAM-SHA-256-PLUS or without. Its four messages go from side to side as they are, or changed, or
// are the input's own: who lets the other one in must have got what was said.

#include <optional>
#include <string>

#include "protocol/scram.h"
#include "tests/fuzz/target.h"

namespace {

using namespace bezel::protocol;
using bezel::fuzz::Input;
using bezel::fuzz::must;

constexpr std::string_view kPassword = "pencil";
constexpr int kIterations = 2;

const ScramKeys& keys() {
  static const ScramKeys kKeys = *derive_keys(kPassword, "salt", kIterations);
  return kKeys;
}

ChannelBinding binding_of(char choice) {
  const std::string hash(32, 'h');
  switch (choice) {
    case 'p':
      return {hash, true};
    case 'y':
      return {hash, false};
    default:
      return {};
  }
}

/// One line of the input: what becomes of a message. Empty: it arrives as it is. `=TEXT` stands in its place; `+TEXT`
/// is put behind it; `~TEXT` before it; anything else replaces the first byte that is the line's first by the rest.
std::string changed(const std::string& message, std::string_view line) {
  if (line.empty()) return message;
  const std::string_view text = line.substr(1);
  if (line.front() == '=') return std::string(text);
  if (line.front() == '+') return message + std::string(text);
  if (line.front() == '~') return std::string(text) + message;
  std::string result = message;
  const size_t at = result.find(line.front());
  if (at != std::string::npos) result.replace(at, 1, text);
  return result;
}

void check_failure(const ScramServer& server, const std::optional<std::string>& answer) {
  must(answer.has_value() == (server.failure().kind == ScramFailure::Kind::none), "a failure says why");
}

void run(Input& input) {
  const std::string_view choices = input.line();
  const auto choice = [&](size_t at) { return at < choices.size() ? choices[at] : 'n'; };
  ScramServer server(make_verifier(keys(), "salt", kIterations), "server-nonce", binding_of(choice(0)));
  ScramClient client("client-nonce", "", binding_of(choice(1)));

  const std::string first = client.first();
  const std::string first_arrived = changed(first, input.line());
  const auto challenge = server.client_first(first_arrived);
  check_failure(server, challenge);
  const std::string challenge_arrived = changed(challenge.value_or(""), input.line());
  const auto asked = client.server_first(challenge_arrived);
  must(asked.has_value() == client.failure().empty(), "a failure says why");
  if (asked) must(asked->iterations >= 1 && asked->iterations <= kScramIterationsMax, "iterations that can be made");
  const auto proof = client.final_message(keys());
  const std::string proof_arrived = changed(proof.value_or(""), input.line());
  const auto signature = server.client_final(proof_arrived);
  must(!signature || server.failure().kind == ScramFailure::Kind::none, "a failure says why");
  const std::string signature_arrived = changed(signature.value_or(""), input.line());
  const bool is_server = client.verify_server_final(signature_arrived);

  must(server.keys().has_value() == signature.has_value(), "there are keys after a login, and only then");
  // Nothing of the three messages may have changed without the password: the proofs are over all of them. (What the
  // flag before the client's first message says, the last one repeats.)
  const bool intact = first_arrived == first && challenge && challenge_arrived == *challenge && proof_arrived == proof;
  if (signature) must(intact, "a changed exchange lets nobody in");
  if (is_server) must(intact && signature && signature_arrived == *signature, "a changed exchange proves nothing");
  if (signature) {
    must(*server.keys()->client_key == *keys().client_key, "the client's key comes out of its proof");
    must(client.channel_bound() == (is_server && choice(0) == 'p' && choice(1) == 'p'), "bound when both are");
  }
  const bool agree = choice(0) == choice(1) && choice(0) != 'y';
  if (intact && agree && !signature) must(false, "the right password lets in");
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  Input input(data, size);
  run(input);
  return 0;
}
