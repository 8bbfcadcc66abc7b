#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>

#include "pool/auth_query.h"
#include "pool/auth_result.h"
#include "pool/pool_requester.h"
#include "pool/timer_wheel.h"

namespace bezel::pool {

class Pool;
class Worker;

/// Puts questions about users to one source, by a server connection that no client ever gets, one after the other, and
/// tells the cache what has come of them. The connection is opened with the first question and closed when it has been
/// idle for a minute. A question that gets no answer in kQueryTimeoutUs is put once more, on a new connection.
class AuthConnection final : public PoolRequester {
 public:
  AuthConnection(Worker& worker, const AuthSource& source);
  ~AuthConnection() override;
  AuthConnection(const AuthConnection&) = delete;
  AuthConnection& operator=(const AuthConnection&) = delete;

  /// REQUIRES: a flight in the cache, which ends by this.
  void ask(const AuthSource& source, const std::string& user);
  /// Nothing is asked any more: whatever ends now is nobody's business.
  void stop() { stopped_ = true; }
  /// Nothing is to be asked, and no connection open.
  bool unused() const;

  bool wants_server() const override { return !stopped_ && server_ == nullptr && !questions_.empty(); }
  void server_free(Server& server) override;
  void server_answered(Server& server, std::string_view bytes) override;
  void server_lost(Server& server) override;
  void login_failed(const protocol::ProtocolError& error, bool permanent) override;

  static constexpr int64_t kQueryTimeoutUs = 5'000'000;
  /// How long a question may take for which the cache has an old answer.
  static constexpr int64_t kPatienceUs = 3'000'000;
  /// The same where there is none, and client_login_timeout is off.
  static constexpr int64_t kPatienceMaxUs = 60'000'000;
  static constexpr int kAttemptsMax = 2;

 private:
  struct Question {
    std::string user;
    int64_t asked_at_us;
    int attempts = 0;
  };

  AuthQuestion in_cache(const Question& question) const { return {source_id_, question.user}; }
  int64_t deadline_us(const Question& question) const;
  void answered(const AuthResult& result);
  void fail(const Question& question, const protocol::ProtocolError& error, bool source_is_down);
  /// Ends the questions for which `is_over`; those of the others that are left go on.
  template <typename IsOver>
  void fail_those(IsOver is_over, const protocol::ProtocolError& error);
  void timer_fired();
  void arm_timer();
  void log_problem(const std::string& user, std::string_view problem);

  Worker& worker_;
  const std::string source_id_, query_;
  Pool* pool_ = nullptr;
  std::deque<Question> questions_;
  Server* server_ = nullptr;  // works at the first question
  std::optional<AuthResult> result_;
  int64_t query_deadline_us_ = 0;
  Timer timer_;
  bool stopped_ = false;
};

/// The AuthConnections of one worker.
class AuthConnections {
 public:
  explicit AuthConnections(Worker& worker) : worker_(worker) {}

  void ask(const AuthSource& source, const std::string& user);
  void end_unused();
  void stop();

  /// Under "*" clients, before they have logged in, make up names of databases: only so many connections at once.
  static constexpr size_t kConnectionsMax = 32;

 private:
  Worker& worker_;
  std::unordered_map<std::string, std::unique_ptr<AuthConnection>> connections_;
};

}  // namespace bezel::pool
