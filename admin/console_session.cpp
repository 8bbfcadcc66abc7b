#include "admin/console_session.h"

#include <fmt/format.h>

#include <utility>

#include "admin/commands.h"
#include "admin/fleet_operation.h"
#include "pool/printable.h"
#include "protocol/error_response.h"
#include "protocol/messages.h"

namespace bezel::admin {

namespace {

namespace sqlstate = protocol::sqlstate;

std::string upper_case(std::string_view text) {
  std::string result(text);
  for (char& c : result)
    if (c >= 'a' && c <= 'z') c = static_cast<char>(c - 'a' + 'A');
  return result;
}

}  // namespace

ConsoleSession::ConsoleSession(Console& console, std::string user, pool::ConsoleRole role, pool::ConsoleClient& client)
    : console_(console),
      user_(std::move(user)),
      role_(role),
      client_(client),
      worker_(client.worker_index()),
      statistics_(console.statistics_of(worker_)) {
  statistics_.cl_active.add(1);
}

ConsoleSession::~ConsoleSession() {
  statistics_.cl_active.sub(1);
  console_.session_closed();
  // Nobody would be left to end a SUSPEND, and all clients stand still. When the process ends there is nothing to
  // resume, and the fleet may be half gone.
  const bool last = console_.sessions() == 0 && !console_.program().shutting_down();
  if (last && console_.fleet().state() == "suspended") resume_unheard(console_, worker_, {});
}

void ConsoleSession::on_message(char type, std::string_view body) {
  // PostgreSQL skips a Query too.
  const bool skipped = skip_until_sync_ && type != 'S' && type != 'X';
  if (skipped) return done();
  switch (type) {
    case 'Q':
      return on_query(body);
    case 'P':
      return on_parse(body);
    case 'B':
      return on_bind(body);
    case 'D':
      return on_describe(body);
    case 'E':
      return on_execute(body);
    case 'C':
      return on_close(body);
    case 'S':
      return on_sync();
    case 'H':
      return done();  // Flush: nothing is kept back
    case 'd':
    case 'c':
    case 'f':
      return done();  // of a COPY that never began; PostgreSQL ignores them too
    case 'X': {
      const std::weak_ptr<bool> alive = alive_;
      client_.end();
      if (!alive.expired()) done();
      return;
    }
    default:
      return on_unknown(type);
  }
}

void ConsoleSession::on_unknown(char type) {
  fail_connection(fmt::format("unsupported packet type for admin console: {}", static_cast<int>(type)));
}

void ConsoleSession::on_cancel() {
  if (!running_ || running_command_->undo == nullptr) return;
  const CallPtr call = running_;
  running_command_->undo(call);
  call->fail({"canceling statement due to user request", sqlstate::kQueryCanceled, {}});
}

void append_error(std::string& out, const Failure& failure) {
  protocol::append_error_response(out, protocol::severity::kError, failure.sqlstate, failure.message, failure.detail);
}

// ---- Simple protocol ---------------------------------------------------------------------------------------------

void ConsoleSession::on_query(std::string_view body) {
  statements_.erase(std::string());
  portals_.erase(std::string());
  const auto text = protocol::decode_query(body);
  Outcome unrun;
  if (!text) {
    unrun.failure = Failure{"invalid message format", sqlstate::kProtocolViolation, {}};
    return answer_query(unrun);
  }
  Interpretation meaning = interpret(*text);
  if (meaning.request) {
    return run(*meaning.request, {}, [this](const Outcome& outcome) { answer_query(outcome); });
  }
  if (meaning.failure) {
    if (transaction_status_ == 'T') transaction_status_ = 'E';
    unrun.failure = std::move(meaning.failure);
    return answer_query(unrun);
  }
  std::string empty;
  protocol::append_empty_query_response(empty);
  protocol::append_ready_for_query(empty, transaction_status_);
  client_.send(empty);
  done();
}

void ConsoleSession::answer_query(const Outcome& outcome) {
  if (outcome.unanswered) return done();
  std::string answer = outcome.notices;
  if (outcome.failure) {
    append_error(answer, *outcome.failure);
  } else {
    if (!outcome.rows.columns().empty()) append_columns(answer, outcome.rows.columns(), {});
    outcome.rows.append_to(answer, 0, outcome.rows.size());
    protocol::append_command_complete(answer, outcome.tag);
  }
  protocol::append_ready_for_query(answer, transaction_status_);
  client_.send(answer);
  done();
}

// ---- Running a command -------------------------------------------------------------------------------------------

std::optional<Failure> ConsoleSession::refusal(const Request& request) const {
  const bool ends_transaction = request.command->effect == SessionEffect::end_transaction;
  if (transaction_status_ == 'E' && !ends_transaction)
    return Failure{"current transaction is aborted, commands ignored until end of transaction block",
                   sqlstate::kInFailedSqlTransaction,
                   {}};
  if (request.command->role == pool::ConsoleRole::admin && role_ != pool::ConsoleRole::admin)
    return Failure{"admin access needed", sqlstate::kProtocolViolation, {}};
  return std::nullopt;
}

void ConsoleSession::run(const Request& request, std::vector<Format> formats, std::function<void(Outcome)> ended) {
  statistics_.queries.add(1);
  statistics_.transactions.add(1);
  const auto on_end = [this, request, ended = std::move(ended)](Outcome outcome) {
    running_ = nullptr;
    running_command_ = nullptr;
    settle(request, outcome);
    ended(std::move(outcome));
  };
  if (auto failure = refusal(request)) {
    Outcome outcome;
    outcome.failure = std::move(failure);
    return on_end(std::move(outcome));
  }
  log(request);
  // The session may be gone when the command ends; then nobody hears of it.
  const std::weak_ptr<bool> alive = alive_;
  auto call = std::make_shared<Call>(console_, user_, worker_, request.argument,
                                     ResultRows(request.columns, std::move(formats)), [alive, on_end](Outcome outcome) {
                                       if (!alive.expired()) on_end(std::move(outcome));
                                     });
  call->key = request.key;
  running_ = call;
  running_command_ = request.command;
  request.command->run(call);
}

void ConsoleSession::log(const Request& request) {
  if (request.command->role != pool::ConsoleRole::admin) return;
  std::string text = upper_case(request.command->name);
  if (!request.key.empty()) text += fmt::format(" {} =", pool::printable(request.key));
  if (!request.argument.empty()) text += fmt::format(" '{}'", pool::printable(request.argument));
  console_.program().log_command(fmt::format("{} command issued by {}", text, pool::printable(user_)));
}

void ConsoleSession::settle(const Request& request, Outcome& outcome) {
  if (outcome.failure) {
    if (transaction_status_ == 'T') transaction_status_ = 'E';
    return;
  }
  switch (request.command->effect) {
    case SessionEffect::begin_transaction:
      transaction_status_ = 'T';
      break;
    case SessionEffect::end_transaction:
      if (transaction_status_ == 'E') outcome.tag = "ROLLBACK";
      transaction_status_ = 'I';
      break;
    case SessionEffect::drop_statements:
      statements_.clear();
      break;
    case SessionEffect::drop_statement:
      drop_statement(request.argument, outcome);
      break;
    case SessionEffect::none:
      break;
  }
}

void ConsoleSession::drop_statement(const std::string& name, Outcome& outcome) {
  if (statements_.erase(name) != 0) return;
  outcome.failure =
      Failure{fmt::format("prepared statement \"{}\" does not exist", name), sqlstate::kInvalidSqlStatementName, {}};
  if (transaction_status_ == 'T') transaction_status_ = 'E';
}

// ---- Answers -----------------------------------------------------------------------------------------------------

void ConsoleSession::fail_connection(const std::string& message) {
  std::string error;
  protocol::append_error_response(error, protocol::severity::kFatal, sqlstate::kProtocolViolation, message);
  client_.send(error);
  const std::weak_ptr<bool> alive = alive_;
  client_.end();
  if (!alive.expired()) done();
}

void ConsoleSession::done() {
  client_.message_done();
}

}  // namespace bezel::admin
