#include "src/tls/context.h"

#include <fmt/format.h>
#include <openssl/dh.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>

#include <array>
#include <string_view>
#include <utility>

namespace bezel::tls {
namespace {

struct Version {
  std::string_view name;
  uint64_t off;
};
// SSL 3 and older are not offered by anything that this is built with.
constexpr std::array<Version, 4> kVersions = {{{"tlsv1.0", SSL_OP_NO_TLSv1},
                                               {"tlsv1.1", SSL_OP_NO_TLSv1_1},
                                               {"tlsv1.2", SSL_OP_NO_TLSv1_2},
                                               {"tlsv1.3", SSL_OP_NO_TLSv1_3}}};
constexpr uint64_t kAllOff = SSL_OP_NO_TLSv1 | SSL_OP_NO_TLSv1_1 | SSL_OP_NO_TLSv1_2 | SSL_OP_NO_TLSv1_3;
constexpr uint64_t kOldOff = SSL_OP_NO_TLSv1 | SSL_OP_NO_TLSv1_1;

/// The protocol's registered name (ALPN), in the form of the extension: its length, then itself.
constexpr std::string_view kAlpn("\x0apostgresql", 11);

/// Nobody is there to type it; OpenSSL would ask on the terminal.
int no_passphrase(char*, int, int, void*) {
  return 0;
}

/// A client that offers protocols must offer ours; one that offers none is an older libpq.
int choose_protocol(SSL*, const unsigned char** chosen, unsigned char* chosen_bytes, const unsigned char* offered,
                    unsigned int offered_bytes, void*) {
  unsigned char* found = nullptr;
  const auto* ours = reinterpret_cast<const unsigned char*>(kAlpn.data());
  if (SSL_select_next_proto(&found, chosen_bytes, ours, kAlpn.size(), offered, offered_bytes) !=
      OPENSSL_NPN_NEGOTIATED) {
    return SSL_TLSEXT_ERR_ALERT_FATAL;
  }
  *chosen = found;
  return SSL_TLSEXT_ERR_OK;
}

const char* cipher_list(std::string_view name) {
  if (name.empty() || name == "default" || name == "secure") return "HIGH:MEDIUM:+3DES:!aNULL";
  if (name == "compat" || name == "legacy" || name == "all") return "ALL:!aNULL:!eNULL";
  if (name == "normal" || name == "fast") return "HIGH:!aNULL";
  return nullptr;
}

/// Calls `each` with every part of a list; stops at the first that it returns false for.
template <typename Each>
bool each_part(std::string_view list, Each each) {
  while (true) {
    const size_t end = list.find_first_of(":, ");
    const std::string_view part = list.substr(0, end);
    if (!part.empty() && !each(part)) return false;
    if (end == std::string_view::npos) return true;
    list.remove_prefix(end + 1);
  }
}

}  // namespace

bool names_file(std::string_view dheparams) {
  return !dheparams.empty() && dheparams != "auto" && dheparams != "none";
}

std::string openssl_error() {
  std::string text;
  while (const unsigned long code = ERR_get_error()) {
    const char* const reason = ERR_reason_error_string(code);
    if (text.empty()) text = reason != nullptr ? reason : fmt::format("OpenSSL error {:#x}", code);
  }
  return text.empty() ? "unknown error" : text;
}

std::shared_ptr<const Context> Context::make(const Options& options, Problem& problem) {
  const std::shared_ptr<Context> made(new Context(options));
  ERR_clear_error();
  if (made->set_up()) return made;
  problem = made->problem_;
  return nullptr;
}

bool Context::fail(const char* option, std::string message) {
  problem_ = {option, std::move(message)};
  return false;
}

Context::~Context() {
  SSL_CTX_free(context_);
}

bool Context::set_up() {
  context_ = SSL_CTX_new(options_.role == Role::server ? TLS_server_method() : TLS_client_method());
  if (context_ == nullptr) return fail("tls_sslmode", openssl_error());
  // An idle connection keeps no buffers: most of a pooler's connections are idle.
  SSL_CTX_set_mode(context_,
                   SSL_MODE_RELEASE_BUFFERS | SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
  // Compression leaks secrets (CRIME), renegotiation costs the server more than the client.
  SSL_CTX_set_options(context_, SSL_OP_NO_COMPRESSION | SSL_OP_NO_RENEGOTIATION | SSL_OP_CIPHER_SERVER_PREFERENCE |
                                    SSL_OP_IGNORE_UNEXPECTED_EOF);
  // Clients send passwords, which must not stay in OpenSSL's buffers.
  if (options_.role == Role::server) SSL_CTX_set_options(context_, SSL_OP_CLEANSE_PLAINTEXT);
  SSL_CTX_set_default_passwd_cb(context_, no_passphrase);
  for (const auto step : {&Context::set_protocols, &Context::set_ciphers, &Context::set_groups, &Context::load_identity,
                          &Context::load_authorities}) {
    if (!(this->*step)()) return false;
  }
  set_verification();
  set_resumption();
  if (options_.role == Role::server) {
    SSL_CTX_set_alpn_select_cb(context_, choose_protocol, nullptr);
  } else {
    SSL_CTX_set_alpn_protos(context_, reinterpret_cast<const unsigned char*>(kAlpn.data()), kAlpn.size());
  }
  return true;
}

bool Context::set_protocols() {
  uint64_t off = kAllOff;
  bool has_old = false;
  const bool known = each_part(options_.protocols, [&](std::string_view part) {
    if (part == "secure" || part == "default") {
      off &= ~(kAllOff & ~kOldOff);
      return true;
    }
    if (part == "all" || part == "legacy") {
      off = 0;
      has_old = true;
      return true;
    }
    for (const Version& version : kVersions) {
      if (part != version.name) continue;
      off &= ~version.off;
      has_old = has_old || (version.off & kOldOff) != 0;
      return true;
    }
    return false;
  });
  if (!known || off == kAllOff) {
    return fail("tls_protocols",
                fmt::format("\"{}\" is no list of protocols: secure, all, tlsv1.0, tlsv1.1, tlsv1.2, tlsv1.3",
                            options_.protocols));
  }
  // Debian's own lower bound is TLS 1.2; who names older ones wants them.
  SSL_CTX_set_min_proto_version(context_, has_old ? TLS1_VERSION : TLS1_2_VERSION);
  SSL_CTX_set_options(context_, off);
  return true;
}

bool Context::set_ciphers() {
  const char* list = cipher_list(options_.ciphers);
  if (list == nullptr) list = options_.ciphers.c_str();
  if (SSL_CTX_set_cipher_list(context_, list) != 1) {
    return fail("tls_ciphers", fmt::format("\"{}\" is no list of ciphers: {}", options_.ciphers, openssl_error()));
  }
  if (!options_.ciphersuites.empty() && SSL_CTX_set_ciphersuites(context_, options_.ciphersuites.c_str()) != 1) {
    return fail("tls13_ciphers",
                fmt::format("\"{}\" is no list of TLS 1.3 ciphers: {}", options_.ciphersuites, openssl_error()));
  }
  return true;
}

bool Context::set_groups() {
  const std::string& groups = options_.ecdhcurve;
  if (!groups.empty() && groups != "auto" && groups != "none" &&
      SSL_CTX_set1_groups_list(context_, groups.c_str()) != 1) {
    return fail("tls_ecdhcurve", fmt::format("\"{}\" is no list of curves: {}", groups, openssl_error()));
  }
  if (options_.role != Role::server) return true;
  const std::string& parameters = options_.dheparams;
  if (!names_file(parameters)) {
    if (parameters != "none") SSL_CTX_set_dh_auto(context_, 1);
    return true;
  }
  BIO* const file = BIO_new_file(parameters.c_str(), "r");
  EVP_PKEY* const key = file != nullptr ? PEM_read_bio_Parameters(file, nullptr) : nullptr;
  BIO_free(file);
  if (key == nullptr)
    return fail("tls_dheparams", fmt::format("{}: no DH parameters could be read: {}", parameters, openssl_error()));
  if (SSL_CTX_set0_tmp_dh_pkey(context_, key) == 1) return true;
  EVP_PKEY_free(key);
  return fail("tls_dheparams", fmt::format("{}: not usable as DH parameters: {}", parameters, openssl_error()));
}

bool Context::load_identity() {
  const std::string& certificate = options_.cert_file;
  const std::string& key = options_.key_file;
  if (key.empty() != certificate.empty()) {
    return key.empty() ? fail("tls_key_file", "expected a file: the certificate's key; found none")
                       : fail("tls_cert_file", "expected a file: the key's certificate; found none");
  }
  if (certificate.empty()) {
    return options_.role == Role::client ||
           fail("tls_cert_file", "expected a file: to offer TLS, a certificate is needed; found none");
  }
  if (SSL_CTX_use_certificate_chain_file(context_, certificate.c_str()) != 1) {
    return fail("tls_cert_file", fmt::format("{}: no certificate could be read: {}", certificate, openssl_error()));
  }
  if (SSL_CTX_use_PrivateKey_file(context_, key.c_str(), SSL_FILETYPE_PEM) != 1) {
    return fail("tls_key_file", fmt::format("{}: no key of the certificate could be read without a passphrase: {}", key,
                                            openssl_error()));
  }
  return true;
}

bool Context::load_authorities() {
  const bool verifies = options_.mode == pool::TlsMode::verify_ca || options_.mode == pool::TlsMode::verify_full;
  const std::string& authorities = options_.ca_file;
  if (authorities.empty()) {
    if (!verifies) return true;
    return fail("tls_ca_file", "expected a file: the authorities' certificates, to verify with; found none");
  }
  if (SSL_CTX_load_verify_file(context_, authorities.c_str()) != 1) {
    return fail("tls_ca_file", fmt::format("{}: no certificate could be read: {}", authorities, openssl_error()));
  }
  if (options_.role == Role::server) {
    SSL_CTX_set_client_CA_list(context_, SSL_load_client_CA_file(authorities.c_str()));
  }
  if (options_.crl_file.empty()) return true;
  X509_STORE* const store = SSL_CTX_get_cert_store(context_);
  if (X509_STORE_load_file(store, options_.crl_file.c_str()) != 1) {
    return fail("tls_crl_file", fmt::format("{}: no list of revoked certificates could be read: {}", options_.crl_file,
                                            openssl_error()));
  }
  X509_STORE_set_flags(store, X509_V_FLAG_CRL_CHECK | X509_V_FLAG_CRL_CHECK_ALL);
  return true;
}

void Context::set_verification() {
  using pool::TlsMode;
  const bool verifies = options_.mode == TlsMode::verify_ca || options_.mode == TlsMode::verify_full;
  if (options_.role == Role::client) {
    // Other modes encrypt without asking who the other end is, as in libpq.
    SSL_CTX_set_verify(context_, verifies ? SSL_VERIFY_PEER : SSL_VERIFY_NONE, nullptr);
  } else if (!options_.ca_file.empty()) {
    SSL_CTX_set_verify(context_, SSL_VERIFY_PEER | (verifies ? SSL_VERIFY_FAIL_IF_NO_PEER_CERT : 0), nullptr);
  }
}

void Context::set_resumption() {
  if (options_.role != Role::server) return;
  // By tickets, so that nothing is kept here; all workers share this context, and with it the tickets' keys.
  static constexpr unsigned char kName[] = "bezel";
  SSL_CTX_set_session_id_context(context_, kName, sizeof kName - 1);
  SSL_CTX_set_session_cache_mode(context_, SSL_SESS_CACHE_OFF);
  SSL_CTX_set_num_tickets(context_, 1);
}

}  // namespace bezel::tls
