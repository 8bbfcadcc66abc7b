#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "pool/ident_map.h"
#include "pool/ip_address.h"
#include "pool/ldap_settings.h"
#include "pool/settings.h"

// Host-based authentication: which method a client must log in by, from where it comes and what it wants. No I/O;
// src/config/hba_file.h reads the file.
namespace bezel::pool {

/// The database under which clients of the console are looked for, whichever of its names they use.
inline constexpr std::string_view kConsoleName = "pgbouncer";

/// How a client comes: the first word of a rule.
enum class HbaTransport : uint8_t { local, host, hostssl, hostnossl };

/// What stands in a rule's field of databases or users.
struct HbaNames {
  bool all = false;
  bool same_user = false;  ///< databases only: the name of the user
  std::set<std::string, std::less<>> names;

  bool contains(std::string_view name, std::string_view user) const {
    return all || (same_user && name == user) || names.count(name) > 0;
  }
};

/// One line.
struct HbaRule {
  HbaTransport transport = HbaTransport::host;
  HbaNames databases, users;
  std::optional<IpNetwork> network;  ///< nothing: all addresses
  AuthType method = AuthType::reject;
  std::shared_ptr<const IdentMap> map;       ///< of cert and peer; null: names must be equal
  std::string pam_service;                   ///< of pam; empty: auth_pam_service
  std::shared_ptr<const LdapSettings> ldap;  ///< of ldap
  std::string file;                          ///< where it stands
  int line = 0;
};

/// A client that wants in.
struct HbaClient {
  bool is_local = false;             ///< by the Unix socket
  std::optional<IpAddress> address;  ///< else
  bool is_encrypted = false;
  std::string_view database, user;
};

/// The rules of auth_hba_file, in their order. Immutable; any thread.
class HbaRules {
 public:
  explicit HbaRules(std::vector<HbaRule> rules) : rules_(std::move(rules)) {}
  /// The first rule that is meant for the client; nullptr: it must be refused.
  const HbaRule* match(const HbaClient& client) const;
  const std::vector<HbaRule>& rules() const { return rules_; }

 private:
  std::vector<HbaRule> rules_;
};

}  // namespace bezel::pool
