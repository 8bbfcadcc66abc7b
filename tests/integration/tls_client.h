#pragma once

#include <openssl/ssl.h>

#include <memory>
#include <string>
#include <string_view>

#include "integration/raw_client.h"

namespace bezel::integration {

/// A raw TLS connection of a client that does what libpq would not, or cannot yet. Blocking.
class TlsClient {
 public:
  /// Connects by TCP only.
  TlsClient(const std::string& address, uint16_t port);

  /// SSLRequest; the answer.
  char request();
  /// The handshake. "" or what OpenSSL says. `alpn`: a protocol to offer. `earlier`: a session to resume.
  std::string handshake(const std::string& alpn = "", SSL_SESSION* earlier = nullptr);
  bool send(std::string_view bytes);
  /// What comes next; empty at the end.
  std::string receive();
  bool was_resumed() const { return SSL_session_reused(ssl_.get()) == 1; }
  std::string protocol() const;
  /// The common name of the server's certificate.
  std::string server_name() const;
  SSL* ssl() { return ssl_.get(); }
  RawClient& raw() { return raw_; }

 private:
  RawClient raw_;
  std::unique_ptr<SSL, decltype(&SSL_free)> ssl_;
};

}  // namespace bezel::integration
