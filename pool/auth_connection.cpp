#include "pool/auth_connection.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "pool/pool.h"
#include "pool/printable.h"
#include "pool/server.h"
#include "pool/worker.h"
#include "protocol/sqlstate.h"

namespace bezel::pool {

namespace sqlstate = protocol::sqlstate;

namespace {

/// What clients are told: neither who asks, nor whom, nor how.
const protocol::ProtocolError kUnavailable = {sqlstate::kCannotConnectNow,
                                              "the server that knows the users cannot be reached", "", ""};
const protocol::ProtocolError kMisconfigured = {sqlstate::kConfigFileError, "the authentication query failed", "",
                                                "The pooler's log says why."};

}  // namespace

AuthConnection::AuthConnection(Worker& worker, const AuthSource& source)
    : worker_(worker),
      source_id_(source.id),
      query_(source.query),
      timer_([](void* self) { static_cast<AuthConnection*>(self)->timer_fired(); }, this) {
  pool_ = &worker.add_requester_pool(source.id, source.entry, source.database, *this);
}

AuthConnection::~AuthConnection() {
  worker_.remove_requester_pool(source_id_);
}

bool AuthConnection::unused() const {
  return questions_.empty() && pool_->server_count() == 0;
}

void AuthConnection::ask(const AuthSource& source, const std::string& user) {
  pool_->set_database(source.entry);
  worker_.statistics().auth_queries.add(1);
  questions_.push_back({user, worker_.now_us()});
  pool_->serve_requester();
  arm_timer();
}

int64_t AuthConnection::deadline_us(const Question& question) const {
  if (worker_.shared().auth_cache.can_do_without(in_cache(question), worker_.now_us()))
    return question.asked_at_us + kPatienceUs;
  const int64_t login_us = worker_.settings().client_login_timeout_us;
  return question.asked_at_us + (login_us > 0 ? login_us : kPatienceMaxUs);
}

void AuthConnection::server_free(Server& server) {
  Question& question = questions_.front();
  question.attempts++;
  server_ = &server;
  result_.emplace(question.user);
  server.lend();
  server.write_copy(AuthResult::question(query_, question.user));
  const int64_t timeout_us = worker_.settings().query_timeout_us;
  query_deadline_us_ =
      worker_.now_us() + (timeout_us > 0 ? std::min(timeout_us, kQueryTimeoutUs) : int64_t{kQueryTimeoutUs});
  arm_timer();
}

void AuthConnection::server_answered(Server& server, std::string_view bytes) {
  const AuthResult::State state = result_->take(bytes);
  if (state == AuthResult::State::reading) return;
  if (state == AuthResult::State::broken) return server.close(result_->problem());
  const AuthResult result = *std::exchange(result_, std::nullopt);
  server_ = nullptr;
  answered(result);
  if (result.has_more()) return server.close("server sent an answer that nobody has asked for");
  server.give_back();
}

void AuthConnection::answered(const AuthResult& result) {
  const Question question = std::move(questions_.front());
  questions_.pop_front();
  if (!result.problem().empty()) {
    log_problem(question.user, result.problem());
    return fail(question, kMisconfigured, false);
  }
  if (!result.remark().empty()) {
    worker_.log(LogLevel::info, fmt::format("auth_query of database \"{}\" for user \"{}\": {}", pool_->database_name(),
                                            printable(question.user), result.remark()));
  }
  if (!result.role_problem().empty()) {
    worker_.log(
        LogLevel::warning,
        fmt::format("auth_query of database \"{}\" for user \"{}\": only the query says whether it may log in, as "
                    "pg_roles cannot be read: {}",
                    pool_->database_name(), printable(question.user), result.role_problem()));
  }
  const int64_t now = worker_.now_us();
  worker_.shared().auth_cache.answered(in_cache(question), result.answer(now), now);
}

void AuthConnection::fail(const Question& question, const protocol::ProtocolError& error, bool source_is_down) {
  worker_.statistics().auth_query_failures.add(1);
  worker_.shared().auth_cache.failed(in_cache(question), error, source_is_down, worker_.now_us());
}

template <typename IsOver>
void AuthConnection::fail_those(IsOver is_over, const protocol::ProtocolError& error) {
  std::deque<Question> left;
  for (Question& question : questions_) {
    if (is_over(question)) {
      fail(question, error, true);
    } else {
      left.push_back(std::move(question));
    }
  }
  questions_ = std::move(left);
}

void AuthConnection::server_lost(Server& server) {
  if (server_ != &server) return;
  server_ = nullptr;
  const std::string problem = std::exchange(result_, std::nullopt)->problem();
  if (stopped_) return;
  log_problem(questions_.front().user, problem.empty() ? "no answer" : problem);
  // A question that a server does not survive is not put to it forever.
  fail_those([](const Question& question) { return question.attempts >= kAttemptsMax; }, kUnavailable);
}

void AuthConnection::login_failed(const protocol::ProtocolError&, bool permanent) {
  if (stopped_) return;  // the server itself has logged why
  const AuthCache& cache = worker_.shared().auth_cache;
  fail_those(
      [&](const Question& question) { return permanent || cache.can_do_without(in_cache(question), worker_.now_us()); },
      permanent ? kMisconfigured : kUnavailable);
}

void AuthConnection::arm_timer() {
  if (server_ != nullptr) worker_.timers().schedule_no_later(timer_, query_deadline_us_);
  // The first question is the oldest, but one with an old answer behind it may be due before it.
  if (!questions_.empty()) worker_.timers().schedule_no_later(timer_, questions_.back().asked_at_us + kPatienceUs);
}

void AuthConnection::timer_fired() {
  const int64_t now = worker_.now_us();
  if (server_ != nullptr && now >= query_deadline_us_) server_->close("auth_query timed out");
  Server* const busy = server_;
  if (busy != nullptr && now >= deadline_us(questions_.front())) busy->close("auth_query takes too long");
  fail_those([&](const Question& question) { return now >= deadline_us(question); }, kUnavailable);
  if (questions_.empty()) return;
  pool_->serve_requester();
  worker_.timers().schedule_no_later(timer_, now + kPatienceUs);
  if (server_ != nullptr) worker_.timers().schedule_no_later(timer_, query_deadline_us_);
}

void AuthConnection::log_problem(const std::string& user, std::string_view problem) {
  worker_.log(LogLevel::warning, fmt::format("auth_query of database \"{}\" for user \"{}\" failed: {}",
                                             pool_->database_name(), printable(user), problem));
}

// ---- All of a worker
// ---------------------------------------------------------------------------------------------------

void AuthConnections::ask(const AuthSource& source, const std::string& user) {
  auto at = connections_.find(source.id);
  if (at == connections_.end()) {
    if (connections_.size() >= kConnectionsMax) end_unused();
    if (connections_.size() >= kConnectionsMax) {
      worker_.log(LogLevel::warning, "auth_query: too many connections to different databases at once");
      worker_.statistics().auth_query_failures.add(1);
      return worker_.shared().auth_cache.failed({source.id, user}, kUnavailable, true, worker_.now_us());
    }
    at = connections_.emplace(source.id, std::make_unique<AuthConnection>(worker_, source)).first;
  }
  at->second->ask(source, user);
}

void AuthConnections::end_unused() {
  std::erase_if(connections_, [](const auto& connection) { return connection.second->unused(); });
}

void AuthConnections::stop() {
  for (const auto& [id, connection] : connections_) connection->stop();
}

}  // namespace bezel::pool
