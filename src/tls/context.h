#pragma once

#include <openssl/ssl.h>

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "pool/tls.h"

namespace bezel::tls {

/// Which end of a connection this process is.
enum class Role : uint8_t { server, client };

/// Settings of one side, under PgBouncer's names without their prefix.
struct Options {
  Role role = Role::server;
  pool::TlsMode mode = pool::TlsMode::disable;
  std::string ca_file, crl_file, cert_file, key_file;
  std::string protocols = "secure";  ///< secure, all, legacy, or names such as tlsv1.2 with commas between them
  std::string ciphers;               ///< up to TLS 1.2, in OpenSSL's language; "", default, secure, normal, fast, all
  std::string ciphersuites;          ///< of TLS 1.3; empty: OpenSSL's
  std::string dheparams;             ///< auto, none, or a file
  std::string ecdhcurve;             ///< auto, none, or names with colons between them
  bool operator==(const Options&) const = default;
};

/// Whether `dheparams` is a file's name, and not one of its words.
bool names_file(std::string_view dheparams);

/// What is wrong with the options.
struct Problem {
  std::string option;  ///< the setting, without client_ or server_: "tls_cert_file"
  std::string message;
};

/// Certificates, keys and rules of one side, read from their files once: what all TLS connections of that side have in
/// common. Immutable; any thread may use it.
class Context final : public pool::TlsContext {
 public:
  /// Null and `problem` says what is wrong. Reads files: not for an event loop.
  static std::shared_ptr<const Context> make(const Options& options, Problem& problem);
  Context(const Context&) = delete;
  Context& operator=(const Context&) = delete;
  ~Context() override;

  SSL_CTX* get() const { return context_; }
  Role role() const { return options_.role; }
  pool::TlsMode mode() const { return options_.mode; }

 private:
  explicit Context(const Options& options) : options_(options) {}
  bool set_up();
  bool set_protocols();
  bool set_ciphers();
  bool set_groups();
  bool load_identity();
  bool load_authorities();
  /// False.
  bool fail(const char* option, std::string message);
  void set_verification();
  void set_resumption();

  Options options_;
  Problem problem_;
  SSL_CTX* context_ = nullptr;
};

/// What OpenSSL's queue of errors says, for people; empties it.
std::string openssl_error();

}  // namespace bezel::tls
