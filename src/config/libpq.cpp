#include "src/config/libpq.h"

#include <dlfcn.h>

namespace bezel::config {

Libpq::Libpq() {
  void* library = dlopen("libpq.so.5", RTLD_NOW | RTLD_LOCAL);
  if (library == nullptr) return;
  conninfo_parse = reinterpret_cast<decltype(conninfo_parse)>(dlsym(library, "PQconninfoParse"));
  conninfo_free = reinterpret_cast<decltype(conninfo_free)>(dlsym(library, "PQconninfoFree"));
  freemem = reinterpret_cast<decltype(freemem)>(dlsym(library, "PQfreemem"));
  if (conninfo_parse != nullptr && conninfo_free != nullptr && freemem != nullptr) {
    library_ = library;
  } else {
    dlclose(library);
  }
}

Libpq::~Libpq() {
  if (library_ != nullptr) dlclose(library_);
}

}  // namespace bezel::config
