#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

namespace bezel::protocol {

/// PgBouncer's bound on names; more than any PostgreSQL identifier has.
inline constexpr size_t kUserlistNameBytesMax = 127;
inline constexpr size_t kUserlistSecretBytesMax = 65536;

struct UserlistEntry {
  std::string user;
  std::string secret;  ///< plain, md5 or SCRAM: see parse_secret()
  size_t line = 0;     ///< where it stands, from 1
};

/// A line that could not be read. The message names the fault and never shows the line's content.
struct UserlistError {
  size_t line = 0;
  std::string message;
};

struct Userlist {
  std::vector<UserlistEntry> entries;  ///< in file order, one a user: the last line of a user wins
  std::vector<UserlistError> errors;   ///< at most kUserlistErrorsMax
};

inline constexpr size_t kUserlistErrorsMax = 100;

/// Parses PgBouncer's userlist.txt: lines of `"user" "secret"`, in which `""` is one quote; what follows the secret on
/// the line, after white space, is ignored; blank lines and lines beginning with `;` or `#` are skipped. A faulty line
/// gives an error and costs only itself.
///
/// The Zalando operator writes passwords without doubling their quotes. So a line that is not well formed by the rule
/// above is read literally, when it can mean only one thing: the secret is all between its opening quote and the quote
/// that is the line's last non-blank character. `"u" "a"b"` has the secret `a"b`; `"u" "a" b"` could also mean
/// `a` with something after it, and is an error.
Userlist parse_userlist(std::string_view text);

}  // namespace bezel::protocol
