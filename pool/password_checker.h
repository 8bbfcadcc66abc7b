#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "pool/ldap_settings.h"
#include "pool/settings.h"
#include "protocol/wipe.h"

// Passwords that are not Bezel's to judge: PAM or an LDAP server knows whether they are right.
namespace bezel::pool {

struct PasswordQuestion {
  PasswordQuestion() = default;
  PasswordQuestion(const PasswordQuestion&) = delete;
  PasswordQuestion& operator=(const PasswordQuestion&) = delete;
  ~PasswordQuestion() { protocol::wipe(password); }

  AuthType method = AuthType::pam;           ///< pam or ldap
  std::string pam_service;                   ///< pam
  std::shared_ptr<const LdapSettings> ldap;  ///< ldap; not null then
  std::string user, password;
  std::string client_address;  ///< empty: it comes by the Unix socket
  /// Nobody waits for the verdict any more. Any thread.
  std::atomic<bool> given_up{false};
};

struct PasswordVerdict {
  enum class Kind : uint8_t {
    right,
    wrong,
    unknown,  ///< it could not be found out, whoever the user is
  };
  Kind kind = Kind::unknown;
  std::string reason;  ///< why not right, for the log; one printable line
};

/// Has passwords checked, on threads that may block. Any thread may call it.
class PasswordChecker {
 public:
  /// Called on another thread: it must only post to its own worker.
  using Done = std::function<void(const PasswordVerdict&)>;

  virtual ~PasswordChecker() = default;

  /// `done` follows, unless the question is given up or the process ends first. False: too many wait already, and
  /// nothing follows.
  virtual bool check(std::shared_ptr<PasswordQuestion> question, Done done) = 0;
};

}  // namespace bezel::pool
