#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "pool/settings.h"
#include "src/config/conninfo.h"

// What may be said about one database or one user.
namespace bezel::config {

/// A fault of one parameter. The message never holds a password.
struct EntryError {
  std::string key;  ///< the parameter's; empty: the entry as a whole
  std::string message;
  int line = 0;  ///< 0: the entry's own
};

/// True for keywords that a database may have and libpq does not know, or reads in another way: pool_size, datestyle,
/// ...
bool is_own_database_keyword(std::string_view keyword);

/// Fills `database` from its parameters. Where it has no `host`, its servers are found by `global_upstream`; where
/// there is none, in `default_host`: a folder of Unix sockets, or nothing. Every parameter is either honoured or an
/// error.
std::vector<EntryError> read_database(const std::vector<Parameter>& parameters, const std::string& default_host,
                                      const std::optional<pool::UpstreamSettings>& global_upstream,
                                      pool::DatabaseSettings& database);

/// Fills `user` from its parameters.
std::vector<EntryError> read_user(const std::vector<Parameter>& parameters, pool::UserSettings& user);

/// One line of documentation for each parameter that a database or user may have.
struct EntryKeyword {
  std::string_view name;
  std::string_view documentation;
};
const std::vector<EntryKeyword>& database_keywords();
const std::vector<EntryKeyword>& user_keywords();

}  // namespace bezel::config
