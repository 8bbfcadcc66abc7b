#include "src/login/libpam.h"

#include <optional>

#include "src/shared_library.h"

namespace bezel::login {

namespace {

std::optional<Libpam> load_all() {
  const SharedLibrary library("libpam.so.0");
  Libpam pam{};
  const bool whole = library.find("pam_start", pam.start) && library.find("pam_end", pam.end) &&
                     library.find("pam_set_item", pam.set_item) && library.find("pam_authenticate", pam.authenticate) &&
                     library.find("pam_acct_mgmt", pam.acct_mgmt) && library.find("pam_strerror", pam.strerror);
  return whole ? std::optional(pam) : std::nullopt;
}

}  // namespace

const Libpam* Libpam::load() {
  return load_once(load_all);
}

}  // namespace bezel::login
