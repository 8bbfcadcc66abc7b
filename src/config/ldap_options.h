#pragma once

#include <memory>
#include <set>
#include <string>
#include <string_view>

#include "pool/ldap_settings.h"

// How method ldap is written: PostgreSQL's options ldapserver, ldapbasedn, ... Those of a rule in auth_hba_file and
// those of auth_ldap_options are the same.
namespace bezel::config {

/// Reads the options one by one. Errors never hold a value of ldapbindpasswd.
class LdapOptions {
 public:
  static bool is_option(std::string_view name);

  /// Returns "" or what is wrong.
  std::string read(const std::string& name, const std::string& value);
  /// What is wrong with a word that is no option: it may be the rest of a password.
  std::string fault_of_word(std::string_view word) const;
  /// After all options: "" or what is wrong with them together. libldap is loaded, as they will be used.
  std::string finish();
  /// REQUIRES: finish() has found nothing wrong.
  std::shared_ptr<const pool::LdapSettings> settings() const { return settings_; }

 private:
  std::string read_url(const std::string& url);
  std::string read_servers(const std::string& list);
  std::string fault_of_choice() const;
  bool has(std::string_view option) const { return given_.count(std::string(option)) > 0; }

  std::shared_ptr<pool::LdapSettings> settings_ = std::make_shared<pool::LdapSettings>();
  std::set<std::string> given_;
  std::string servers_, scheme_ = "ldap", attribute_;
  int port_ = 0;  ///< 0: the scheme's own
};

struct LdapOptionsResult {
  std::shared_ptr<const pool::LdapSettings> settings;  ///< null: there is an error
  std::string error;                                   ///< never holds a value of ldapbindpasswd
};

/// Reads a text of name=value, with blanks or commas between them. Values may stand in double quotes.
LdapOptionsResult read_ldap_options(std::string_view text);

/// The same text with a ldapbindpasswd that nobody can read.
std::string ldap_options_without_password(std::string_view text);

}  // namespace bezel::config
