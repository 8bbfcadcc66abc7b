#pragma once

#include <string>
#include <vector>

#include "integration/temporary_folder.h"

namespace bezel::integration {

/// A certificate and its key, in files.
struct Certificate {
  std::string certificate, key;
};

/// An authority with a folder for what it issues. Made by the program `openssl`, with elliptic curves, for a day.
class CertificateAuthority {
 public:
  explicit CertificateAuthority(const std::string& common_name = "Test Authority");

  /// `names`: subject alternative names as OpenSSL writes them ("DNS:db.example", "IP:127.0.0.1").
  /// Another certificate of the same file name takes the place of the first, whole or not at all.
  Certificate issue(const std::string& file_name, const std::string& common_name,
                    const std::vector<std::string>& names = {});
  /// A list of revoked certificates with this one on it.
  std::string revoke(const Certificate& certificate);
  /// The authority's own certificate.
  const std::string& certificate() const { return own_.certificate; }
  const TemporaryFolder& folder() const { return folder_; }

 private:
  TemporaryFolder folder_;
  Certificate own_;
};

}  // namespace bezel::integration
