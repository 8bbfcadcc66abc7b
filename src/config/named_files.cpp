#include "src/config/named_files.h"

#include <fmt/format.h>

#include "protocol/userlist.h"
#include "src/config/configuration_file.h"
#include "src/config/tls_contexts.h"

namespace bezel::config {

std::optional<std::string> read_auth_file(pool::Settings& settings, std::vector<Problem>& faults) {
  settings.secrets.clear();
  const std::string& path = settings.auth_file;
  if (path.empty()) return std::nullopt;
  const FileContent file = read_file(path);
  if (!file.error.empty()) return fmt::format("{}: {}", path, file.error);
  const protocol::Userlist userlist = protocol::parse_userlist(file.content);
  for (const protocol::UserlistError& error : userlist.errors) {
    faults.push_back({path, static_cast<int>(error.line), {}, error.message});
  }
  for (const protocol::UserlistEntry& entry : userlist.entries) {
    settings.secrets.insert_or_assign(entry.user, protocol::parse_secret(entry.secret));
  }
  return std::nullopt;
}

std::vector<Problem> read_named_files(pool::Settings& settings) {
  std::vector<Problem> problems;
  if (const auto error = read_auth_file(settings, problems)) problems.push_back({{}, 0, "auth_file", *error});
  for (const Finding& finding : make_tls_contexts(settings)) problems.push_back({{}, 0, finding.key, finding.message});
  return problems;
}

std::vector<std::string> named_files(const pool::Settings& settings) {
  return {settings.auth_file,
          settings.client_tls_ca_file,
          settings.client_tls_crl_file,
          settings.client_tls_cert_file,
          settings.client_tls_key_file,
          settings.client_tls_dheparams,
          settings.server_tls_ca_file,
          settings.server_tls_crl_file,
          settings.server_tls_cert_file,
          settings.server_tls_key_file};
}

}  // namespace bezel::config
