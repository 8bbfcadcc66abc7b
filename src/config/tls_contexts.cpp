#include "src/config/tls_contexts.h"

#include <utility>

#include "src/tls/context.h"

namespace bezel::config {

namespace {

using pool::Settings;

tls::Options client_options(const Settings& settings) {
  return {.role = tls::Role::server,
          .mode = settings.client_tls_sslmode,
          .ca_file = settings.client_tls_ca_file,
          .crl_file = settings.client_tls_crl_file,
          .cert_file = settings.client_tls_cert_file,
          .key_file = settings.client_tls_key_file,
          .protocols = settings.client_tls_protocols,
          .ciphers = settings.client_tls_ciphers,
          .ciphersuites = settings.client_tls13_ciphers,
          .dheparams = settings.client_tls_dheparams,
          .ecdhcurve = settings.client_tls_ecdhcurve};
}

tls::Options server_options(const Settings& settings) {
  return {.role = tls::Role::client,
          .mode = settings.server_tls_sslmode,
          .ca_file = settings.server_tls_ca_file,
          .crl_file = settings.server_tls_crl_file,
          .cert_file = settings.server_tls_cert_file,
          .key_file = settings.server_tls_key_file,
          .protocols = settings.server_tls_protocols,
          .ciphers = settings.server_tls_ciphers,
          .ciphersuites = settings.server_tls13_ciphers,
          .dheparams = {},
          .ecdhcurve = {}};
}

}  // namespace

std::vector<Finding> make_tls_contexts(Settings& settings) {
  std::vector<Finding> findings;
  std::shared_ptr<const pool::TlsContext> made[2];
  const std::pair<std::string, tls::Options> sides[2] = {{"client_", client_options(settings)},
                                                         {"server_", server_options(settings)}};
  for (size_t i = 0; i < 2; i++) {
    if (sides[i].second.mode == pool::TlsMode::disable) continue;
    tls::Problem problem;
    made[i] = tls::Context::make(sides[i].second, problem);
    if (made[i] == nullptr) findings.push_back({sides[i].first + problem.option, problem.message});
  }
  if (!findings.empty()) return findings;
  settings.client_tls = std::move(made[0]);
  settings.server_tls = std::move(made[1]);
  return findings;
}

}  // namespace bezel::config
