#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "pool/byte_stream.h"
#include "pool/fleet.h"
#include "pool/intrusive_list.h"
#include "pool/journal.h"
#include "pool/outstanding.h"
#include "pool/parameters.h"
#include "pool/prepared_statements.h"
#include "pool/timer_wheel.h"
#include "protocol/error_response.h"
#include "protocol/frames.h"

namespace bezel::pool {

class Client;
class Pool;
class ServerLogin;
struct ServerLoss;
class Upstream;

/// Where a server connection stands.
enum class ServerState : uint8_t {
  login,           ///< being connected, logging in
  idle,            ///< in the pool, free
  active,          ///< linked to a client
  own_query,       ///< runs a query of the pooler: check, reset, rollback, connect_query
  being_canceled,  ///< free again, but a cancel request for it is still on its way
  closed,
};

/// One connection to PostgreSQL. Belongs to its pool, and is used by that pool's worker's thread only.
///
/// Invariants: `client()` is set exactly in state active. In state idle nothing is outstanding, the session is outside
/// a transaction, and `parameters` says what it has been set to.
class Server final : public ByteStream::Events {
 public:
  Server(Pool& pool, std::shared_ptr<Upstream> upstream, const HostAddress& host, uint64_t id);
  ~Server();
  Server(const Server&) = delete;
  Server& operator=(const Server&) = delete;

  // Events of the stream.
  void on_connected() override;
  void on_secured() override;
  void on_bytes(std::string_view bytes) override;
  void on_congested() override;
  void on_drained() override;
  void on_closed(std::string_view reason) override;

  Pool& pool() { return pool_; }
  uint64_t id() const { return id_; }
  /// As the console shows it: like a client's, it fits PostgreSQL's int4.
  uint32_t shown_id() const { return static_cast<uint32_t>(id_ & 0x7fffffff); }
  ServerState state() const { return state_; }
  Client* client() const { return client_; }
  const HostAddress& host() const { return host_; }
  /// Which has chosen the host; nullptr: there was no choice.
  Upstream* upstream() const { return upstream_.get(); }
  int64_t connected_at_us() const { return connected_at_us_; }
  const ReportedParameters& defaults() const { return defaults_; }
  ConnectionRow row() const;

  // ---- For the client that is linked to it ----

  /// Links the client: its parameters are set in front of what it sends next.
  void link(Client& client);
  /// For a client that is logging in: client.parameters_applied() as soon as its parameters are set, or at once.
  void check_parameters();
  /// The client has gone (`mid_message`: with a message only partly written): the server is rolled back if that is
  /// safe, dropped otherwise.
  void abandon(bool mid_message);
  /// Queues bytes that stay valid until the end of the turn, or a copy.
  void write(std::string_view bytes) { stream_->write(bytes); }
  void write_copy(std::string_view bytes) { stream_->write_copy(bytes); }
  /// Notes a request that has been, or is about to be, written; one whose answer is forged gets it when its turn comes.
  void expect(OutstandingRequest request);
  bool skipping_until_sync() const { return skipping_until_sync_; }
  bool copying_in() const { return copying_in_; }
  void copy_in_ended() { copying_in_ = false; }
  /// Whether a message has gone to the client only in part: nothing else can be said to it then.
  bool in_message_to_client() const { return body_remaining_ > 0 && !swallow_body_; }
  /// What the client has asked since all was answered last; kept by the client.
  Journal& journal() { return journal_; }
  /// Whether all that has come from PostgreSQL were whole messages.
  bool between_messages() const { return body_remaining_ == 0 && carry_.empty(); }
  bool nothing_outstanding() const { return outstanding_.empty(); }
  /// The client waits for answers: those of a batch without its Sync yet would stay in PostgreSQL's buffer.
  void ask_for_answers();
  /// More is outstanding than a client may have: it must wait for answers before it may ask for more.
  bool too_much_outstanding() const { return outstanding_.size() >= kOutstandingMax; }
  /// An extended message of the pooler's making comes next: at the beginning of a batch closes surplus statements.
  void begin_extended();
  /// Makes sure that the server knows the statement when it comes to what is written next.
  void ensure_prepared(const StatementPtr& statement);
  /// A Parse under the server's name of `statement`.
  void send_parse(const Statement& statement, std::string_view definition, OutstandingRequest request);
  /// Lets the server say itself what it thinks of a Parse for a statement that it has.
  void prepare_again(const StatementPtr& statement);
  ServerStatements& statements() { return statements_; }
  /// The statement was prepared in an earlier batch whose answer is still out: whoever needs it waits.
  bool in_doubt(const StatementPtr& statement) const { return statements_.in_doubt(statement, batch_); }
  /// Whether ParseComplete can be promised for a statement that it has: no earlier batch is unanswered, which might
  /// leave a failed transaction behind.
  bool can_promise() const;
  bool in_failed_transaction() const { return transaction_status_ == 'E'; }
  /// For a Parse that is about to be sent.
  void will_prepare(const StatementPtr& statement) { statements_.add(statement, batch_); }
  /// The client has sent a Flush: it may not send a Sync for long.
  void flush_requested() { flush_requested_ = true; }
  /// Ends a batch that was flushed, is answered, and has left nothing on this server that its client could miss on
  /// another.
  void end_portable_batch();
  /// Gives the server back if everything has been answered and the pool's mode allows it; returns whether it did.
  bool release_if_done();
  /// Reads on, or not, whatever the state of things asks for.
  void update_reading();
  bool congested() const { return congested_; }

  // ---- For the pool ----

  void run_check_query(std::string_view sql);
  /// The pool's requester has the connection for itself until it gives it back, with nothing left to be answered.
  void lend();
  void give_back();
  /// True once after a check query.
  bool end_check() { return std::exchange(checking_, false); }
  void mark_to_close() { close_when_free_ = true; }
  bool marked_to_close() const { return close_when_free_; }
  /// It is to be closed when it is free, or after that time whatever it does.
  void leave_within(int64_t grace_us);
  void enter_idle();
  int64_t idle_since_us() const { return idle_since_us_; }
  bool too_old() const;
  size_t unsent_bytes() const { return stream_ ? stream_->unsent_bytes() : 0; }
  /// From time to time: ends the connection when its host has not answered for server_ack_timeout.
  void look_whether_host_lives();
  /// Ends the connection, with a Terminate where one can be understood; for a linked client its server is lost.
  void close(std::string_view reason);

  // ---- For cancel requests ----

  const std::string& cancel_secret() const { return cancel_secret_; }
  int32_t backend_pid() const { return backend_pid_; }
  void cancel_sent();
  void cancel_done();
  bool cancels_in_flight() const { return cancels_in_flight_ > 0; }

  ListHook<Server> all_hook, idle_hook;

  static constexpr size_t kOutstandingMax = 16384;
  /// Why a connection ends whose server is not, or not any more, what the database asks for.
  static constexpr std::string_view kNotServing = "the upstream leads to another server now";

 private:
  friend class ServerLogin;
  struct Output;

  void set_state(ServerState state);
  void logged_in();
  /// `by_learned_secret`: as Pool::server_login_failed().
  void login_failed(std::string_view state, std::string_view message, bool by_learned_secret = false);
  void login_refused(std::string_view why);
  void end_login();
  void report_loss(std::string_view state, std::string_view why);
  void apply_parameters();
  void take_reported_parameters();
  bool at_rest() const;
  void become_free(bool reset);
  void run_own_query(std::string_view sql);
  void own_query_done();
  void timer_fired();
  int64_t idle_deadline_us() const;

  // Relay (server_relay.cpp).
  size_t relay(std::string_view bytes);
  void frame(const protocol::FrameHeader& header, std::string_view body, Output& output);
  void pass(Output& output, size_t bytes);
  void flush(Output& output);
  void swallow(Output& output, size_t bytes);
  bool front_swallows();
  void answered(Request request);
  void skip_unanswered();
  void emit_forged();
  void drop_front(size_t& changes);
  void drop_until_sync();
  void begin_answer();
  bool ready_for_query(std::string_view body);
  void command_complete(std::string_view body);
  void doubt_unreported_parameters();
  bool parameter_status(std::string_view body);
  void copy_in_began();
  bool error_response(const protocol::FrameHeader& header, std::string_view body, Output& output);
  void break_off(std::string_view reason);
  void fatal_error(const protocol::ErrorFields& fields);
  bool is_clients_for_good() const;
  bool ends_client() const;
  bool refused_as_standby(const protocol::ErrorFields& fields, const Output& output);
  ServerLoss describe_loss(std::string_view reason) const;
  void count_owed(ServerLoss& loss) const;
  std::string undone_parameters() const;
  void lose_client(std::string_view reason);
  void own_error(const protocol::ErrorFields* fields);
  std::string with_client_names(std::string_view body) const;

  static constexpr int64_t kOwnQueryTimeoutUs = 15'000'000;

  Pool& pool_;
  StreamPtr stream_;
  std::shared_ptr<Upstream> upstream_;
  HostAddress host_;
  uint64_t id_;
  ServerState state_ = ServerState::login;
  Client* client_ = nullptr;
  std::unique_ptr<ServerLogin> login_;
  Timer timer_;

  // The session on the server.
  ReportedParameters defaults_;  // as reported at login
  ReportedParameters reported_;  // as reported last
  ParameterSetPtr parameters_;   // what it has been set to since
  std::string cancel_secret_;
  int32_t backend_pid_ = 0;
  ServerStatements statements_;
  StatementPtr still_prepared_;  // its Close was just skipped after an error
  char transaction_status_ = 'I';

  // The conversation.
  OutstandingQueue outstanding_;
  std::string carry_;            // the beginning of a frame that must be seen whole
  uint64_t body_remaining_ = 0;  // of a frame that streams through
  bool swallow_body_ = false;
  bool unsynced_ = false;             // extended messages since the last Sync
  bool flush_requested_ = false;      // in this batch
  bool batch_is_portable_ = true;     // only prepares and describes, by names that the pooler keeps
  uint64_t batch_ = 0;                // counts Syncs
  bool skipping_until_sync_ = false;  // the server skips what it reads, after an error
  bool copying_in_ = false;
  bool forge_due_ = false;  // forged answers follow the frame at hand
  bool in_relay_ = false;
  bool setting_parameters_ = false;  // the oldest query outstanding sets the client's parameters
  bool own_query_failed_ = false;
  bool checking_ = false;
  bool lent_ = false;  // in state own_query
  bool reset_after_rollback_ = false;
  bool reset_after_cancel_ = false;
  bool close_when_free_ = false;
  bool congested_ = false;
  bool reading_paused_ = false;
  bool told_client_of_end_ = false;  // the server's own FATAL has gone to the client
  int cancels_in_flight_ = 0;
  std::string
      last_error_;  // why it is to be closed as soon as what has come is gone through: the server's FATAL, mostly
  std::optional<protocol::ProtocolError> fatal_;
  // Since the client was linked.
  Journal journal_;
  uint64_t taken_before_ = 0;  // by the stream
  bool answered_ = false;      // something has gone to the client
  bool in_answer_ = false;     // the same, and no ReadyForQuery since
  bool error_told_ = false;    // to the client, in the request that is being answered
  size_t completed_ = 0;       // of the same request: its statements, or what was executed
  size_t skipped_ = 0;         // Queries behind the error in it
  bool refused_as_standby_ = false;
  ParameterSetPtr parameters_before_;  // the client's, before the transaction; nullptr: the same
  std::optional<protocol::ProtocolError> parameter_error_;

  int64_t connected_at_us_ = 0;
  int64_t connected_wall_us_ = 0;
  int64_t idle_since_us_ = 0;
  int64_t request_wall_us_ = 0;
  int64_t own_query_since_us_ = 0;
  int64_t leave_at_us_ = 0;      // 0: it may stay
  int64_t silent_since_us_ = 0;  // that its host owes acknowledgements; 0: it does not
};

}  // namespace bezel::pool
