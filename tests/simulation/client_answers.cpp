// What a client is told, held against what a direct connection would have told it.

#include <fmt/format.h>

#include <utility>

#include "protocol/messages.h"
#include "protocol/sqlstate.h"
#include "tests/simulation/client.h"
#include "tests/simulation/world.h"

namespace bezel::simulation {

namespace sqlstate = protocol::sqlstate;

void SimulatedClient::on_received(std::string_view bytes) {
  if (stage_ == Stage::done) return;
  progress_++;
  if (stage_ == Stage::ssl) {
    if (bytes != "N") return world_.fail(name() + " got no plain refusal of encryption");
    return send_startup();
  }
  input_.append(bytes);
  while (auto frame = input_.next()) {
    if (stage_ == Stage::done || world_.failed()) return;
    if (error_seen_) return world_.fail(name() + " got something behind a fatal error");
    if (stage_ == Stage::login) {
      login_message(*frame);
    } else {
      answer(*frame);
    }
  }
  if (slow_reader_ && world_.random().chance(20)) {
    connection_->set_peer_reads(false);
    world_.after(world_.random().between(100, 50'000), World::kNobody, [this] { connection_->set_peer_reads(true); });
  }
  if (stage_ == Stage::running) act_later();
}

bool SimulatedClient::is_stray_notice(const Frame& frame) const {
  if (frame.type != 'N') return false;
  const auto fields = protocol::decode_error_fields(frame.body);
  return fields && (fields->message == "async" || fields->message.substr(0, 30) == "No server connection available");
}

bool SimulatedClient::matches(const Frame& frame, const Frame& expected) const {
  return frame.type == expected.type && frame.body == expected.body;
}

/// Lets the model go on until it has said something. False if it has nothing to say.
bool SimulatedClient::expect_more() {
  while (expected_.empty() && model_->has_work()) {
    if (has_asked_to_cancel_ || servers_may_be_lost()) model_before_ = std::make_unique<Session>(*model_);
    std::string out;
    model_->step(out);
    ids_of_step_ = model_->take_executed();
    reported_in_step_.clear();
    FrameCutter cutter;
    cutter.append(out);
    while (auto frame = cutter.next()) expected_.push_back(std::move(*frame));
    at_first_of_step_ = true;
  }
  return !expected_.empty();
}

/// Whether the message is the error of a cancelled statement at this place.
bool SimulatedClient::try_as_cancelled(const Frame& frame) {
  if (!has_asked_to_cancel_ || frame.type != 'E') return false;
  const auto fields = protocol::decode_error_fields(frame.body);
  if (!fields || fields->sqlstate != sqlstate::kQueryCanceled) return false;
  if (!expected_.empty()) {
    if (!at_first_of_step_ || !model_before_) return false;
    *model_ = *model_before_;
    expected_.clear();
  } else if (!model_->copying_in()) {
    return false;
  }
  ids_of_step_.clear();
  std::string out;
  model_->step(out, true);
  FrameCutter cutter;
  cutter.append(out);
  while (auto one = cutter.next()) expected_.push_back(std::move(*one));
  return !expected_.empty();
}

/// What was acknowledged has run, and what was committed has not been undone.
void SimulatedClient::check_ledger(const Frame& frame) {
  if (!expected_.empty()) return;
  for (const std::string& id : std::exchange(ids_of_step_, {})) {
    if (id.find('.') == std::string::npos || id.substr(0, id.find('.')) != name()) continue;
    if (!world_.was_executed(id)) world_.fail(fmt::format("{} was acknowledged and has not run", id));
    if (Cluster* cluster = world_.cluster()) cluster->acknowledged(id);
    if (model_->status() != 'I') ids_of_transaction_.push_back(id);
  }
  if (frame.type == 'C' && std::string_view(frame.body.c_str()) == "COMMIT") {
    for (const std::string& id : ids_of_transaction_) {
      if (world_.was_rolled_back(id)) world_.fail(fmt::format("{} is said to be committed, and was rolled back", id));
    }
  }
  if (model_->status() == 'I') ids_of_transaction_.clear();
}

void SimulatedClient::take_expected(const Frame& frame) {
  if (frame.type == 'Z') {
    world_.checked_answers++;
    lost_ = in_doubt_ = false;
  }
  if (frame.type == 'S') {
    const auto parameter = protocol::decode_parameter_status(frame.body);
    reported_in_step_.emplace_back(parameter->name, parameter->value);
  }
  if (frame.type != 'S') rolled_back_ = frame.type == 'C' && frame.body == kRollback;
  expected_.pop_front();
  at_first_of_step_ = false;
  check_ledger(frame);
}

void SimulatedClient::answer(const Frame& frame) {
  if (world_.verbose()) world_.note(fmt::format("{} gets {}", name(), shown(frame)));
  if (is_stray_notice(frame)) return;
  world_.checked_messages++;
  if (frame.type == 'E') {
    const auto fields = protocol::decode_error_fields(frame.body);
    const bool fatal = fields && fields->severity == protocol::severity::kFatal;
    const bool expects = expect_more() && matches(frame, expected_.front());
    if (fatal && !expects) return connection_error(frame);
  }
  if (!expect_more() || !matches(frame, expected_.front())) {
    if (is_undone_parameter(frame) || is_rollback_of_lost(frame)) return;
    if (is_ahead_of_its_parameters(frame)) return take_expected(frame);
    if (!expected_.empty() && matches_after_loss(frame, expected_.front())) return take_expected(frame);
    if (try_as_lost(frame)) return;
    if (!try_as_cancelled(frame) || !matches(frame, expected_.front())) {
      return world_.fail(fmt::format("{} expected {} but got {}", name(),
                                     expected_.empty() ? "nothing" : shown(expected_.front()), shown(frame)));
    }
  }
  take_expected(frame);
}

/// An error that ends the connection.
void SimulatedClient::connection_error(const Frame& frame) {
  error_seen_ = true;
  const auto fields = protocol::decode_error_fields(frame.body);
  if (!fields) return world_.fail(name() + " got an unreadable error");
  if (world_.verbose()) world_.note(fmt::format("{} is told: {}", name(), fields->message));
  if (must_be_refused_ || world_.scenario().connections_may_end()) return;
  if (world_.scenario().servers_are_lost() && world_.scenario().mode_of(database_, user_) == pool::PoolMode::session) {
    return;
  }
  if (fields->message == "query_wait_timeout" && world_.cluster() != nullptr &&
      !world_.cluster()->has_to_serve(*this)) {
    return;
  }
  const pool::Settings& settings = *world_.scenario().settings;
  const bool crowded = stage_ == Stage::login && fields->sqlstate == sqlstate::kTooManyConnections &&
                       fields->message.substr(0, 19) == "no more connections";
  const bool limited = settings.max_client_conn < 1000 || settings.max_user_client_connections > 0 ||
                       settings.max_db_client_connections > 0;
  if (crowded && limited) return;
  const bool statement_mode = world_.scenario().mode_of(database_, user_) == pool::PoolMode::statement;
  if (statement_mode && fields->message == "transaction blocks not allowed in statement pooling mode") return;
  if (has_asked_to_cancel_ && fields->sqlstate == sqlstate::kQueryCanceled) return;
  // A simulated server that is full refuses logins; a client whose login needs one may be told so.
  world_.fail(
      fmt::format("{} was refused or thrown out without need: {} ({})", name(), fields->message, fields->sqlstate));
}

void SimulatedClient::on_end() {
  if (stage_ == Stage::done) return;
  const bool announced = error_seen_ || (model_ && model_->ended());
  const bool in_session =
      world_.scenario().servers_are_lost() && world_.scenario().mode_of(database_, user_) == pool::PoolMode::session;
  const bool in_message = world_.scenario().servers_are_lost() && !input_.bytes().empty();
  const bool may_end =
      announced || world_.scenario().connections_may_end() || must_be_refused_ || in_session || in_message;
  if (!may_end) world_.fail(name() + ": the connection was closed without a word");
  if (!announced) world_.lost_connections++;
  stage_ = Stage::done;
}

/// Whether all that was asked has been answered. Looks ahead with a copy of the model.
bool SimulatedClient::nothing_due() {
  if (!expected_.empty()) return false;
  if (!model_->has_work()) return true;
  Session ahead = *model_;
  std::string out;
  while (ahead.has_work() && out.empty()) ahead.step(out);
  if (!out.empty()) return false;
  *model_ = std::move(ahead);
  return true;
}

}  // namespace bezel::simulation
