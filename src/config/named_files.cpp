#include "src/config/named_files.h"

#include <fmt/format.h>

#include <optional>
#include <utility>

#include "protocol/userlist.h"
#include "src/config/configuration_file.h"
#include "src/config/hba_file.h"
#include "src/config/ldap_options.h"
#include "src/config/tls_contexts.h"
#include "src/tls/context.h"

namespace bezel::config {

namespace {

/// Nothing: the setting names none, or it cannot be read.
std::optional<std::string> content_of(const std::string& key, const std::string& path, const FileFailed& failed) {
  if (path.empty()) return std::nullopt;
  FileContent file = read_file(path);
  if (file.error.empty()) return std::move(file.content);
  failed(key, fmt::format("{}: {}", path, file.error));
  return std::nullopt;
}

void read_auth_file(pool::Settings& settings, const std::string& content, ProblemList& faults) {
  const protocol::Userlist userlist = protocol::parse_userlist(content);
  for (const protocol::UserlistError& error : userlist.errors) {
    faults.add({settings.auth_file, static_cast<int>(error.line), {}, error.message});
  }
  for (const protocol::UserlistEntry& entry : userlist.entries) {
    settings.secrets.insert_or_assign(entry.user, protocol::parse_secret(entry.secret));
  }
}

}  // namespace

void read_user_files(pool::Settings& settings, ProblemList& faults, const FileFailed& failed) {
  settings.ldap.reset();
  if (!settings.auth_ldap_options.empty()) {
    LdapOptionsResult ldap = read_ldap_options(settings.auth_ldap_options);
    if (!ldap.error.empty()) failed("auth_ldap_options", std::move(ldap.error));
    settings.ldap = std::move(ldap.settings);
  }
  settings.secrets.clear();
  if (const auto content = content_of("auth_file", settings.auth_file, failed)) {
    read_auth_file(settings, *content, faults);
  }
  settings.included_files.clear();
  pool::IdentMaps maps;
  if (const auto content = content_of("auth_ident_file", settings.auth_ident_file, failed)) {
    maps = read_ident_file(settings.auth_ident_file, *content, faults, settings.included_files);
  }
  if (const auto content = content_of("auth_hba_file", settings.auth_hba_file, failed)) {
    settings.hba_rules = read_hba_file(settings.auth_hba_file, *content, maps, faults, settings.included_files);
  }
}

std::vector<Problem> read_named_files(pool::Settings& settings) {
  ProblemList problems;
  const auto failed = [&](const std::string& key, std::string message) {
    problems.add({{}, 0, key, std::move(message)});
  };
  read_user_files(settings, problems, failed);
  for (const Finding& finding : make_tls_contexts(settings)) failed(finding.key, finding.message);
  return problems.take();
}

std::vector<std::string> named_files(const pool::Settings& settings) {
  std::vector<std::string> files = {settings.auth_file,           settings.auth_hba_file,
                                    settings.auth_ident_file,     settings.client_tls_ca_file,
                                    settings.client_tls_crl_file, settings.client_tls_cert_file,
                                    settings.client_tls_key_file, settings.server_tls_ca_file,
                                    settings.server_tls_crl_file, settings.server_tls_cert_file,
                                    settings.server_tls_key_file};
  if (tls::names_file(settings.client_tls_dheparams)) files.push_back(settings.client_tls_dheparams);
  files.insert(files.end(), settings.included_files.begin(), settings.included_files.end());
  return files;
}

}  // namespace bezel::config
