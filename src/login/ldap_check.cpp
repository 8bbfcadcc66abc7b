#include "src/login/ldap_check.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "pool/printable.h"
#include "src/login/ldap_deadline.h"
#include "src/login/libldap.h"

namespace bezel::login {

namespace {

using Kind = pool::PasswordVerdict::Kind;
using pool::LdapScope;
using pool::LdapSettings;
using pool::PasswordVerdict;

constexpr std::string_view kUserPlaceholder = "$username";

/// Of what has such a character no filter or name is made. The first are PostgreSQL's.
constexpr std::string_view kForbiddenInFilter = "*()\\/";
constexpr std::string_view kForbiddenInName = ",+\"\\<>;=#/";

bool has_any_of(std::string_view text, std::string_view forbidden) {
  return std::any_of(text.begin(), text.end(), [&](char c) {
    return static_cast<unsigned char>(c) < 32 || c == 127 || forbidden.find(c) != std::string_view::npos;
  });
}

std::string filter_for(const std::string& pattern, const std::string& user) {
  std::string filter = pattern;
  for (size_t at = 0; (at = filter.find(kUserPlaceholder, at)) != std::string::npos; at += user.size()) {
    filter.replace(at, kUserPlaceholder.size(), user);
  }
  return filter;
}

int native_scope(LdapScope scope) {
  switch (scope) {
    case LdapScope::base:
      return LDAP_SCOPE_BASE;
    case LdapScope::one:
      return LDAP_SCOPE_ONELEVEL;
    case LdapScope::sub:
      break;
  }
  return LDAP_SCOPE_SUBTREE;
}

/// Whether a failed bind says something about the password, rather than about the server.
bool is_verdict(int status) {
  switch (status) {
    case LDAP_BUSY:
    case LDAP_UNAVAILABLE:
    case LDAP_PROTOCOL_ERROR:
    case LDAP_STRONG_AUTH_REQUIRED:
    case LDAP_CONFIDENTIALITY_REQUIRED:
    case LDAP_OTHER:
      return false;
    default:
      return status > 0;  // negative ones are the library's own
  }
}

/// One connection to the first server that can be reached.
class Session {
 public:
  explicit Session(const Libldap& ldap)
      : ldap_(ldap),
        deadline_(ldap, std::chrono::seconds(kLdapConnectTimeoutS),
                  LdapDeadline::Clock::now() + std::chrono::seconds(kLdapSessionS)) {}
  Session(const Session&) = delete;
  Session& operator=(const Session&) = delete;
  ~Session() {
    if (handle_ != nullptr) ldap_.unbind_ext_s(handle_, nullptr, nullptr);
  }

  /// Prepares it; the connection is made with the first request. "" or what went wrong.
  std::string open(const LdapSettings& settings) {
    const int version = LDAP_VERSION3;
    const timeval connect{kLdapConnectTimeoutS, 0}, answer{kLdapAnswerTimeoutS, 0};
    int status = ldap_.initialize(&handle_, settings.uris.c_str());
    const auto set = [&](int option, const void* value) {
      if (status == LDAP_SUCCESS) status = ldap_.set_option(handle_, option, value);
    };
    set(LDAP_OPT_PROTOCOL_VERSION, &version);
    set(LDAP_OPT_NETWORK_TIMEOUT, &connect);
    set(LDAP_OPT_TIMEOUT, &answer);
    // A signal is no reason to give up. LDAP_OPT_ON is an address in the library: any other one means the same.
    set(LDAP_OPT_RESTART, &version);
    // A server that names another one does not decide who gets to see the password.
    set(LDAP_OPT_REFERRALS, LDAP_OPT_OFF);
    if (status == LDAP_SUCCESS) status = deadline_.watch(handle_);
    if (status != LDAP_SUCCESS) return fmt::format("cannot be set up: {}", ldap_.err2string(status));
    if (!settings.start_tls) return {};
    status = ldap_.start_tls_s(handle_, nullptr, nullptr);
    return status == LDAP_SUCCESS ? "" : "StartTLS: " + error_text(status);
  }

  int bind(const std::string& name, const std::string& password) {
    berval credentials{password.size(), const_cast<char*>(password.data())};
    return ldap_.sasl_bind_s(handle_, name.c_str(), LDAP_SASL_SIMPLE, &credentials, nullptr, nullptr, nullptr);
  }

  struct Search {
    int status = LDAP_SUCCESS;
    int count = 0;     ///< of entries found; more than one counts as two
    std::string name;  ///< of the only one
  };
  Search search(const LdapSettings& settings, const std::string& filter) {
    char no_attributes[] = LDAP_NO_ATTRS;
    std::array<char*, 2> attributes = {no_attributes, nullptr};
    timeval limit{kLdapAnswerTimeoutS, 0};
    LDAPMessage* answer = nullptr;
    Search result;
    result.status = ldap_.search_ext_s(handle_, settings.base.c_str(), native_scope(settings.scope), filter.c_str(),
                                       attributes.data(), 0, nullptr, nullptr, &limit, 2, &answer);
    if (result.status == LDAP_SUCCESS || result.status == LDAP_SIZELIMIT_EXCEEDED) {
      result.count = result.status == LDAP_SUCCESS ? ldap_.count_entries(handle_, answer) : 2;
      result.status = LDAP_SUCCESS;
    }
    if (result.count == 1) {
      char* name = ldap_.get_dn(handle_, ldap_.first_entry(handle_, answer));
      if (name != nullptr) result.name = name;
      ldap_.memfree(name);
    }
    ldap_.msgfree(answer);
    return result;
  }

  /// What the library says, and what the server has said to it.
  std::string error_text(int status) const {
    std::string text = ldap_.err2string(status);
    char* diagnostic = nullptr;
    ldap_.get_option(handle_, LDAP_OPT_DIAGNOSTIC_MESSAGE, &diagnostic);
    if (diagnostic != nullptr && *diagnostic != '\0') text += fmt::format(" ({})", diagnostic);
    ldap_.memfree(diagnostic);
    return pool::printable(text);
  }

 private:
  const Libldap& ldap_;
  LdapDeadline deadline_;
  LDAP* handle_ = nullptr;
};

/// The name of the user's entry, or why there is none.
std::pair<std::string, std::optional<PasswordVerdict>> find_entry(Session& session, const LdapSettings& settings,
                                                                  const std::string& user) {
  const auto refuse = [](Kind kind, std::string reason) {
    return std::pair(std::string(), std::optional(PasswordVerdict{kind, "LDAP: " + std::move(reason)}));
  };
  if (!settings.searches) {
    if (has_any_of(user, kForbiddenInName)) return refuse(Kind::wrong, "a character that no name may have");
    return {settings.prefix + user + settings.suffix, std::nullopt};
  }
  if (has_any_of(user, kForbiddenInFilter)) return refuse(Kind::wrong, "a character that no filter may have");
  if (const int status = session.bind(settings.bind_dn, settings.bind_password); status != LDAP_SUCCESS) {
    return refuse(Kind::unknown, fmt::format("the bind for searching as \"{}\" failed: {}", settings.bind_dn,
                                             session.error_text(status)));
  }
  Session::Search found = session.search(settings, filter_for(settings.filter, user));
  if (found.status != LDAP_SUCCESS) {
    return refuse(Kind::unknown,
                  fmt::format("the search in \"{}\" failed: {}", settings.base, session.error_text(found.status)));
  }
  if (found.count == 0) return refuse(Kind::wrong, "no entry was found");
  // An empty name would be an anonymous bind, which succeeds with any password.
  if (found.count > 1 || found.name.empty()) return refuse(Kind::wrong, "more than one entry was found");
  return {std::move(found.name), std::nullopt};
}

}  // namespace

PasswordVerdict check_by_ldap(const pool::PasswordQuestion& question) {
  const Libldap* ldap = Libldap::load();
  if (ldap == nullptr) return {Kind::unknown, "libldap-2.5.so.0 cannot be loaded"};
  // As with an empty name, a server would take it for an anonymous bind.
  if (question.password.empty()) return {Kind::wrong, "LDAP: empty password"};
  const LdapSettings& settings = *question.ldap;
  Session session(*ldap);
  if (const std::string error = session.open(settings); !error.empty()) {
    return {Kind::unknown, fmt::format("LDAP at {}: {}", settings.uris, error)};
  }
  auto [name, refusal] = find_entry(session, settings, question.user);
  if (refusal) return *refusal;
  const int status = session.bind(name, question.password);
  if (status == LDAP_SUCCESS) return {Kind::right, {}};
  return {is_verdict(status) ? Kind::wrong : Kind::unknown,
          fmt::format("LDAP at {}, \"{}\": {}", settings.uris, pool::printable(name), session.error_text(status))};
}

}  // namespace bezel::login
