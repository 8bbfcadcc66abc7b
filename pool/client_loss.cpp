// What a client sees when its server is lost.

#include <fmt/format.h>

#include <algorithm>
#include <string>
#include <utility>

#include "pool/client.h"
#include "pool/client_input.h"
#include "pool/client_login.h"
#include "pool/pool.h"
#include "pool/printable.h"
#include "pool/server_loss.h"
#include "pool/worker.h"
#include "protocol/messages.h"
#include "protocol/sqlstate.h"

namespace bezel::pool {

namespace sqlstate = protocol::sqlstate;
using protocol::FrameHeader;
using protocol::kFrameHeaderBytes;

namespace {

protocol::ProtocolError doubt(const ServerLoss& loss) {
  return {sqlstate::kTransactionResolutionUnknown,
          "server was lost before it said whether the transaction was committed",
          fmt::format("{} ({})", loss.error.message, std::string_view(loss.error.sqlstate)),
          "Look whether its changes are there before you make them again."};
}

void append_reply(std::string& answers, const LossReply& reply, const ServerLoss& loss) {
  switch (reply.error) {
    case LossReply::Error::none:
      break;
    case LossReply::Error::lost:
      protocol::append_error_response(answers, protocol::severity::kError, loss.error);
      break;
    case LossReply::Error::doubtful:
      protocol::append_error_response(answers, protocol::severity::kError, doubt(loss));
      break;
    case LossReply::Error::aborted:
      FailedTransaction::append_refusal(answers);
      break;
    case LossReply::Error::rolled_back:
      protocol::append_command_complete(answers, "ROLLBACK");
      break;
  }
}

std::string_view outcome(const LossVerdict& verdict) {
  if (verdict.kind == LossVerdict::Kind::replay) return "another server gets its request";
  if (verdict.in_doubt()) return "its transaction is in doubt";
  if (verdict.status == 'E') return "its transaction has failed";
  return verdict.kind == LossVerdict::Kind::answers ? "its request has failed" : "it has not noticed";
}

}  // namespace

LossVerdict Client::judge(const ServerLoss& loss, const Journal& journal) const {
  const auto find = [this](std::string_view name) { return statements_ ? statements_->find(name) : nullptr; };
  return decide(loss, read_journal(journal, find, prepared_statements_on()));
}

bool Client::would_replay(const ServerLoss& loss, const Journal& journal) const {
  return judge(loss, journal).kind == LossVerdict::Kind::replay;
}

void Client::server_lost(const ServerLoss& loss, const Journal& journal) {
  server_ = nullptr;
  request_since_us_ = 0;
  if (login_) return lost_at_login(loss);
  if (loss.in_message) {
    return close_quietly(fmt::format("server was lost in the middle of a message: {}", loss.reason));
  }
  const LossVerdict verdict = judge(loss, journal);
  // No server has carried out what was not answered.
  if (statements_) statements_->take_back_all();
  log(LogLevel::info, fmt::format("server was lost ({}): {}", printable(loss.reason), outcome(verdict)));
  PoolStatistics& statistics = pool_->statistics();
  if (verdict.kind == LossVerdict::Kind::replay) {
    statistics.replayed.add(1);
    pool_->count_loss(Upstream::Outcome::replayed);
    return replay(journal);
  }
  if (verdict.in_doubt()) {
    statistics.in_doubt.add(1);
    pool_->count_loss(Upstream::Outcome::in_doubt);
  } else if (verdict.status == 'E') {
    statistics.failed_transactions.add(1);
    pool_->count_loss(Upstream::Outcome::failed_transaction);
  }
  if (body_remaining_ > 0) discard_body_ = true;
  give_answers(loss, verdict);
  enter_status_after(loss, verdict);
  resume_input();
}

void Client::lost_at_login(const ServerLoss& loss) {
  if (replays_left() == 0) return login_->fail(loss.error);
  replays_++;
  await_server_for_login();
}

void Client::replay(const Journal& journal) {
  replays_++;
  state_ = ClientState::idle;
  transaction_since_us_ = 0;
  body_remaining_ = 0;
  discard_body_ = false;
  counted_bytes_ += journal.bytes().size();
  carry_.insert(0, journal.bytes());
  resume_input();
}

void Client::give_answers(const ServerLoss& loss, const LossVerdict& verdict) {
  // Even if the transaction was committed: what matters is that the client knows which values hold.
  if (loss.parameters_before) parameters_ = loss.parameters_before;
  std::string answers;
  for (const LossReply& reply : verdict.replies) {
    append_reply(answers, reply, loss);
    if (&reply == &verdict.replies.front()) answers += loss.undone_parameters;
    if (reply.ready != '\0') protocol::append_ready_for_query(answers, reply.ready);
  }
  write_copy(answers);
}

void Client::enter_status_after(const ServerLoss& loss, const LossVerdict& verdict) {
  replays_ = 0;
  counted_bytes_ = 0;
  idle_since_us_ = worker_.now_us();
  if (verdict.status == 'I' && !verdict.skip_until_sync) return leave_failed_transaction();
  FailedTransaction::Start start{verdict.skip_until_sync, verdict.status == 'E', {}, {}};
  // Who is not waiting for an answer hears of it with the next one.
  if (verdict.kind == LossVerdict::Kind::nothing) {
    if (loss.status == 'T') start.untold = loss.error;
    start.untold_parameters = loss.undone_parameters;
  }
  failed_ = std::make_unique<FailedTransaction>(std::move(start));
  state_ = ClientState::failed;
  arm_timer();
}

void Client::leave_failed_transaction() {
  failed_.reset();
  state_ = ClientState::idle;
  transaction_since_us_ = 0;
  if (idle_deadline_us() != TimerWheel::kNever) arm_timer();
}

bool Client::message_in_failed_transaction(const FrameHeader& header, Input& input) {
  if (header.type == 'X') {
    terminated();
    return false;
  }
  if (std::string_view("QFPBDCESHdcf").find(header.type) == std::string_view::npos) {
    return violate(
        sqlstate::kProtocolViolation,
        fmt::format("invalid frontend message type {}", static_cast<int>(static_cast<unsigned char>(header.type))));
  }
  const size_t wanted = std::min<size_t>(header.body_bytes(), FailedTransaction::kInspectedBytesMax);
  if (input.body_here().size() < wanted) return need_more(kFrameHeaderBytes + wanted);
  const std::string_view body = input.body_here().substr(0, wanted);
  ClientStatements* const known = prepared_statements_on() ? &names() : nullptr;
  std::string answers;
  const FailedTransaction::Next next = failed_->take(header, body, known, worker_.statements(), answers);
  write_copy(answers);
  idle_since_us_ = worker_.now_us();
  arm_timer();
  if (header.type == 'S' && statements_) statements_->next_batch();
  discard(header, input);
  if (next == FailedTransaction::Next::stays) return true;
  const std::string_view rest = failed_->rest();
  leave_failed_transaction();
  return next == FailedTransaction::Next::over || go_on_with(rest, input);
}

/// The text comes next, as a Query of its own. REQUIRES: the message at hand has been passed over whole.
bool Client::go_on_with(std::string_view query, Input& input) {
  pass_over(input, std::exchange(body_remaining_, 0));
  std::string bytes;
  protocol::append_query(bytes, query);
  bytes.append(input.rest());
  input = {worker_.keep_until_end_of_turn(std::move(bytes))};
  return true;
}

}  // namespace bezel::pool
