// Stored secrets (plain, md5, SCRAM) and the file of users, userlist.txt.

#include <array>
#include <string>

#include "protocol/base64.h"
#include "protocol/secret.h"
#include "protocol/userlist.h"
#include "tests/fuzz/target.h"

namespace {

using namespace bezel::protocol;
using bezel::fuzz::must;

constexpr std::array<unsigned char, 4> kSalt = {1, 2, 3, 4};

void check_secret(std::string_view text) {
  const StoredSecret secret = parse_secret(text);
  must(secret.text == text, "a secret is kept as it was stored");
  if (secret.kind == SecretKind::scram_sha_256) {
    const auto again = parse_verifier(build_verifier(secret.verifier));
    must(again == secret.verifier, "a verifier is written as it was read");
    return;
  }
  const auto response = md5_challenge_response(secret, "alice", kSalt);
  must(response && verify_md5_response(secret, "alice", kSalt, *response), "a secret answers its own challenge");
  must(!verify_md5_response(secret, "alice", kSalt, response->substr(1)), "half an answer is none");
  if (secret.kind == SecretKind::plain) {
    must(verify_password(secret, "alice", text) == !text.empty(), "a password is right, but the empty one");
    const auto hashed = md5_of(text, "alice");
    must(hashed && verify_password(parse_secret(*hashed), "alice", text) == !text.empty(), "its md5 lets in as well");
  }
}

void check_base64(std::string_view text) {
  must(base64_decode(base64_encode(text)) == text, "base64 and back");
  if (const auto bytes = base64_decode(text)) {
    must(base64_encode(*bytes).size() == text.size(), "bytes are as many as the text says");
  }
}

std::string doubled(std::string_view text) {
  std::string result;
  for (const char c : text) {
    if (c == '"') result += c;
    result += c;
  }
  return result;
}

/// Written by the rule and read again, it has the same users.
void check_userlist(std::string_view text) {
  const Userlist list = parse_userlist(text);
  must(list.errors.size() <= kUserlistErrorsMax, "not more errors than anybody reads");
  std::string written;
  for (const UserlistEntry& entry : list.entries) {
    must(!entry.user.empty() && entry.user.size() <= kUserlistNameBytesMax, "a user's name");
    written += '"' + doubled(entry.user) + "\" \"" + doubled(entry.secret) + "\"\n";
  }
  const Userlist again = parse_userlist(written);
  must(again.errors.empty() && again.entries.size() == list.entries.size(), "a written list is one");
  for (size_t i = 0; i < list.entries.size(); i++) {
    must(again.entries[i].user == list.entries[i].user && again.entries[i].secret == list.entries[i].secret,
         "a written list has the same users");
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view text = bezel::fuzz::as_text(data, size);
  check_secret(text.substr(0, text.find('\n')));
  check_base64(text);
  check_userlist(text);
  saslprep_or_raw(text.substr(0, 512));
  return 0;
}
