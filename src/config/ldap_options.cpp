#include "src/config/ldap_options.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <optional>
#include <utility>
#include <vector>

#include "src/config/hba_tokens.h"
#include "src/config/values.h"
#include "src/login/libldap.h"

namespace bezel::config {

namespace {

using pool::LdapScope;

constexpr std::string_view kPasswordOption = "ldapbindpasswd";
constexpr std::array<std::string_view, 12> kOptions = {
    "ldapserver", "ldapport",      "ldapscheme",          "ldaptls",          "ldapprefix", "ldapsuffix", "ldapbasedn",
    "ldapbinddn", kPasswordOption, "ldapsearchattribute", "ldapsearchfilter", "ldapurl"};
constexpr size_t kServersMax = 16;
constexpr std::string_view kUserPlaceholder = "$username";

std::string expected_found(std::string_view option, std::string_view expected, std::string_view found) {
  return fmt::format("{}: expected {}; found \"{}\"", option, expected, found);
}

bool is_host(std::string_view host) {
  return !host.empty() && std::all_of(host.begin(), host.end(), [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' || c == '-' ||
           c == '_' || c == ':';
  });
}

/// Without the brackets that an IPv6 address may stand in.
std::string_view without_brackets(std::string_view host) {
  return host.size() > 2 && host.front() == '[' && host.back() == ']' ? host.substr(1, host.size() - 2) : host;
}

bool is_attribute(std::string_view name) {
  return !name.empty() && std::all_of(name.begin(), name.end(), [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' || c == '.' ||
           c == ';';
  });
}

std::optional<LdapScope> scope_of(int native) {
  switch (native) {
    case LDAP_SCOPE_BASE:
    case LDAP_SCOPE_DEFAULT:
      return LdapScope::base;
    case LDAP_SCOPE_ONELEVEL:
      return LdapScope::one;
    case LDAP_SCOPE_SUBTREE:
      return LdapScope::sub;
    default:
      return std::nullopt;
  }
}

/// A word as it can be read again.
std::string quoted_if_need_be(std::string_view text) {
  if (text.find_first_of(" \t,\"") == std::string_view::npos) return std::string(text);
  std::string quoted = "\"";
  for (const char c : text) quoted += c == '"' ? "\"\"" : std::string(1, c);
  return quoted + '"';
}

}  // namespace

bool LdapOptions::is_option(std::string_view name) {
  return std::find(kOptions.begin(), kOptions.end(), name) != kOptions.end();
}

std::string LdapOptions::read(const std::string& name, const std::string& value) {
  if (!given_.insert(name).second) return fmt::format("{}: expected only once", name);
  if (value.empty()) return fmt::format("{}: expected a value; found none", name);
  pool::LdapSettings& settings = *settings_;
  if (name == "ldapserver") return read_servers(value);
  if (name == "ldapurl") return read_url(value);
  if (name == "ldapport") {
    const std::optional<int64_t> port = parse_integer(value);
    if (!port || *port < 1 || *port > 65535) return expected_found(name, "a port number from 1 to 65535", value);
    port_ = static_cast<int>(*port);
  } else if (name == "ldapscheme") {
    if (value != "ldap" && value != "ldaps") return expected_found(name, "ldap or ldaps", value);
    scheme_ = value;
  } else if (name == "ldaptls") {
    if (value != "0" && value != "1") return expected_found(name, "0 or 1", value);
    settings.start_tls = value == "1";
  } else if (name == "ldapprefix") {
    settings.prefix = value;
  } else if (name == "ldapsuffix") {
    settings.suffix = value;
  } else if (name == "ldapbasedn") {
    settings.base = value;
  } else if (name == "ldapbinddn") {
    settings.bind_dn = value;
  } else if (name == kPasswordOption) {
    settings.bind_password = value;
  } else if (name == "ldapsearchattribute") {
    if (!is_attribute(value)) return expected_found(name, "the name of an attribute", value);
    attribute_ = value;
  } else {
    settings.filter = value;  // ldapsearchfilter
  }
  return {};
}

std::string LdapOptions::fault_of_word(std::string_view word) const {
  const size_t equals = word.find('=');
  if (equals != std::string_view::npos && !has(kPasswordOption)) {
    return fmt::format("option \"{}\" is not supported with this method", word.substr(0, equals));
  }
  return "expected name=value as an option; found something else (a value with blanks or commas stands in double "
         "quotes)";
}

std::string LdapOptions::read_servers(const std::string& list) {
  std::string_view rest = trimmed(list);
  size_t count = 0;
  while (!rest.empty()) {
    const size_t blank = rest.find(' ');
    const std::string_view host = without_brackets(rest.substr(0, blank));
    const bool is_v6 = std::count(host.begin(), host.end(), ':') > 1;
    if (!is_host(host) || (!is_v6 && host.find(':') != std::string_view::npos)) {
      return expected_found("ldapserver", "names or addresses with blanks between them (the port is ldapport)", list);
    }
    if (++count > kServersMax) return fmt::format("ldapserver: expected at most {} servers", kServersMax);
    servers_ += fmt::format("{}{}", servers_.empty() ? "" : " ", is_v6 ? fmt::format("[{}]", host) : std::string(host));
    rest = blank == std::string_view::npos ? "" : trimmed(rest.substr(blank));
  }
  return servers_.empty() ? "ldapserver: expected a value; found none" : "";
}

std::string LdapOptions::read_url(const std::string& url) {
  for (const char* other : {"ldapserver", "ldapport", "ldapscheme", "ldapbasedn", "ldapsearchattribute"}) {
    if (!given_.insert(other).second) return fmt::format("ldapurl: {} says the same, expected one of them", other);
  }
  const login::Libldap* ldap = login::Libldap::load();
  if (ldap == nullptr) return "libldap-2.5.so.0 cannot be loaded";
  constexpr std::string_view kExpected = "ldap://host:port/basedn?attribute?scope?filter, or ldaps://...";
  LDAPURLDesc* parsed = nullptr;
  if (ldap->url_parse(url.c_str(), &parsed) != LDAP_URL_SUCCESS) return expected_found("ldapurl", kExpected, url);
  const std::unique_ptr<LDAPURLDesc, decltype(ldap->free_urldesc)> owner(parsed, ldap->free_urldesc);
  scheme_ = parsed->lud_scheme;
  const std::optional<LdapScope> scope = scope_of(parsed->lud_scope);
  if ((scheme_ != "ldap" && scheme_ != "ldaps") || !scope || parsed->lud_exts != nullptr) {
    return expected_found("ldapurl", kExpected, url);
  }
  pool::LdapSettings& settings = *settings_;
  port_ = parsed->lud_port;
  settings.scope = *scope;
  if (parsed->lud_dn != nullptr) settings.base = parsed->lud_dn;
  if (parsed->lud_attrs != nullptr) attribute_ = parsed->lud_attrs[0];
  if (parsed->lud_filter != nullptr) settings.filter = parsed->lud_filter;
  if (!attribute_.empty() && !is_attribute(attribute_)) return expected_found("ldapurl", kExpected, url);
  if (parsed->lud_host == nullptr || *parsed->lud_host == '\0') return "ldapurl: expected a host; found none";
  return read_servers(parsed->lud_host).empty() ? "" : expected_found("ldapurl", kExpected, url);
}

std::string LdapOptions::fault_of_choice() const {
  const pool::LdapSettings& settings = *settings_;
  const bool names = has("ldapprefix") || has("ldapsuffix");
  const bool searches = !settings.base.empty();
  for (const char* option :
       {"ldapurl", "ldapbasedn", "ldapbinddn", "ldapbindpasswd", "ldapsearchattribute", "ldapsearchfilter"}) {
    if (names && has(option)) return fmt::format("{} cannot be used together with ldapprefix or ldapsuffix", option);
  }
  if (!names && !searches) return "expected ldapprefix, ldapsuffix, ldapbasedn, or an ldapurl with a base; found none";
  if (!attribute_.empty() && !settings.filter.empty()) {
    return "an attribute to search by cannot be used together with a filter";
  }
  if (!settings.filter.empty() && settings.filter.find(kUserPlaceholder) == std::string::npos) {
    return fmt::format("expected {} in the filter: without it one entry would be everybody's", kUserPlaceholder);
  }
  if (has(kPasswordOption) && !has("ldapbinddn")) return "expected ldapbinddn along with ldapbindpasswd";
  if (settings.start_tls && scheme_ == "ldaps") return "ldaptls=1 cannot be used together with ldaps";
  return {};
}

std::string LdapOptions::finish() {
  if (servers_.empty()) return "expected ldapserver or ldapurl; found none";
  if (std::string fault = fault_of_choice(); !fault.empty()) return fault;
  if (login::Libldap::load() == nullptr) return "libldap-2.5.so.0 cannot be loaded";
  pool::LdapSettings& settings = *settings_;
  settings.searches = !settings.base.empty();
  if (settings.searches && settings.filter.empty()) {
    settings.filter = fmt::format("({}={})", attribute_.empty() ? "uid" : attribute_, kUserPlaceholder);
  }
  const int port = port_ != 0 ? port_ : scheme_ == "ldaps" ? LDAPS_PORT : LDAP_PORT;
  for (std::string_view rest = servers_; !rest.empty();) {
    const size_t blank = std::min(rest.find(' '), rest.size());
    if (!settings.uris.empty()) settings.uris += ' ';
    settings.uris += fmt::format("{}://{}:{}", scheme_, rest.substr(0, blank), port);
    rest.remove_prefix(std::min(blank + 1, rest.size()));
  }
  return {};
}

LdapOptionsResult read_ldap_options(std::string_view text) {
  std::string error;
  LdapOptions options;
  for (const std::string& word : cut_words(text, error)) {
    const size_t equals = word.find('=');
    const std::string name = word.substr(0, equals);
    const bool is_option = equals != std::string::npos && LdapOptions::is_option(name);
    std::string fault = is_option ? options.read(name, word.substr(equals + 1)) : options.fault_of_word(word);
    if (!fault.empty()) return {nullptr, std::move(fault)};
  }
  if (error.empty()) error = options.finish();
  if (!error.empty()) return {nullptr, error};
  return {options.settings(), {}};
}

std::string ldap_options_without_password(std::string_view text) {
  std::string shown, error;
  for (const std::string& word : cut_words(text, error)) {
    const size_t equals = std::min(word.find('='), word.size());
    std::string_view value = std::string_view(word).substr(std::min(equals + 1, word.size()));
    if (word.substr(0, equals) == kPasswordOption) value = "********";
    shown += fmt::format("{}{}={}", shown.empty() ? "" : " ", word.substr(0, equals), quoted_if_need_be(value));
  }
  return shown;
}

}  // namespace bezel::config
