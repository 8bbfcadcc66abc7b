#pragma once

#include <libpq-fe.h>

#include "src/shared_library.h"

namespace bezel::config {

/// libpq's reader of connection strings. The library is loaded when it is needed and let go afterwards: it brings along
/// LDAP, Kerberos and GnuTLS, three megabytes of memory that a pooler would carry for the rest of its life.
class Libpq {
 public:
  Libpq();

  /// False if libpq.so.5 cannot be loaded; then nothing below may be called.
  bool loaded() const { return is_loaded_; }

  // As the functions of the same names in libpq.
  decltype(&PQconninfoParse) conninfo_parse = nullptr;
  decltype(&PQconninfoFree) conninfo_free = nullptr;
  decltype(&PQfreemem) freemem = nullptr;

 private:
  SharedLibrary library_;
  bool is_loaded_ = false;
};

}  // namespace bezel::config
