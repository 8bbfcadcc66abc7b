// What is known when a server is lost that a client has.

#include <utility>

#include "pool/client.h"
#include "pool/pool.h"
#include "pool/server.h"
#include "pool/server_loss.h"
#include "pool/worker.h"
#include "protocol/messages.h"
#include "protocol/sqlstate.h"

namespace bezel::pool {

namespace sqlstate = protocol::sqlstate;

/// In session mode, unless it was only lent for the login.
bool Server::is_clients_for_good() const {
  return client_ != nullptr && pool_.limits().mode == PoolMode::session && client_->state() == ClientState::active;
}

/// Whether the client's connection ends with this one: also where PostgreSQL has thrown it out for what it has sent.
bool Server::ends_client() const {
  const bool thrown_out =
      client_ != nullptr && !client_->is_logging_in() && fatal_ && fatal_->sqlstate == sqlstate::kProtocolViolation;
  return thrown_out || is_clients_for_good();
}

void Server::lose_client(std::string_view reason) {
  const protocol::ProtocolError gone{sqlstate::kConnectionFailure,
                                     std::string("server connection lost: ") + std::string(reason), "", ""};
  const bool ends = ends_client();
  ServerLoss loss = describe_loss(reason);
  if (!fatal_) loss.error = gone;
  pool_.statistics().servers_lost.add(1);
  // What has not left will not be carried out: the client hears so, or asks another server.
  stream_->drop_unsent();
  stream_.reset();
  Client& client = *std::exchange(client_, nullptr);
  if (ends) return client.session_lost(gone, told_client_of_end_ || loss.in_message);
  client.server_lost(loss, journal_);
}

ServerLoss Server::describe_loss(std::string_view reason) const {
  ServerLoss loss;
  loss.reason = reason;
  if (fatal_) {
    loss.error = *fatal_;
    loss.said_goodbye = fatal_->sqlstate == sqlstate::kAdminShutdown;
  }
  loss.refused_by_standby = refused_as_standby_;
  loss.status = transaction_status_;
  loss.answered = answered_;
  loss.in_answer = in_answer_;
  loss.written = stream_->taken_bytes() != taken_before_;
  loss.error_told = error_told_;
  loss.completed = completed_;
  loss.requests_skipped = skipped_;
  loss.in_message = in_message_to_client();
  loss.copying_in = copying_in_;
  loss.request_incomplete = client_->in_message();
  loss.replays_left = client_->replays_left();
  loss.parameters_before = parameters_before_;
  if (parameters_before_) loss.undone_parameters = undone_parameters();
  count_owed(loss);
  return loss;
}

void Server::count_owed(ServerLoss& loss) const {
  for (size_t i = 0; i < outstanding_.size(); i++) {
    const OutstandingRequest& one = outstanding_.at(i);
    if (one.answer == Answer::swallow || one.request == Request::copy_end) continue;
    if (ends_with_ready(one.request)) loss.requests_owed++;
    loss.batch_open = !ends_with_ready(one.request);
  }
  if (loss.requests_owed == 0 && unsynced_) loss.batch_open = true;
}

/// What the client is told of parameters that are again what they were before the transaction.
std::string Server::undone_parameters() const {
  std::string messages;
  for (const ReportedParameters::Entry& entry : defaults_.entries()) {
    const std::string* before = parameters_before_->find(entry.key);
    const std::string* now = client_->parameters()->find(entry.key);
    const std::string& value_before = before != nullptr ? *before : entry.value;
    if (value_before == (now != nullptr ? *now : entry.value)) continue;
    protocol::append_parameter_status(messages, entry.name, value_before);
  }
  return messages;
}

}  // namespace bezel::pool
