#include "src/login/libpam.h"

#include <mutex>
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
  static std::mutex mutex;
  static std::optional<Libpam> loaded;
  const std::lock_guard lock(mutex);
  // It is tried again when it has failed: whoever is told of it may install the library meanwhile.
  if (!loaded) loaded = load_all();
  return loaded ? &*loaded : nullptr;
}

}  // namespace bezel::login
