#pragma once

#include <ldap.h>

namespace bezel::login {

/// libldap's functions. The library is loaded when a login by LDAP is first configured: it brings GnuTLS and Kerberos
/// along, which others need not carry. Once loaded it stays.
struct Libldap {
  /// Null if libldap-2.5.so.0 cannot be loaded. Any thread.
  static const Libldap* load();

  // As the functions of the same names in libldap, without "ldap_".
  decltype(&ldap_initialize) initialize;
  decltype(&ldap_set_option) set_option;
  decltype(&ldap_get_option) get_option;
  decltype(&ldap_start_tls_s) start_tls_s;
  decltype(&ldap_sasl_bind_s) sasl_bind_s;
  decltype(&ldap_search_ext_s) search_ext_s;
  decltype(&ldap_count_entries) count_entries;
  decltype(&ldap_first_entry) first_entry;
  decltype(&ldap_get_dn) get_dn;
  decltype(&ldap_msgfree) msgfree;
  decltype(&ldap_memfree) memfree;
  decltype(&ldap_unbind_ext_s) unbind_ext_s;
  decltype(&ldap_err2string) err2string;
  decltype(&ldap_url_parse) url_parse;
  decltype(&ldap_free_urldesc) free_urldesc;
  // And two of liblber, which it brings along.
  decltype(&ber_sockbuf_add_io) sockbuf_add_io;
  decltype(&ber_sockbuf_ctrl) sockbuf_ctrl;
};

}  // namespace bezel::login
