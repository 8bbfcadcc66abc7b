#pragma once

#include "pool/password_checker.h"

namespace bezel::login {

/// Asks an LDAP server whether the password is right, by binding with it. Blocks, but has limits: kLdapConnectTimeoutS
/// for reaching each server, and for each step of a TLS handshake; kLdapAnswerTimeoutS for each answer; kLdapSessionS
/// for all that is read.
pool::PasswordVerdict check_by_ldap(const pool::PasswordQuestion& question);

constexpr int kLdapConnectTimeoutS = 3;
constexpr int kLdapAnswerTimeoutS = 10;
constexpr int kLdapSessionS = 30;

}  // namespace bezel::login
