#include "src/login/libldap.h"

#include <optional>

#include "src/shared_library.h"

namespace bezel::login {

namespace {

std::optional<Libldap> load_all() {
  const SharedLibrary library("libldap-2.5.so.0");
  Libldap ldap{};
  const bool whole =
      library.find("ldap_initialize", ldap.initialize) && library.find("ldap_set_option", ldap.set_option) &&
      library.find("ldap_get_option", ldap.get_option) && library.find("ldap_start_tls_s", ldap.start_tls_s) &&
      library.find("ldap_sasl_bind_s", ldap.sasl_bind_s) && library.find("ldap_search_ext_s", ldap.search_ext_s) &&
      library.find("ldap_count_entries", ldap.count_entries) && library.find("ldap_first_entry", ldap.first_entry) &&
      library.find("ldap_get_dn", ldap.get_dn) && library.find("ldap_msgfree", ldap.msgfree) &&
      library.find("ldap_memfree", ldap.memfree) && library.find("ldap_unbind_ext_s", ldap.unbind_ext_s) &&
      library.find("ldap_err2string", ldap.err2string) && library.find("ldap_url_parse", ldap.url_parse) &&
      library.find("ldap_free_urldesc", ldap.free_urldesc) && library.find("ber_sockbuf_add_io", ldap.sockbuf_add_io) &&
      library.find("ber_sockbuf_ctrl", ldap.sockbuf_ctrl);
  if (!whole) return std::nullopt;
  // The library reads its own configuration when it is first called, which several threads must not do at once.
  int version = 0;
  if (ldap.get_option(nullptr, LDAP_OPT_PROTOCOL_VERSION, &version) != LDAP_OPT_SUCCESS) return std::nullopt;
  return ldap;
}

}  // namespace

const Libldap* Libldap::load() {
  return load_once(load_all);
}

}  // namespace bezel::login
