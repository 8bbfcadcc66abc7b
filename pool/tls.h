#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

namespace bezel::pool {

/// PostgreSQL's sslmode. For clients `allow` and `prefer` are one, and so are the two verify modes: a certificate of a
/// known authority is asked for.
enum class TlsMode : uint8_t { disable, allow, prefer, require, verify_ca, verify_full };

/// Certificates, keys and rules of one side. The pool only passes it on to the stream.
class TlsContext {
 public:
  virtual ~TlsContext() = default;
};

/// How a stream is to turn to TLS.
struct TlsStart {
  std::shared_ptr<const TlsContext> context;
  std::string host;           ///< name or address of the server, to be sent (SNI) and verified; empty for a client
  bool direct = false;        ///< without a request before it: then both sides must name the protocol (ALPN)
  std::string_view received;  ///< what the peer has sent already
};

/// What is known of a stream's encryption.
struct TlsFacts {
  std::string version;                                    ///< "TLSv1.3"
  std::string cipher;                                     ///< "TLS_AES_256_GCM_SHA384"
  std::string server_name;                                ///< what a client asked for (SNI)
  std::string peer_common_name, peer_distinguished_name;  ///< of the peer's verified certificate (RFC 2253)
  /// The binding data of tls-server-end-point (RFC 5929): the hash of the server's certificate. Empty: there is none.
  std::string server_end_point;
  bool resumed = false;
};

class ByteStream;
/// For SHOW CLIENTS and SHOW SERVERS: "TLSv1.3/TLS_AES_256_GCM_SHA384"; empty where there is no TLS, or no stream.
std::string tls_text(const ByteStream* stream);

}  // namespace bezel::pool
