#include "src/tls/session.h"

#include <arpa/inet.h>
#include <fmt/format.h>
#include <openssl/err.h>
#include <openssl/x509v3.h>

#include <algorithm>
#include <cstring>
#include <utility>

#include "src/tls/client_hello.h"

namespace bezel::tls {
namespace {

bool is_address(const std::string& host) {
  unsigned char bytes[sizeof(in6_addr)];
  return ::inet_pton(AF_INET, host.c_str(), bytes) == 1 || ::inet_pton(AF_INET6, host.c_str(), bytes) == 1;
}

/// Whom the certificate must be for. A path of a Unix socket has no name that could be verified.
bool set_peer_name(SSL* ssl, const std::string& host, bool verify) {
  if (host.empty() || host.front() == '/') return true;
  if (is_address(host)) return !verify || X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(ssl), host.c_str()) == 1;
  if (SSL_set_tlsext_host_name(ssl, host.c_str()) != 1) return false;
  if (!verify) return true;
  SSL_set_hostflags(ssl, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
  return SSL_set1_host(ssl, host.c_str()) == 1;
}

std::string text_of(BIO* memory) {
  char* text = nullptr;
  const long size = BIO_get_mem_data(memory, &text);
  return size > 0 ? std::string(text, static_cast<size_t>(size)) : std::string();
}

std::string distinguished_name(const X509_NAME* name) {
  BIO* const memory = BIO_new(BIO_s_mem());
  X509_NAME_print_ex(memory, name, 0, XN_FLAG_RFC2253 & ~ASN1_STRFLGS_ESC_MSB);
  std::string text = text_of(memory);
  BIO_free(memory);
  return text;
}

/// Empty when there is none, or it holds a zero byte (CVE-2009-4034).
std::string common_name(const X509_NAME* name) {
  const int at = X509_NAME_get_index_by_NID(name, NID_commonName, -1);
  if (at < 0) return {};
  unsigned char* utf8 = nullptr;
  const int size = ASN1_STRING_to_UTF8(&utf8, X509_NAME_ENTRY_get_data(X509_NAME_get_entry(name, at)));
  if (size < 0) return {};
  std::string text(reinterpret_cast<char*>(utf8), static_cast<size_t>(size));
  OPENSSL_free(utf8);
  return text.find('\0') == std::string::npos ? text : std::string();
}

}  // namespace

std::unique_ptr<Session> Session::make(const pool::TlsStart& start) {
  auto context = std::static_pointer_cast<const Context>(start.context);
  const bool is_client = context->role() == Role::client;
  std::unique_ptr<Session> made(new Session(std::move(context), start));
  return is_client && !made->open() ? nullptr : std::move(made);
}

Session::Session(std::shared_ptr<const Context> context, const pool::TlsStart& start)
    : context_(std::move(context)), host_(start.host), direct_(start.direct), input_(start.received) {}

bool Session::open() {
  ssl_ = SSL_new(context_->get());
  BIO* const bio = ssl_ != nullptr ? BIO_new(bio_method()) : nullptr;
  if (bio == nullptr) return false;
  BIO_set_data(bio, this);
  BIO_set_init(bio, 1);
  SSL_set_bio(ssl_, bio, bio);
  if (context_->role() == Role::server) {
    SSL_set_accept_state(ssl_);
    return true;
  }
  SSL_set_connect_state(ssl_);
  return set_peer_name(ssl_, host_, context_->mode() == pool::TlsMode::verify_full);
}

Session::~Session() {
  SSL_free(ssl_);
}

// ---- Bytes in and out ----------------------------------------------------------------------------------------------

BIO_METHOD* Session::bio_method() {
  static BIO_METHOD* const kMethod = [] {
    BIO_METHOD* const method = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "bezel");
    BIO_meth_set_read(method, bio_read);
    BIO_meth_set_write(method, bio_write);
    BIO_meth_set_ctrl(method, bio_control);
    return method;
  }();
  return kMethod;
}

int Session::bio_read(BIO* bio, char* to, int size) {
  Session& self = *static_cast<Session*>(BIO_get_data(bio));
  BIO_clear_retry_flags(bio);
  if (self.incoming_.empty()) {
    BIO_set_retry_read(bio);
    return -1;
  }
  const size_t taken = std::min(self.incoming_.size(), static_cast<size_t>(size));
  std::memcpy(to, self.incoming_.data(), taken);
  self.incoming_.remove_prefix(taken);
  return static_cast<int>(taken);
}

int Session::bio_write(BIO* bio, const char* from, int size) {
  Session& self = *static_cast<Session*>(BIO_get_data(bio));
  self.output_.append(from, static_cast<size_t>(size));
  return size;
}

long Session::bio_control(BIO*, int command, long, void*) {
  return command == BIO_CTRL_FLUSH ? 1 : 0;
}

// ---- The handshake -------------------------------------------------------------------------------------------------

bool Session::can_go_on() const {
  return ssl_ != nullptr || look_at_hello(input_) != HelloProgress::incomplete;
}

Session::Progress Session::handshake() {
  ERR_clear_error();
  if (ssl_ == nullptr) {
    if (look_at_hello(input_) == HelloProgress::invalid) {
      failure_ = "the client began with something else than a ClientHello";
      return Progress::failed;
    }
    if (!open()) {
      failure_ = openssl_error();
      return Progress::failed;
    }
  }
  incoming_ = input_;
  const int result = SSL_do_handshake(ssl_);
  // What is left came behind the handshake.
  input_.erase(0, input_.size() - incoming_.size());
  incoming_ = {};
  if (result == 1) {
    learn_facts();
    const unsigned char* protocol = nullptr;
    unsigned int protocol_bytes = 0;
    SSL_get0_alpn_selected(ssl_, &protocol, &protocol_bytes);
    if (!direct_ || protocol_bytes > 0) return Progress::done;
    failure_ = "a direct TLS connection must name its protocol (ALPN)";
    return Progress::failed;
  }
  return fail(result) ? Progress::failed : Progress::again;
}

std::string Session::take_input() {
  return std::exchange(input_, {});
}

bool Session::fail(int result) {
  const int error = SSL_get_error(ssl_, result);
  if (error == SSL_ERROR_WANT_READ || error == SSL_ERROR_WANT_WRITE) return false;
  if (error == SSL_ERROR_ZERO_RETURN) {
    closed_ = true;
    return false;
  }
  failure_ = openssl_error();
  if (const long verified = SSL_get_verify_result(ssl_); verified != X509_V_OK) {
    failure_ = fmt::format("{}: {}", failure_, X509_verify_cert_error_string(verified));
  }
  return true;
}

void Session::learn_facts() {
  facts_.version = SSL_get_version(ssl_);
  facts_.cipher = SSL_get_cipher_name(ssl_);
  facts_.resumed = SSL_session_reused(ssl_) == 1;
  const bool is_server = context_->role() == Role::server;
  if (is_server) {
    const char* const name = SSL_get_servername(ssl_, TLSEXT_NAMETYPE_host_name);
    if (name != nullptr) facts_.server_name = name;
  }
  X509* const peer = SSL_get0_peer_certificate(ssl_);
  if (peer != nullptr && SSL_get_verify_result(ssl_) == X509_V_OK) {
    facts_.peer_common_name = common_name(X509_get_subject_name(peer));
    facts_.peer_distinguished_name = distinguished_name(X509_get_subject_name(peer));
  }
  X509* const of_server = is_server ? SSL_get_certificate(ssl_) : peer;
  if (of_server != nullptr) learn_end_point(of_server);
}

void Session::learn_end_point(X509* certificate) {
  // RFC 5929 section 4.1: the hash of the certificate's signature, but SHA-256 instead of MD5 and SHA-1.
  int hash = 0;
  if (X509_get_signature_info(certificate, &hash, nullptr, nullptr, nullptr) != 1 || hash == NID_undef) return;
  const EVP_MD* const digest = hash == NID_md5 || hash == NID_sha1 ? EVP_sha256() : EVP_get_digestbynid(hash);
  unsigned char bytes[EVP_MAX_MD_SIZE];
  unsigned int size = 0;
  if (digest == nullptr || X509_digest(certificate, digest, bytes, &size) != 1) return;
  facts_.server_end_point.assign(reinterpret_cast<char*>(bytes), size);
}

// ---- Afterwards ----------------------------------------------------------------------------------------------------

bool Session::decrypt(std::string_view ciphertext, char* to, size_t& bytes) {
  ERR_clear_error();
  incoming_ = ciphertext;
  bytes = 0;
  const size_t room = ciphertext.size() + kKeptBytesMax;
  bool good = true;
  while (good && bytes < room) {
    size_t taken = 0;
    const int result = SSL_read_ex(ssl_, to + bytes, room - bytes, &taken);
    bytes += taken;
    if (result == 1) continue;
    good = !fail(result);
    break;
  }
  incoming_ = {};
  return good;
}

bool Session::encrypt(std::string_view plaintext) {
  ERR_clear_error();
  while (!plaintext.empty()) {
    size_t taken = 0;
    const int result = SSL_write_ex(ssl_, plaintext.data(), plaintext.size(), &taken);
    if (result != 1) {
      // Writing never has to wait: the BIO takes everything.
      if (!fail(result)) failure_ = "encryption did not go on";
      return false;
    }
    plaintext.remove_prefix(taken);
  }
  return true;
}

void Session::close() {
  ERR_clear_error();
  SSL_shutdown(ssl_);
}

std::string Session::take_output() {
  return std::exchange(output_, {});
}

}  // namespace bezel::tls
