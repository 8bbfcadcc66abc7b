#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "src/config/settings_loader.h"

namespace bezel::config {

/// One keyword of a connection string, or one key of a YAML map that stands for it.
struct Parameter {
  std::string key;
  std::string value;
  int line = 0;  ///< where it stands; 0: where the whole entry stands
};

/// A connection string's keywords in their order, no keyword twice, or what is wrong with it. Errors hold no values, as
/// these may be passwords.
struct Conninfo {
  std::vector<Parameter> parameters;
  std::string error;  ///< empty: all is well
};

/// Takes a connection string apart: `key=value ...` as in libpq (quotes '...', backslashes; also '' in quotes, as in
/// PgBouncer), or a URI (postgres:// or postgresql://), for which libpq's own parser is used. Which keywords there are
/// is not looked at, except in a URI, where libpq must know them or they must be among database_keywords().
/// ${...} is replaced after the string was taken apart, so a variable fills one value, whatever it holds; only when the
/// whole string is one ${...} is the variable the connection string.
Conninfo parse_conninfo(std::string_view text, const Environment& environment);

/// True if libpq has this keyword. libpq's defaults and the PG* variables have no part in it.
bool is_libpq_keyword(std::string_view keyword);

}  // namespace bezel::config
