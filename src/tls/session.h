#pragma once

#include <openssl/ssl.h>

#include <memory>
#include <string>
#include <string_view>

#include "src/tls/context.h"

namespace bezel::tls {

/// One TLS connection, without its socket: bytes go in and come out. First the handshake, which is expensive and may
/// run on any thread, one at a time; then decrypt() and encrypt().
class Session {
 public:
  enum class Progress : uint8_t {
    again,   ///< all is done that can be done with what has come in
    done,    ///< the handshake is complete
    failed,  ///< failure() says why; there may be an alert for the peer in the output
  };
  /// How much more than what came in now may come out of decrypt(): a record that came in before, but for its end.
  static constexpr size_t kKeptBytesMax = 16384 + 512;

  /// `start.context` must be a Context. Null: memory is short.
  static std::unique_ptr<Session> make(const pool::TlsStart& start);
  Session(const Session&) = delete;
  Session& operator=(const Session&) = delete;
  ~Session();

  // ---- The handshake ----

  /// Bytes from the peer, for the next handshake().
  void receive(std::string_view ciphertext) { input_.append(ciphertext); }
  /// Whether handshake() has anything to do: a server waits until the client's first message is whole.
  bool can_go_on() const;
  Progress handshake();
  /// What came in with or after the end of the handshake. For decrypt().
  std::string take_input();

  // ---- Afterwards ----

  /// Decrypts all of what came in; `to` has room for its size and kKeptBytesMax. `bytes`: how much it is, also after a
  /// failure. False: the peer broke the protocol (failure()). The end of the peer's stream is none; is_closed() tells.
  bool decrypt(std::string_view ciphertext, char* to, size_t& bytes);
  /// False: failure().
  bool encrypt(std::string_view plaintext);
  /// Tells the peer that nothing follows.
  void close();
  bool is_closed() const { return closed_; }

  /// Ciphertext that any of these has made for the peer.
  std::string take_output();
  const pool::TlsFacts& facts() const { return facts_; }
  const std::string& failure() const { return failure_; }

 private:
  Session(std::shared_ptr<const Context> context, const pool::TlsStart& start);

  static BIO_METHOD* bio_method();
  static int bio_read(BIO* bio, char* to, int size);
  static int bio_write(BIO* bio, const char* from, int size);
  static long bio_control(BIO* bio, int command, long number, void* pointer);
  /// Makes ssl_.
  bool open();
  bool fail(int result);
  void learn_facts();
  void learn_end_point(X509* certificate);

  std::shared_ptr<const Context> context_;
  SSL* ssl_ = nullptr;  ///< of a server only when the handshake begins
  std::string host_;
  bool direct_;
  bool closed_ = false;
  std::string input_;          ///< of the handshake
  std::string_view incoming_;  ///< what the BIO reads now
  std::string output_;
  std::string failure_;
  pool::TlsFacts facts_;
};

}  // namespace bezel::tls
