#include "integration/tls_client.h"

#include <openssl/err.h>
#include <openssl/x509.h>

namespace bezel::integration {

namespace {

/// One for all, as in a client that resumes its sessions.
SSL_CTX* context() {
  static SSL_CTX* const kContext = SSL_CTX_new(TLS_client_method());
  return kContext;
}

}  // namespace

TlsClient::TlsClient(const std::string& address, uint16_t port) : raw_(address, port), ssl_(nullptr, &SSL_free) {}

char TlsClient::request() {
  raw_.send(int32_bytes(8) + int32_bytes(80877103));
  return raw_.read_byte().value_or('\0');
}

std::string TlsClient::handshake(const std::string& alpn, SSL_SESSION* earlier) {
  ssl_.reset(SSL_new(context()));
  SSL_set_fd(ssl_.get(), raw_.fd());
  if (!alpn.empty()) {
    const std::string offer = static_cast<char>(alpn.size()) + alpn;
    SSL_set_alpn_protos(ssl_.get(), reinterpret_cast<const unsigned char*>(offer.data()),
                        static_cast<unsigned>(offer.size()));
  }
  if (earlier != nullptr) SSL_set_session(ssl_.get(), earlier);
  ERR_clear_error();
  if (SSL_connect(ssl_.get()) == 1) return "";
  const unsigned long code = ERR_get_error();
  const char* const reason = ERR_reason_error_string(code);
  return reason != nullptr ? reason : "the connection was closed";
}

bool TlsClient::send(std::string_view bytes) {
  return SSL_write(ssl_.get(), bytes.data(), static_cast<int>(bytes.size())) > 0;
}

std::string TlsClient::receive() {
  std::string bytes(65536, '\0');
  const int size = SSL_read(ssl_.get(), bytes.data(), static_cast<int>(bytes.size()));
  bytes.resize(size > 0 ? static_cast<size_t>(size) : 0);
  return bytes;
}

std::string TlsClient::protocol() const {
  const unsigned char* name = nullptr;
  unsigned int size = 0;
  SSL_get0_alpn_selected(ssl_.get(), &name, &size);
  return std::string(reinterpret_cast<const char*>(name), size);
}

std::string TlsClient::server_name() const {
  const X509* const certificate = SSL_get0_peer_certificate(ssl_.get());
  char text[256] = "";
  X509_NAME_get_text_by_NID(X509_get_subject_name(certificate), NID_commonName, text, sizeof text);
  return text;
}

}  // namespace bezel::integration
