#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "protocol/error_response.h"
#include "tests/simulation/frames.h"

namespace bezel::simulation {

/// A model of one PostgreSQL session after its login: what it answers to messages, step by step. It knows no time and
/// no network, and always answers the same messages in the same way. It serves twice: inside the simulated servers, and
/// as the clients' idea of what a direct connection would have answered. A value: copies are independent.
///
/// Its SQL (statements are split at semicolons outside quotes):
///   select ID ROWS BYTES      rows of BYTES bytes or more, that say who saw what under which parameters
///   begin, commit, rollback, set NAME VALUE, set local NAME VALUE, reset NAME, DISCARD ALL, DEALLOCATE ALL
///   fail ID, syntax, die ID, notice ID, notify ID, copyin ID, copyout ID ROWS BYTES
///   and what the pooler sends: RESET "NAME", SELECT pg_catalog.set_config(E'..',E'..',false),..., ROLLBACK
class Session {
 public:
  Session(std::string database, std::string user, bool reports_at_once);

  // ---- Login ----

  /// A parameter of the startup packet; it becomes the session's default.
  std::optional<protocol::ProtocolError> start_with(std::string_view name, std::string_view value);
  /// The same as if the client had set it after the login.
  std::optional<protocol::ProtocolError> set(std::string_view name, std::string_view value);
  /// All reported parameters as they are now.
  std::vector<std::pair<std::string, std::string>> reported() const;
  void mark_all_reported();

  // ---- Conversation ----

  void feed(Frame frame) { input_.push_back(std::move(frame)); }
  bool has_work() const { return (in_query_ && !copying_in_) || !input_.empty(); }
  size_t queued_frames() const { return input_.size(); }
  /// Whether the next step executes something, so that it takes time and can be cancelled.
  bool executes_next() const;
  /// The id in what the next step executes; empty if there is none.
  std::string next_id() const;
  /// Does the next thing; `cancelled`: a cancel request hits it.
  void step(std::string& out, bool cancelled = false);
  /// Instead of the next step: a standby refuses it. REQUIRES: executes_next().
  void refuse_to_write(std::string& out);
  bool in_query() const { return in_query_; }
  /// The first word of what the next step executes.
  std::string next_word() const;
  /// The server is lost before the next step: what it has not answered fails with an error, and a transaction with it.
  /// What the request at hand might have done to the transaction is kept for request_holds().
  void lose(std::string& out);
  /// Whether a statement with that word was in the request that was lost.
  bool request_holds(std::string_view word) const;
  /// Whether the next message is a Query whose first statement ends the transaction.
  bool ends_transaction_next() const;
  /// Carries out that statement alone, without an answer: the rest of the text comes next. REQUIRES: there is one.
  void end_transaction_before_rest();
  /// The client has been told of the value.
  void note_reported(const std::string& name, const std::string& value);
  /// The transaction is over, or has failed, where the client cannot know.
  void force_status(char status);
  /// A step after which PostgreSQL sends what it has collected.
  bool take_flush_due() { return std::exchange(flush_due_, false); }

  /// Whether it skips all that has been sent and what is sent next, after an error in a batch without its Sync yet.
  bool skips_what_comes() const;
  bool copying_in() const { return copying_in_; }
  bool copying_for_execute() const { return copying_in_ && !in_query_; }
  char status() const { return status_; }
  bool ended() const { return ended_; }
  /// The ids of what was executed since the last call.
  std::vector<std::string> take_executed() { return std::exchange(executed_, {}); }
  size_t statement_count() const { return prepared_.size(); }
  const std::string* value(const std::string& key) const;
  bool at_rest() const { return status_ == 'I' && !in_query_ && !copying_in_ && !skipping_ && input_.empty(); }

 private:
  using Values = std::map<std::string, std::string>;
  struct Portal {
    std::string text, parameter;
    int rows_sent = 0;
    bool done = false;
  };

  void message(const Frame& frame, std::string& out);
  void copy_message(const Frame& frame, std::string& out);
  void simple_step(std::string& out);
  void begin_query(std::string_view text, std::string& out);
  void end_query(std::string& out);
  void parse(const Frame& frame, std::string& out);
  void bind(const Frame& frame, std::string& out);
  void describe(const Frame& frame, std::string& out);
  void close(const Frame& frame, std::string& out);
  void execute(const Frame& frame, std::string& out);
  static bool is_of_earlier_batch(std::string_view portal, bool bound);
  void sync(std::string& out);
  static void append_answer_description(std::string& out);
  bool run(const std::string& text, const std::string& parameter, std::string& out);
  bool run_select(const std::string& text, Portal& portal, int rows_max, std::string& out);
  bool run_set_config(std::string_view text, std::string& out);
  bool run_transaction_command(const std::string& word, std::string& out);
  bool run_set(const std::vector<std::string>& words, std::string& out);
  std::optional<protocol::ProtocolError> check(std::string_view key, std::string& value) const;
  bool refused_in_aborted(std::string_view text, std::string& out);
  bool fail(std::string& out, std::string_view state, std::string_view message);
  void finish_transaction();
  void ready(std::string& out);
  void report(std::string& out);
  std::string row(const std::string& text, const std::string& parameter, size_t bytes) const;

  std::string database_, user_;
  bool reports_at_once_;
  Values defaults_, values_, reported_;
  std::optional<Values> before_;  // the values before the transaction
  Values local_before_;           // of SET LOCAL
  std::map<std::string, std::string> prepared_;
  std::map<std::string, Portal> portals_;
  std::deque<Frame> input_;
  std::deque<std::string> query_;  // statements of the Query under way
  bool in_query_ = false;
  bool skipping_ = false;
  bool bound_in_batch_ = false;
  bool ran_portal_of_earlier_batch_ = false;
  bool copying_in_ = false;
  size_t copied_rows_ = 0;
  bool flush_due_ = false;
  bool ended_ = false;
  char status_ = 'I';
  std::vector<std::string> executed_;
  std::vector<std::string> lost_texts_;
};

}  // namespace bezel::simulation
