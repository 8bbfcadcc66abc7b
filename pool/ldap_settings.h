#pragma once

#include <cstdint>
#include <string>

namespace bezel::pool {

/// How far below the base an LDAP search goes.
enum class LdapScope : uint8_t { base, one, sub };

/// How method ldap has a password checked: at which servers, and for which entry of the directory.
struct LdapSettings {
  std::string uris;  ///< of the servers, in the order in which they are tried, with blanks between them
  bool start_tls = false;
  bool searches = false;       ///< the user's entry is searched for; else its name is made of prefix, user and suffix
  std::string prefix, suffix;  ///< not searches
  std::string base, bind_dn, bind_password;  ///< searches; without bind_dn anonymously
  LdapScope scope = LdapScope::sub;
  std::string filter;  ///< searches; "$username" stands for the user
};

}  // namespace bezel::pool
