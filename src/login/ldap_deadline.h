#pragma once

#include <chrono>

#include "src/login/libldap.h"

namespace bezel::login {

/// Ends a connection whose server says nothing for `silence` in the middle of something, or goes on beyond a certain
/// time. libldap limits how long it waits for answers, but not a TLS handshake: with GnuTLS it reads again and again
/// for as long as the server says nothing, and uses a core for that.
class LdapDeadline {
 public:
  using Clock = std::chrono::steady_clock;

  LdapDeadline(const Libldap& ldap, Clock::duration silence, Clock::time_point at);
  LdapDeadline(const LdapDeadline&) = delete;
  LdapDeadline& operator=(const LdapDeadline&) = delete;

  /// From here on it holds for the connections of `handle`. Must outlive it. Returns libldap's status.
  int watch(LDAP* handle);

 private:
  static int connected(LDAP* handle, Sockbuf* buffer, LDAPURLDesc* server, sockaddr* address, ldap_conncb* callbacks);
  static void disconnected(LDAP* handle, Sockbuf* buffer, ldap_conncb* callbacks);
  static int set_up(Sockbuf_IO_Desc* layer, void* deadline);
  static int control(Sockbuf_IO_Desc* layer, int option, void* argument);
  static ber_slen_t read(Sockbuf_IO_Desc* layer, void* to, ber_len_t size);
  static ber_slen_t write(Sockbuf_IO_Desc* layer, void* from, ber_len_t size);
  /// Whether there is something to read in time.
  bool await(int descriptor) const;

  const Libldap& ldap_;
  const Clock::duration silence_;
  const Clock::time_point at_;
  ldap_conncb callbacks_;
  Sockbuf_IO layer_;  ///< between TLS and the socket
};

}  // namespace bezel::login
