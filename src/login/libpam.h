#pragma once

#include <security/pam_appl.h>

namespace bezel::login {

/// libpam's functions. The library is loaded when a login by PAM is first configured: others need not carry it. Once
/// loaded it stays: its modules may have threads.
struct Libpam {
  /// Null if libpam.so.0 cannot be loaded. Any thread.
  static const Libpam* load();

  // As the functions of the same names in libpam, without "pam_".
  decltype(&pam_start) start;
  decltype(&pam_end) end;
  decltype(&pam_set_item) set_item;
  decltype(&pam_authenticate) authenticate;
  decltype(&pam_acct_mgmt) acct_mgmt;
  decltype(&pam_strerror) strerror;
};

}  // namespace bezel::login
