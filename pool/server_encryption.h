#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "pool/byte_stream.h"
#include "pool/settings.h"

namespace bezel::pool {

/// Settles, before anything else is said to a server, whether the connection to it is encrypted (documentation, "SSL
/// Session Encryption"): for logins and for cancel requests alike.
class ServerEncryption {
 public:
  enum class Step : uint8_t {
    wait,    ///< for on_bytes() or on_secured()
    ready,   ///< the server may be spoken to
    failed,  ///< failure() says why
  };

  /// `direct`: sslnegotiation=direct. The settings are those of this moment, whatever becomes of them.
  ServerEncryption(const Settings& settings, bool direct, const HostAddress& host);
  Step connected(ByteStream& stream);
  Step on_bytes(ByteStream& stream, std::string_view bytes);
  Step on_secured() { return Step::ready; }
  const std::string& failure() const { return failure_; }

 private:
  Step fail(std::string reason);
  void start_tls(ByteStream& stream) const;

  TlsMode mode_;
  bool direct_;
  std::string host_;
  std::shared_ptr<const TlsContext> context_;
  std::string failure_;
};

}  // namespace bezel::pool
