#pragma once

#include <libpq-fe.h>

namespace bezel::config {

/// libpq's reader of connection strings. The library is loaded when it is needed and let go afterwards: it brings along
/// LDAP, Kerberos and GnuTLS, three megabytes of memory that a pooler would carry for the rest of its life.
class Libpq {
 public:
  Libpq();
  ~Libpq();
  Libpq(const Libpq&) = delete;
  Libpq& operator=(const Libpq&) = delete;

  /// False if libpq.so.5 cannot be loaded; then nothing below may be called.
  bool loaded() const { return library_ != nullptr; }

  // As the functions of the same names in libpq.
  decltype(&PQconninfoParse) conninfo_parse = nullptr;
  decltype(&PQconninfoFree) conninfo_free = nullptr;
  decltype(&PQfreemem) freemem = nullptr;

 private:
  void* library_ = nullptr;
};

}  // namespace bezel::config
