#pragma once

#include <array>
#include <optional>
#include <string>
#include <string_view>

#include "protocol/scram.h"

namespace bezel::protocol {

enum class SecretKind { plain, md5, scram_sha_256 };

/// A user's secret as it stands in userlist.txt, the configuration, or pg_authid.
struct StoredSecret {
  SecretKind kind = SecretKind::plain;
  std::string text;        ///< as it was stored: the password itself for `plain`, "md5" + 32 hex digits for `md5`
  ScramVerifier verifier;  ///< scram_sha_256 only
};

/// Tells a secret's kind by its form, as PostgreSQL does: "md5" + 32 lower-case hex digits; a well-formed SCRAM-SHA-256
/// verifier; everything else is a plain password.
StoredSecret parse_secret(std::string_view text);

/// "md5" + hex(md5(password || user)). Nothing when this build of OpenSSL offers no MD5 (FIPS).
std::optional<std::string> md5_of(std::string_view password, std::string_view user);

/// The answer to an md5 challenge: "md5" + hex(md5(hex part of `md5_secret` || salt)). Nothing when `md5_secret` is not
/// "md5" + 32 characters, or MD5 is not offered.
std::optional<std::string> md5_challenge_response(std::string_view md5_secret,
                                                  const std::array<unsigned char, 4>& salt);

/// The same from a stored secret, plain or md5; nothing for a SCRAM verifier, from which it cannot be made.
std::optional<std::string> md5_challenge_response(const StoredSecret& secret, std::string_view user,
                                                  const std::array<unsigned char, 4>& salt);

/// Whether they are the same bytes, in a time that depends on the length of what was given, and on nothing of the
/// secret.
bool equal_in_constant_time(std::string_view given, std::string_view secret);

/// Checks a password sent in clear text against a secret of any kind. Slow for a SCRAM verifier (see derive_keys());
/// one with more than kScramIterationsMax iterations never matches. An empty password never matches, as in PostgreSQL.
bool verify_password(const StoredSecret& secret, std::string_view user, std::string_view password);

/// Checks the answer to an md5 challenge. A SCRAM verifier never matches.
bool verify_md5_response(const StoredSecret& secret, std::string_view user, const std::array<unsigned char, 4>& salt,
                         std::string_view response);

}  // namespace bezel::protocol
