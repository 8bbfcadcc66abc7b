#include "protocol/secret.h"

#include <utility>

#include "protocol/digest.h"
#include "protocol/scram_hash.h"
#include "protocol/wipe.h"

namespace bezel::protocol {

namespace {

constexpr std::string_view kMd5Prefix = "md5";
constexpr size_t kMd5SecretBytes = 35;

bool is_md5_secret(std::string_view text) {
  return text.size() == kMd5SecretBytes && text.starts_with(kMd5Prefix) &&
         text.find_first_not_of("0123456789abcdef", kMd5Prefix.size()) == std::string_view::npos;
}

/// "md5" + hex of the hash of a || b.
std::optional<std::string> md5_text(std::string_view a, std::string_view b) {
  std::string input;
  input.reserve(a.size() + b.size());
  input.append(a).append(b);
  thread_local Digest md5("MD5");
  std::array<unsigned char, 16> digest;
  const bool ok = md5.run(input, digest.data(), digest.size());
  wipe(input);
  if (!ok) return std::nullopt;

  constexpr std::string_view kHex = "0123456789abcdef";
  std::string text(kMd5Prefix);
  for (const unsigned char byte : digest) {
    text.push_back(kHex[byte >> 4]);
    text.push_back(kHex[byte & 15]);
  }
  return text;
}

bool verify_against_scram(const ScramVerifier& verifier, std::string_view password) {
  const auto keys = derive_keys(password, verifier.salt, verifier.iterations);
  return keys && scram_equal(keys->stored_key, verifier.stored_key) && !verifier.never_matches;
}

}  // namespace

StoredSecret parse_secret(std::string_view text) {
  StoredSecret secret;
  secret.text = text;
  if (is_md5_secret(text)) {
    secret.kind = SecretKind::md5;
  } else if (auto verifier = parse_verifier(text)) {
    secret.kind = SecretKind::scram_sha_256;
    secret.verifier = std::move(*verifier);
  }
  return secret;
}

std::optional<std::string> md5_of(std::string_view password, std::string_view user) {
  return md5_text(password, user);
}

std::optional<std::string> md5_challenge_response(std::string_view md5_secret,
                                                  const std::array<unsigned char, 4>& salt) {
  if (md5_secret.size() != kMd5SecretBytes || !md5_secret.starts_with(kMd5Prefix)) return std::nullopt;
  return md5_text(md5_secret.substr(kMd5Prefix.size()),
                  std::string_view(reinterpret_cast<const char*>(salt.data()), salt.size()));
}

std::optional<std::string> md5_challenge_response(const StoredSecret& secret, std::string_view user,
                                                  const std::array<unsigned char, 4>& salt) {
  switch (secret.kind) {
    case SecretKind::md5:
      return md5_challenge_response(secret.text, salt);
    case SecretKind::plain: {
      const auto hashed = md5_of(secret.text, user);
      return hashed ? md5_challenge_response(*hashed, salt) : std::nullopt;
    }
    case SecretKind::scram_sha_256:
      return std::nullopt;
  }
  return std::nullopt;
}

bool equal_in_constant_time(std::string_view given, std::string_view secret) {
  // Volatile: the compiler must not end the loop early either.
  volatile unsigned char difference = given.size() != secret.size() ? 1 : 0;
  for (size_t i = 0; i < given.size(); ++i) {
    const char other = i < secret.size() ? secret[i] : '\0';
    difference = static_cast<unsigned char>(difference | (given[i] ^ other));
  }
  return difference == 0;
}

bool verify_password(const StoredSecret& secret, std::string_view user, std::string_view password) {
  if (password.empty()) return false;
  switch (secret.kind) {
    case SecretKind::plain:
      return equal_in_constant_time(password, secret.text);
    case SecretKind::md5: {
      const auto hashed = md5_of(password, user);
      return hashed && equal_in_constant_time(*hashed, secret.text);
    }
    case SecretKind::scram_sha_256:
      return verify_against_scram(secret.verifier, password);
  }
  return false;
}

bool verify_md5_response(const StoredSecret& secret, std::string_view user, const std::array<unsigned char, 4>& salt,
                         std::string_view response) {
  const auto expected = md5_challenge_response(secret, user, salt);
  return expected && equal_in_constant_time(response, *expected);
}

}  // namespace bezel::protocol
