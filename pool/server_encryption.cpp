#include "pool/server_encryption.h"

#include <utility>

#include "protocol/startup.h"

namespace bezel::pool {

ServerEncryption::ServerEncryption(const Settings& settings, bool direct, const HostAddress& host)
    : mode_(settings.server_tls_sslmode), direct_(direct), host_(host.host), context_(settings.server_tls) {
  const bool is_unix = !host_.empty() && host_.front() == '/';
  if (is_unix || context_ == nullptr) mode_ = TlsMode::disable;
}

ServerEncryption::Step ServerEncryption::fail(std::string reason) {
  failure_ = std::move(reason);
  return Step::failed;
}

void ServerEncryption::start_tls(ByteStream& stream) const {
  stream.start_tls({.context = context_, .host = host_, .direct = direct_, .received = {}});
}

ServerEncryption::Step ServerEncryption::connected(ByteStream& stream) {
  if (mode_ == TlsMode::disable) return Step::ready;
  if (direct_) {
    start_tls(stream);
    return Step::wait;
  }
  std::string request;
  protocol::append_ssl_request(request);
  stream.write_copy(request);
  return Step::wait;
}

ServerEncryption::Step ServerEncryption::on_bytes(ByteStream& stream, std::string_view bytes) {
  // What comes with the answer was not encrypted, and would be taken for what is (CVE-2021-43767).
  if (bytes.size() > 1 && bytes.front() != 'E')
    return fail("server sent unencrypted data after its answer to SSLRequest");
  switch (bytes.front()) {
    case 'S':
      start_tls(stream);
      return Step::wait;
    case 'N':
      if (mode_ < TlsMode::require) return Step::ready;
      return fail("server does not support TLS, and server_tls_sslmode asks for it");
    case 'E':
      // It is not authenticated, so its words are not repeated (CVE-2024-10977).
      return fail("server answered SSLRequest with an error");
    default:
      return fail("server sent an invalid answer to SSLRequest");
  }
}

}  // namespace bezel::pool
