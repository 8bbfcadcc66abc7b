#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "integration/certificates.h"
#include "integration/child_process.h"
#include "integration/temporary_folder.h"

namespace bezel::integration {

/// A private OpenLDAP server at own_address(), without and with TLS, its data in a folder of its own:
///
/// * uid=alice,ou=people,dc=example,dc=net (password alice-ldap, mail alice@example.net), which everybody may find;
/// * uid=bob,ou=far,ou=people,... (bob-ldap), one level further down;
/// * uid=carol,ou=staff,dc=example,dc=net (carol-ldap), which only cn=reader,dc=example,dc=net (kReaderPassword) may
/// find;
/// * uid=twin in both ou=people and ou=far (twin-ldap).
class SlapdServer {
 public:
  SlapdServer();

  static constexpr const char* kReaderPassword = "read, \"or\" #not";

  uint16_t port() const { return port_; }
  uint16_t tls_port() const { return tls_port_; }
  /// The certificate of the authority that the server's own is of.
  const std::string& authority() const { return authority_.certificate(); }
  std::string log() const { return process_->log(); }

 private:
  std::string write_configuration();
  void load(const std::string& configuration);

  TemporaryFolder folder_;
  CertificateAuthority authority_;
  uint16_t port_, tls_port_;
  std::unique_ptr<ChildProcess> process_;
};

}  // namespace bezel::integration
