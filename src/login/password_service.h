#pragma once

#include "pool/password_checker.h"
#include "src/net/blocking_threads.h"

namespace bezel::login {

/// Has passwords checked by PAM and by LDAP servers. A slow one of the two does not hold up the other one.
class PasswordService final : public pool::PasswordChecker {
 public:
  bool check(std::shared_ptr<pool::PasswordQuestion> question, Done done) override;
  /// From here on no verdict is told. False: a check goes on; see net::BlockingThreads::stop().
  bool stop();

  static constexpr size_t kChecksAtOnceMax = 8;  // of each
  static constexpr size_t kWaitingMax = 1000;    // of each

 private:
  net::BlockingThreads pam_{"bezel-pam", {kChecksAtOnceMax, kWaitingMax}};
  net::BlockingThreads ldap_{"bezel-ldap", {kChecksAtOnceMax, kWaitingMax}};
};

}  // namespace bezel::login
