#pragma once

#include "pool/password_checker.h"

namespace bezel::login {

/// Asks PAM's modules whether the password is right and the account may be used now. Blocks for as long as they like.
pool::PasswordVerdict check_by_pam(const pool::PasswordQuestion& question);

}  // namespace bezel::login
