#include "src/config/libpq.h"

namespace bezel::config {

Libpq::Libpq() : library_("libpq.so.5", SharedLibrary::Stays::with_object) {
  is_loaded_ = library_.find("PQconninfoParse", conninfo_parse) && library_.find("PQconninfoFree", conninfo_free) &&
               library_.find("PQfreemem", freemem);
}

}  // namespace bezel::config
