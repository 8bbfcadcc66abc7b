#pragma once

#include <array>
#include <cstddef>
#include <optional>
#include <string>
#include <string_view>

#include "protocol/error_response.h"

/// SCRAM-SHA-256 and SCRAM-SHA-256-PLUS (RFC 5802, RFC 7677) as PostgreSQL speaks them: the user name inside the
/// exchange is ignored in favour of the startup packet's, authorization identities and mandatory extensions are
/// refused, passwords that SASLprep cannot take are used as raw bytes. Everything here is a pure value: no clock, no
/// random source (nonces are passed in), no threads; an object belongs to one thread at a time.
namespace bezel::protocol {

inline constexpr std::string_view kScramSha256 = "SCRAM-SHA-256";
inline constexpr std::string_view kScramSha256Plus = "SCRAM-SHA-256-PLUS";
inline constexpr size_t kScramKeyBytes = 32;
inline constexpr size_t kScramRawNonceBytes = 18;  ///< random bytes in a nonce, as PostgreSQL takes
inline constexpr size_t kScramSaltBytes = 16;      ///< of salts made here, as PostgreSQL's
inline constexpr int kScramIterationsDefault = 4096;
/// Bounds on what a peer may send. The iterations bound what a hostile server can make us compute (some 0.3 s).
inline constexpr int kScramIterationsMax = 1'000'000;
inline constexpr size_t kScramNonceBytesMax = 1024;
inline constexpr size_t kScramSaltBytesMax = 1024;
inline constexpr size_t kScramMessageBytesMax = 16384;

using ScramKey = std::array<unsigned char, kScramKeyBytes>;

/// The keys of one (password, salt, iterations). With `client_key` one can log in as the user; its bytes are erased
/// when the object ends.
struct ScramKeys {
  ScramKey stored_key{};
  ScramKey server_key{};
  std::optional<ScramKey> client_key;

  ScramKeys() = default;
  ScramKeys(const ScramKeys&) = default;
  ScramKeys& operator=(const ScramKeys&) = default;
  ~ScramKeys();
};

/// What a server stores of a password: enough to check a login, not to make one.
struct ScramVerifier {
  int iterations = kScramIterationsDefault;
  std::string salt;  ///< raw bytes
  ScramKey stored_key{};
  ScramKey server_key{};
  bool never_matches = false;  ///< of an unknown user: any proof fails

  bool operator==(const ScramVerifier&) const = default;
};

/// Derives the keys (client key included) by PBKDF2. Slow: about a millisecond at 4096 iterations; meant to run off the
/// event loop; callable from any thread. Nothing when iterations are outside 1..kScramIterationsMax, or the salt is
/// longer than kScramSaltBytesMax.
std::optional<ScramKeys> derive_keys(std::string_view password, std::string_view salt, int iterations);

/// The password as SCRAM hashes it: by SASLprep (RFC 4013), or unchanged where PostgreSQL leaves it so: plain ASCII,
/// invalid UTF-8, prohibited or unassigned characters. Passwords above 4096 bytes are also left unchanged, because the
/// normalisation's time grows with their square.
std::string saslprep_or_raw(std::string_view password);

/// A verifier of the keys, and its text as pg_authid stores it:
/// `SCRAM-SHA-256$<iterations>:<salt>$<StoredKey>:<ServerKey>`.
ScramVerifier make_verifier(const ScramKeys& keys, std::string_view salt, int iterations);
std::string build_verifier(const ScramVerifier& verifier);

/// Reads that text: base64 checked, keys of 32 bytes, iterations 1..2^31-1, salt up to kScramSaltBytesMax. Nothing when
/// it is anything else.
std::optional<ScramVerifier> parse_verifier(std::string_view text);

/// A verifier for a user that does not exist: the same salt for the same user and secret, PostgreSQL's default
/// iterations, so that a client cannot tell it from a real one; every login with it fails. `secret_key_bytes` is
/// random, made once by the process (by the fleet, if several instances must look alike).
ScramVerifier mock_verifier(std::string_view user, std::string_view secret_key_bytes);

/// The text of a nonce from kScramRawNonceBytes random bytes (any number works).
std::string scram_nonce(std::string_view random_bytes);

/// What ties a login to the TLS connection that it runs over, so that nobody in the middle can pass it on: both sides
/// mix the hash of the server's certificate, as each of them sees it, into the proof. The only type that there is, as
/// in PostgreSQL, is tls-server-end-point (RFC 5929).
struct ChannelBinding {
  /// The binding data, raw bytes. Empty: the connection is not encrypted or has no such data, and cannot be bound.
  std::string server_end_point;
  /// The client chose SCRAM-SHA-256-PLUS: the login is bound. Without it a client that could be bound says so ('y'),
  /// and a server that offered to be bound then knows that somebody has removed its offer.
  bool plus = false;
};

/// Why an exchange failed.
struct ScramFailure {
  enum class Kind {
    none,
    protocol,       ///< the peer broke the protocol, or asks for what is not supported: `error` says what
    wrong_password  ///< the proof is not that of the password; say 'password authentication failed for user "..."'
  };

  Kind kind = Kind::none;
  ProtocolError error;
};

/// The server's side of one login. Call client_first(), then client_final(), each once; after a failure no further call
/// succeeds.
class ScramServer {
 public:
  /// `nonce`: printable text, see scram_nonce(); fresh for every login. `binding`: SCRAM-SHA-256-PLUS must have been
  /// offered exactly where there is binding data; `plus` without any fails every login.
  ScramServer(ScramVerifier verifier, std::string nonce, ChannelBinding binding = {});
  /// From keys that were derived for `salt` and `iterations`.
  ScramServer(const ScramKeys& keys, std::string_view salt, int iterations, std::string nonce,
              ChannelBinding binding = {});
  ScramServer(const ScramServer&) = delete;
  ScramServer& operator=(const ScramServer&) = delete;
  ~ScramServer();

  /// Takes the client-first-message; the server-first-message to send, or nothing: see failure().
  std::optional<std::string> client_first(std::string_view message);

  /// Gives the keys of a verifier that had only salt and iterations, and never_matches. Before client_final().
  void set_keys(const ScramKeys& keys);

  /// Takes the client-final-message; the server-final-message to send when the proof is right, or nothing: see
  /// failure(). Takes the same time for a wrong proof and for an unknown user.
  std::optional<std::string> client_final(std::string_view message);

  const ScramFailure& failure() const { return failure_; }

  /// After a successful client_final(): the keys, with the client key recovered from the proof, to log in as the same
  /// user elsewhere. Nothing before, and nothing after a failure.
  std::optional<ScramKeys> keys() const;

 private:
  enum class State { initial, first_done, succeeded, failed };

  std::nullopt_t fail(ScramFailure::Kind kind, ProtocolError error);
  std::nullopt_t fail_malformed(std::string detail);
  bool read_gs2_header(std::string_view& message);
  bool read_binding_flag(std::string_view& message);
  bool fail_flag(char flag);
  bool check_binding(std::string_view attribute);
  bool read_client_first_bare(std::string_view bare);
  bool proof_is_right(std::string_view proof);

  ScramVerifier verifier_;
  std::string server_nonce_;
  State state_ = State::initial;
  ChannelBinding binding_;
  std::string gs2_header_;  // what `c=` must repeat, with the binding data behind it
  std::string nonce_;       // the client's, then ours
  std::string auth_message_;
  ScramKey client_key_{};
  ScramFailure failure_;
};

/// The client's side of one login. Call first(), server_first(), final_message(), verify_server_final() in this order.
/// The keys come between: derive_keys() of the password with the challenge's salt and iterations, on whatever thread,
/// or keys passed through from elsewhere (whose salt and iterations need not be looked at).
class ScramClient {
 public:
  struct Challenge {
    std::string salt;  ///< raw bytes
    int iterations = 0;
  };

  /// `nonce`: printable text, see scram_nonce(). `user` goes into the exchange; PostgreSQL ignores it and wants none.
  /// `binding` decides what the exchange says: without data that we cannot be bound ('n'), with data and `plus` that we
  /// are, with data alone that we could be but the server did not offer it ('y').
  explicit ScramClient(std::string nonce, std::string_view user = {}, ChannelBinding binding = {});
  ScramClient(const ScramClient&) = delete;
  ScramClient& operator=(const ScramClient&) = delete;
  ~ScramClient();

  /// The client-first-message.
  std::string first() const;

  /// Takes the server-first-message; nothing when it is not acceptable: see failure().
  std::optional<Challenge> server_first(std::string_view message);

  /// The client-final-message. Nothing when `keys` has no client key, or server_first() has not succeeded.
  std::optional<std::string> final_message(const ScramKeys& keys);

  /// Whether the server proved that it knows the password too. False: see failure().
  bool verify_server_final(std::string_view message);

  /// Whether the login is tied to its TLS connection, and the server has proved that too.
  bool channel_bound() const { return state_ == State::succeeded && binding_.plus; }

  /// What went wrong, in words for a log; empty when nothing has. Holds no secret; text from the server is cut and
  /// made printable.
  const std::string& failure() const { return failure_; }

 private:
  enum class State { initial, challenged, proven, succeeded, failed };

  std::nullopt_t fail(std::string reason);

  std::string nonce_;
  ChannelBinding binding_;
  std::string gs2_header_;
  std::string first_bare_;
  State state_ = State::initial;
  std::string server_nonce_;  // the whole: ours, then the server's
  std::string server_first_;
  std::string auth_message_;
  ScramKey server_key_{};
  std::string failure_;
};

}  // namespace bezel::protocol
