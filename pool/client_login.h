#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "pool/auth_query.h"
#include "pool/byte_stream.h"
#include "pool/console.h"
#include "pool/ident_map.h"
#include "pool/ip_address.h"
#include "pool/limits.h"
#include "pool/parameters.h"
#include "pool/password_checker.h"
#include "pool/settings.h"
#include "pool/timer_wheel.h"
#include "protocol/error_response.h"
#include "protocol/frames.h"
#include "protocol/scram.h"
#include "protocol/secret.h"
#include "protocol/startup.h"
#include "protocol/wipe.h"

namespace bezel::pool {

class Client;
class Pool;
class Worker;

/// Who a client is, and the places that it takes up. Gives them back when it goes.
struct ClientIdentity {
  ~ClientIdentity();

  std::shared_ptr<UserShare> user;
  std::shared_ptr<DatabaseShare> database;
  SlotCount* all_clients = nullptr;  // set where a place of max_client_conn is held
  bool holds_user_slot = false, holds_database_slot = false;
};

/// Drives a client from its first byte to ReadyForQuery: first packet, hand-over to the pool's worker, authentication,
/// limits, startup parameters. What it holds before authentication is bounded by kInputBytesMax.
class ClientLogin {
 public:
  explicit ClientLogin(int64_t wall_clock_us) : connected_wall_us_(wall_clock_us) {}
  ~ClientLogin();
  ClientLogin(const ClientLogin&) = delete;
  ClientLogin& operator=(const ClientLogin&) = delete;

  /// Binds it to the client (again, after a hand-over) and goes on where it was.
  void start(Client& client, Worker& worker);
  void on_bytes(std::string_view bytes);
  void secured();
  /// A server has taken the client's startup parameters (nullptr), or refused them.
  void parameters_applied(const protocol::ProtocolError* error);
  /// The client is closed: what is being computed for it comes too late.
  void stop();
  /// Refuses the client.
  void fail(const protocol::ProtocolError& error);

  int64_t connected_wall_us() const { return connected_wall_us_; }
  const protocol::StartupPacket& packet() const { return packet_; }
  bool is_securing() const { return stage_ == Stage::securing; }
  bool is_cancel_request() const { return stage_ == Stage::cancel; }
  /// What the client sent before it was told that it may.
  std::string take_early_input() { return std::move(input_); }

  /// A password message may be that long (PgBouncer's documentation lets passwords have any length; tokens do).
  static constexpr size_t kInputBytesMax = 64 * 1024 + 16;

 private:
  enum class Stage : uint8_t {
    first_packet,
    securing,  // TLS is being set up
    cancel,
    moved,
    cleartext,
    md5,
    sasl_initial,
    sasl_response,
    looking_up,  // the user's secret is being asked for
    deriving,    // keys, a password check or a system user's name are being got by another thread
    parameters,  // authenticated; waits for a server to check startup parameters on
    ended,
  };

  void first_packet();
  /// Grants it, or says that there is none.
  void encryption_requested(protocol::FirstPacketResult::Kind kind);
  void start_tls(bool direct);
  bool may_use_tls() const;
  void startup(protocol::StartupPacket packet);
  void on_right_worker();
  bool is_console() const;
  // Who may try to log in, and how (client_admission.cpp).
  void authenticate();
  /// Sets the method by the rules of auth_hba_file, or refuses.
  bool choose_by_rules();
  bool check_certificate();
  /// Ends in look_up_secret(), later, or refuses.
  void check_system_user();
  bool may_be(std::string_view system_user) const;
  /// Too many logins from the client's address have failed. Looked at again before each proof is checked, as many
  /// logins may have begun before the first has failed.
  bool is_throttled() const;
  void refuse_throttled();
  void count_failure();
  /// Of cert and peer. `kind` as PostgreSQL calls it.
  void refuse_identity(std::string_view kind, std::string_view reason);

  /// Ends in secret_found(), maybe later.
  void look_up_secret();
  /// `next` follows, at once or later, unless the login has ended by then. REQUIRES: auth_source_.
  void ask_for_secret(std::function<void(const AuthReply&)> next);
  void secret_replied(const AuthReply& reply);
  /// Whether the secret that did not fit comes from the cache and may have changed since. True once.
  bool secret_may_be_outdated();
  void wrong_password(const std::function<void()>& check_again);
  /// Nothing: there is no such user. Asks the client for its proof, if it has to give one still.
  void secret_found(std::optional<protocol::StoredSecret> secret);
  void ask_for_proof();
  void begin_sasl();
  /// The data that binds the login to its TLS connection; empty: it cannot be bound.
  std::string binding_data() const;
  void begin_sasl_with_password();
  void start_scram(protocol::ScramVerifier verifier);
  void message();
  /// What the client has sent as its proof, or a part of it.
  void check(std::string_view body);
  void check_cleartext(std::string_view body);
  void check_password(const protocol::SharedPassword& password);
  /// Has PAM or an LDAP server say whether it is right.
  void check_password_elsewhere(std::string_view password);
  void password_checked(const PasswordVerdict& verdict);
  void check_md5(std::string_view body);
  void check_md5_response(const std::string& response);
  void sasl_initial(std::string_view body);
  void sasl_response(std::string_view body);
  void check_proof(std::string_view body);
  void proof_failed();
  /// By the salt and the iterations of verifier_; `next` gets the keys unless the login has ended by then.
  void derive_off_loop(const std::string& password,
                       std::function<void(const std::optional<protocol::ScramKeys>&)> next);
  bool some_must_derive() const;
  void refuse_password(std::string_view reason);
  void authenticated();
  bool take_places(const DatabaseSettings* entry);
  void open_console();
  bool collect_parameters();
  bool add_parameter(std::string_view name, std::string_view value);
  void settle_parameters();
  void greet();
  void send(std::string_view message);

  Client* client_ = nullptr;
  Worker* worker_ = nullptr;
  Stage stage_ = Stage::first_packet;
  int64_t connected_wall_us_;
  std::string input_;
  protocol::StartupPacket packet_;
  AuthType method_ = AuthType::trust;
  std::optional<IpAddress> address_;                    // the client's; nothing for a Unix socket
  std::shared_ptr<const IdentMap> ident_map_;           // of the rule that holds; null: none
  std::string pam_service_;                             // for method pam
  std::shared_ptr<const LdapSettings> ldap_;            // for method ldap
  std::shared_ptr<PasswordQuestion> question_;          // what PAM or an LDAP server is asked
  std::optional<protocol::StoredSecret> secret_;        // of the user that wants in
  std::unique_ptr<AuthSource> auth_source_;             // where it is asked for, if auth_file does not have it
  bool secret_is_cached_ = false;                       // from an earlier question
  std::string_view no_secret_reason_ = "no such user";  // for the log
  bool has_derived_ = false;                            // keys, for this login
  std::optional<PassedKeys> proved_keys_;               // with a secret that was asked for
  std::array<unsigned char, 4> md5_salt_{};
  bool scram_plus_ = false;  // the client chose SCRAM-SHA-256-PLUS
  std::unique_ptr<protocol::ScramServer> scram_;
  protocol::ScramVerifier verifier_;  // what scram_ checks against: its salt goes with keys that are passed on
  Pool* pool_ = nullptr;
  std::vector<std::pair<std::string, std::string>> values_;
  std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);
};

}  // namespace bezel::pool
