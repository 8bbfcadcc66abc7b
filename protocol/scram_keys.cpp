// The part of scram.h that is about keys and verifiers; the exchange itself is in scram.cpp.

#include <fmt/format.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <stringprep.h>

#include <algorithm>
#include <charconv>
#include <cstdlib>
#include <memory>
#include <vector>

#include "protocol/base64.h"
#include "protocol/scram.h"
#include "protocol/scram_hash.h"
#include "protocol/wipe.h"

namespace bezel::protocol {

namespace {

constexpr size_t kSaslprepBytesMax = 4096;

struct Free {
  void operator()(void* memory) const { std::free(memory); }
};

bool is_ascii(std::string_view text) {
  return std::all_of(text.begin(), text.end(), [](char c) { return static_cast<unsigned char>(c) < 0x80; });
}

/// The text after the prefix, when it has it.
std::optional<std::string_view> after(std::string_view text, std::string_view prefix) {
  if (!text.starts_with(prefix)) return std::nullopt;
  return text.substr(prefix.size());
}

/// Cuts off and returns what stands before the separator.
std::optional<std::string_view> cut_before(std::string_view& text, char separator) {
  const size_t at = text.find(separator);
  if (at == std::string_view::npos) return std::nullopt;
  const std::string_view part = text.substr(0, at);
  text.remove_prefix(at + 1);
  return part;
}

std::optional<ScramKey> decode_key(std::string_view text) {
  const auto bytes = base64_decode(text);
  if (!bytes || bytes->size() != kScramKeyBytes) return std::nullopt;
  ScramKey key;
  std::copy(bytes->begin(), bytes->end(), key.begin());
  return key;
}

}  // namespace

ScramKeys::~ScramKeys() {
  OPENSSL_cleanse(stored_key.data(), stored_key.size());
  OPENSSL_cleanse(server_key.data(), server_key.size());
  if (client_key) OPENSSL_cleanse(client_key->data(), client_key->size());
}

std::string saslprep_or_raw(std::string_view password) {
  // One copy and no more: the caller wipes it.
  std::string result(password);
  if (result.size() > kSaslprepBytesMax || is_ascii(result) || result.find('\0') != std::string::npos) return result;

  size_t length = 0;
  const std::unique_ptr<uint32_t, Free> points(
      stringprep_utf8_to_ucs4(result.data(), static_cast<ssize_t>(result.size()), &length));
  if (!points) return result;  // not UTF-8

  const size_t points_count = length;
  // Room for the longest expansion of NFKC (18 for one), so that no retry with a larger buffer is needed.
  std::vector<uint32_t> prepared(length * 18 + 1);
  std::copy(points.get(), points.get() + length, prepared.begin());
  const int status =
      stringprep_4i(prepared.data(), &length, prepared.size(), STRINGPREP_NO_UNASSIGNED, stringprep_saslprep);
  if (status == STRINGPREP_OK && length > 0) {
    const std::unique_ptr<char, Free> text(
        stringprep_ucs4_to_utf8(prepared.data(), static_cast<ssize_t>(length), nullptr, nullptr));
    if (text) {
      wipe(result);
      result = text.get();
      OPENSSL_cleanse(text.get(), result.size());
    }
  }
  OPENSSL_cleanse(points.get(), points_count * sizeof(uint32_t));
  OPENSSL_cleanse(prepared.data(), prepared.size() * sizeof(uint32_t));
  return result;
}

std::optional<ScramKeys> derive_keys(std::string_view password, std::string_view salt, int iterations) {
  if (iterations < 1 || iterations > kScramIterationsMax || salt.size() > kScramSaltBytesMax) return std::nullopt;
  std::string prepared = saslprep_or_raw(password);
  ScramKey salted;
  const int ok = PKCS5_PBKDF2_HMAC(prepared.data(), static_cast<int>(prepared.size()),
                                   reinterpret_cast<const unsigned char*>(salt.data()), static_cast<int>(salt.size()),
                                   iterations, EVP_sha256(), static_cast<int>(salted.size()), salted.data());
  OPENSSL_cleanse(prepared.data(), prepared.size());
  if (ok != 1) return std::nullopt;

  ScramKeys keys;
  keys.client_key = scram_hmac(salted, "Client Key");
  keys.stored_key = scram_h(*keys.client_key);
  keys.server_key = scram_hmac(salted, "Server Key");
  OPENSSL_cleanse(salted.data(), salted.size());
  return keys;
}

ScramVerifier make_verifier(const ScramKeys& keys, std::string_view salt, int iterations) {
  ScramVerifier verifier;
  verifier.iterations = iterations;
  verifier.salt = salt;
  verifier.stored_key = keys.stored_key;
  verifier.server_key = keys.server_key;
  return verifier;
}

std::string build_verifier(const ScramVerifier& verifier) {
  return fmt::format("{}${}:{}${}:{}", kScramSha256, verifier.iterations, base64_encode(verifier.salt),
                     base64_encode(as_bytes(verifier.stored_key)), base64_encode(as_bytes(verifier.server_key)));
}

std::optional<ScramVerifier> parse_verifier(std::string_view text) {
  auto rest = after(text, "SCRAM-SHA-256$");
  if (!rest) return std::nullopt;
  const auto iterations = cut_before(*rest, ':');
  if (!iterations) return std::nullopt;
  const auto salt_text = cut_before(*rest, '$');
  if (!salt_text) return std::nullopt;
  const auto stored_text = cut_before(*rest, ':');
  if (!stored_text) return std::nullopt;

  const auto salt = base64_decode(*salt_text);
  const auto stored_key = decode_key(*stored_text);
  const auto server_key = decode_key(*rest);
  const auto count = parse_scram_iterations(*iterations);
  if (!salt || salt->size() > kScramSaltBytesMax || !stored_key || !server_key || !count) return std::nullopt;
  ScramVerifier verifier;
  verifier.iterations = *count;
  verifier.salt = *salt;
  verifier.stored_key = *stored_key;
  verifier.server_key = *server_key;
  return verifier;
}

ScramVerifier mock_verifier(std::string_view user, std::string_view secret_key_bytes) {
  const auto derived = [&](std::string_view purpose) {
    return scram_hmac(secret_key_bytes, std::string(purpose).append(user));
  };
  ScramVerifier verifier;
  verifier.salt = as_bytes(derived("salt:")).substr(0, kScramSaltBytes);
  verifier.stored_key = derived("stored:");
  verifier.server_key = derived("server:");
  verifier.never_matches = true;
  return verifier;
}

std::string scram_nonce(std::string_view random_bytes) {
  return base64_encode(random_bytes);
}

std::optional<int> parse_scram_iterations(std::string_view text) {
  int value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size() || value < 1) return std::nullopt;
  return value;
}

}  // namespace bezel::protocol
