#include "src/login/ldap_deadline.h"

#include <poll.h>

#include <algorithm>
#include <cerrno>

namespace bezel::login {

LdapDeadline::LdapDeadline(const Libldap& ldap, Clock::duration silence, Clock::time_point at)
    : ldap_(ldap), silence_(silence), at_(at), callbacks_{connected, disconnected, this}, layer_{set_up,  nullptr,
                                                                                                 control, read,
                                                                                                 write,   nullptr} {}

int LdapDeadline::watch(LDAP* handle) {
  return ldap_.set_option(handle, LDAP_OPT_CONNECT_CB, &callbacks_);
}

int LdapDeadline::connected(LDAP*, Sockbuf* buffer, LDAPURLDesc*, sockaddr*, ldap_conncb* callbacks) {
  auto* const self = static_cast<LdapDeadline*>(callbacks->lc_arg);
  return self->ldap_.sockbuf_add_io(buffer, &self->layer_, LBER_SBIOD_LEVEL_PROVIDER + 1, self);
}

void LdapDeadline::disconnected(LDAP*, Sockbuf*, ldap_conncb*) {}

int LdapDeadline::set_up(Sockbuf_IO_Desc* layer, void* deadline) {
  layer->sbiod_pvt = deadline;
  return 0;
}

int LdapDeadline::control(Sockbuf_IO_Desc* layer, int option, void* argument) {
  return LBER_SBIOD_CTRL_NEXT(layer, option, argument);
}

ber_slen_t LdapDeadline::read(Sockbuf_IO_Desc* layer, void* to, ber_len_t size) {
  const auto* const self = static_cast<const LdapDeadline*>(layer->sbiod_pvt);
  int descriptor = -1;
  self->ldap_.sockbuf_ctrl(layer->sbiod_sb, LBER_SB_OPT_GET_FD, &descriptor);
  // As if the server had closed the connection: an error would be tried again.
  if (!self->await(descriptor)) return 0;
  return LBER_SBIOD_READ_NEXT(layer, to, size);
}

ber_slen_t LdapDeadline::write(Sockbuf_IO_Desc* layer, void* from, ber_len_t size) {
  return LBER_SBIOD_WRITE_NEXT(layer, from, size);
}

bool LdapDeadline::await(int descriptor) const {
  const Clock::time_point until = std::min(at_, Clock::now() + silence_);
  while (true) {
    const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(until - Clock::now());
    pollfd wanted{descriptor, POLLIN, 0};
    const int ready = ::poll(&wanted, 1, static_cast<int>(std::max<int64_t>(left.count(), 0)));
    if (ready < 0 && errno == EINTR) continue;
    return ready > 0;
  }
}

}  // namespace bezel::login
