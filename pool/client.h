#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "pool/byte_stream.h"
#include "pool/client_statements.h"
#include "pool/console.h"
#include "pool/failed_transaction.h"
#include "pool/fleet.h"
#include "pool/intrusive_list.h"
#include "pool/outstanding.h"
#include "pool/parameters.h"
#include "pool/runtime.h"
#include "pool/server_loss.h"
#include "pool/timer_wheel.h"
#include "protocol/error_response.h"
#include "protocol/frames.h"
#include "protocol/messages.h"

namespace bezel::pool {

class ClientLogin;
struct ClientIdentity;
class Pool;
class Server;
class Worker;

enum class ClientState : uint8_t {
  login,    ///< up to AuthenticationOk; its ClientLogin drives it
  idle,     ///< has no server and wants none
  waiting,  ///< in its pool's queue
  active,   ///< linked to a server
  failed,   ///< its transaction was lost with its server: what it asks is answered here until it rolls back
  console,  ///< talks to the console
  closed,
};

/// One connection of a client. Belongs to its worker, and is used by that worker's thread only.
///
/// Invariants: `server()` is set exactly in state active, or in state login while the login itself has a server. In
/// state waiting, and in state login while wait_since_us() is set, it is in its pool's queue. Bytes that cannot go to a
/// server yet are in `carry_`, at most about ByteStream::kCongestedBytes of them but for a message that must be seen
/// whole.
class Client final : public ByteStream::Events, public ConsoleClient {
 public:
  Client(Worker& worker, uint64_t id);
  ~Client();
  Client(const Client&) = delete;
  Client& operator=(const Client&) = delete;

  /// Takes the stream of a connection that was just accepted, or moved here by another worker.
  void attach(StreamPtr stream, std::unique_ptr<ClientLogin> login);

  /// Takes stream and login off, to go on at another worker. The object is of no more use.
  std::unique_ptr<ClientLogin> move_away(std::unique_ptr<DetachedStream>& detached);

  // Events of the stream.
  void on_secured() override;
  void on_bytes(std::string_view bytes) override;
  void on_congested() override;
  void on_drained() override;
  void on_closed(std::string_view reason) override;

  // For a console session.
  void send(std::string_view messages) override { write_copy(messages); }
  void message_done() override;
  void end() override { close_quietly("console session ended"); }
  int worker_index() const override;

  uint64_t id() const { return id_; }
  /// The process id of its BackendKeyData. Never negative, so that no client is puzzled by it.
  uint32_t cancel_pid() const { return static_cast<uint32_t>(id_ & 0x7fffffff); }
  /// The secret of its BackendKeyData: 4 bytes, or 32 in protocol 3.2. Derived, not stored.
  std::string cancel_secret() const;
  bool checks_cancel_secret(std::string_view secret) const;
  ClientState state() const { return state_; }
  Server* server() const { return server_; }
  Pool* pool() const { return pool_; }
  const std::string& user() const;
  std::string database() const;
  int64_t wait_since_us() const { return wait_since_us_; }
  /// Since when it would wait, if it had to from now on: earlier, if a server was lost before it could answer.
  int64_t place_in_queue_us() const;
  bool is_cancel_request() const;
  ConnectionRow row() const;

  /// Sends the error as FATAL and closes.
  void fail(const protocol::ProtocolError& error);
  /// The client said Terminate.
  void terminated();
  /// Closes without a message: the peer is gone, said goodbye, or must be dropped at once.
  void close_quietly(std::string_view reason);
  /// Answers the batch that waits for a server with ERROR 57014 and ReadyForQuery. REQUIRES: state waiting.
  void cancel_while_waiting();
  /// Ends what the console is waiting for. REQUIRES: state console.
  void cancel_console_command() { console_->on_cancel(); }
  /// Reads on, or not, whatever the state of things asks for.
  void update_reading();
  bool congested() const { return congested_; }
  size_t unsent_bytes() const { return stream_ ? stream_->unsent_bytes() : 0; }

  // ---- For the pool ----

  /// It is in the queue from now on.
  void began_to_wait();
  void stopped_waiting() { wait_since_us_ = 0; }
  /// The server is its own from now on.
  void linked(Server& server);
  /// After linked(), for one that waited: what it has sent goes on.
  void server_assigned();

  // ---- For the server that is linked to it ----

  void write(std::string_view bytes) { stream_->write(bytes); }
  void write_copy(std::string_view bytes) { stream_->write_copy(bytes); }
  const ParameterSetPtr& parameters() const { return parameters_; }
  void set_parameters(ParameterSetPtr parameters) { parameters_ = std::move(parameters); }
  bool is_logging_in() const { return state_ == ClientState::login; }
  /// The server has taken the client's parameters (nullptr) or refused them.
  void parameters_applied(const protocol::ProtocolError* error);
  /// All is answered: the server goes back to its pool.
  void server_released(bool was_used);
  /// The server was lost, and with it what it had not answered (client_loss.cpp). `journal`: the server's, which stays
  /// unchanged during the call.
  void server_lost(const ServerLoss& loss, const Journal& journal);
  /// The same in session mode, where it is the client's end: `error` is sent as FATAL unless the server has already
  /// sent its own.
  void session_lost(const protocol::ProtocolError& error, bool already_told);
  /// Whether what it has asked would go to another server.
  bool would_replay(const ServerLoss& loss, const Journal& journal) const;
  size_t replays_left() const { return replays_ < kReplaysMax ? kReplaysMax - replays_ : 0; }
  /// A request of the client was answered up to ReadyForQuery.
  void request_done();
  /// Goes on with input that had to wait.
  void resume_input();
  /// Something was answered: messages that had to wait for it may go on.
  void answers_came() {
    if (stalled_) resume_input();
  }
  /// Whether input waits for answers.
  bool has_kept_input() const { return stalled_ && !carry_.empty(); }
  /// Whether a message of the client is only partly written to the server.
  bool in_message() const { return body_remaining_ > 0 && !discard_body_; }
  ClientStatements* statements() { return statements_.get(); }

  ListHook<Client> wait_hook;

  static constexpr size_t kNamedStatementsMax = 65536;
  static constexpr size_t kParseBytesMax = 16 * 1024 * 1024;
  /// How often in a row the same request goes to yet another server.
  static constexpr uint8_t kReplaysMax = 100;

 private:
  friend class ClientLogin;
  struct Input;

  // Login.
  void login_done(std::unique_ptr<ConsoleSession> console);
  void await_server_for_login();
  void add_host_to_application_name(std::vector<std::pair<std::string, std::string>>& values) const;

  // Input (client_relay.cpp). Message handlers return whether to go on with the input.
  void take_input(std::string_view bytes);
  bool held_back() const { return stalled_ || wait_since_us_ != 0 || console_busy_; }
  std::string_view process(std::string_view bytes);
  void go_through(Input& input);
  bool give_back_server(Input& input);
  void keep_in_journal(Input& input);
  void leave_out_of_journal(const protocol::FrameHeader& header, Input& input);
  bool was_counted(const Input& input) const;
  void flush(Input& input);
  static void pass_over(Input& input, size_t bytes);
  void pass_body(Input& input);
  bool message(const protocol::FrameHeader& header, Input& input);
  bool forward(const protocol::FrameHeader& header, Input& input);
  bool forward_extended(Request request, const protocol::FrameHeader& header, Input& input);
  bool discard(const protocol::FrameHeader& header, Input& input);
  bool need_more(size_t bytes);
  bool stall();
  bool violate(std::string_view state, std::string message);
  bool need_server(Input& input);
  void request_begins();
  bool sync(const protocol::FrameHeader& header, Input& input);
  bool copy_message(const protocol::FrameHeader& header, Input& input);
  bool prepared_statements_on() const;
  ClientStatements& names();
  bool parse(const protocol::FrameHeader& header, Input& input);
  void prepare(std::string_view name, const StatementPtr& statement);
  bool bind(const protocol::FrameHeader& header, Input& input);
  bool describe_or_close(const protocol::FrameHeader& header, Input& input);
  bool close_statement(std::string_view name, const protocol::FrameHeader& header, Input& input);
  bool console_message(const protocol::FrameHeader& header, Input& input);

  // The loss of a server (client_loss.cpp).
  LossVerdict judge(const ServerLoss& loss, const Journal& journal) const;
  void lost_at_login(const ServerLoss& loss);
  void replay(const Journal& journal);
  void give_answers(const ServerLoss& loss, const LossVerdict& verdict);
  void enter_status_after(const ServerLoss& loss, const LossVerdict& verdict);
  void leave_failed_transaction();
  bool message_in_failed_transaction(const protocol::FrameHeader& header, Input& input);
  bool go_on_with(std::string_view query, Input& input);

  // Timeouts: one timer, which looks again when it fires.
  void arm_timer();
  void timer_fired();
  int64_t deadline_us() const;
  int64_t idle_deadline_us() const;

  void leave();
  void close_stream(std::string_view reason, LogLevel level);
  void log(LogLevel level, std::string_view what) const;

  using WaitHook = IntrusiveList<Client, &Client::wait_hook>;

  Worker& worker_;
  StreamPtr stream_;
  uint64_t id_;
  ClientState state_ = ClientState::login;
  bool congested_ = false;
  bool reading_paused_ = false;
  bool discard_body_ = false;
  bool stalled_ = false;  // input waits in carry_ for answers
  bool console_busy_ = false;
  bool in_console_message_ = false;
  bool query_wait_notified_ = false;
  bool protocol_3_2_ = false;
  bool body_not_journaled_ = false;  // of the message that streams through
  uint8_t replays_ = 0;              // in a row
  uint64_t body_remaining_ = 0;      // of a message that streams through
  size_t counted_bytes_ =
      0;  // of the input at hand or in carry_ that were gone through before, for a server that was lost
  size_t carry_needed_ = 0;  // bytes that carry_ must have before it is worth looking again
  std::string carry_;        // input that cannot go on yet
  Pool* pool_ = nullptr;
  Server* server_ = nullptr;
  ParameterSetPtr parameters_;
  std::unique_ptr<ClientStatements> statements_;
  std::unique_ptr<ClientLogin> login_;
  std::unique_ptr<ConsoleSession> console_;
  std::unique_ptr<FailedTransaction> failed_;  // set exactly in state failed
  std::unique_ptr<ClientIdentity> identity_;
  Timer timer_;
  int64_t connected_wall_us_ = 0;
  int64_t wait_since_us_ = 0;         // 0: it does not wait for a server
  int64_t asked_since_us_ = 0;        // since when it has waited, or did not have to, for what the server works at
  int64_t request_since_us_ = 0;      // of the request under way; 0: none
  int64_t transaction_since_us_ = 0;  // since linked; 0: not linked
  int64_t idle_since_us_ = 0;         // since the last answer, or since it connected
};

}  // namespace bezel::pool
