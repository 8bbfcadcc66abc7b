// What a client may be told when its server is lost.

#include <algorithm>
#include <cctype>

#include "protocol/messages.h"
#include "protocol/sqlstate.h"
#include "tests/simulation/client.h"
#include "tests/simulation/world.h"

namespace bezel::simulation {

namespace sqlstate = protocol::sqlstate;

bool SimulatedClient::servers_may_be_lost() const {
  const Scenario& scenario = world_.scenario();
  if (scenario.standbys) return true;
  // A standby refuses some things; that is no loss, but the client's model takes it for one.
  if (scenario.cluster && !wants_primary()) return true;
  return (scenario.servers_are_lost() || scenario.half_dead) &&
         scenario.mode_of(database_, user_) != pool::PoolMode::session;
}

/// Whether the message is the error of a request whose server was lost before it answered.
bool SimulatedClient::try_as_lost(const Frame& frame) {
  if (!servers_may_be_lost() || frame.type != 'E') return false;
  const auto fields = protocol::decode_error_fields(frame.body);
  if (!fields || fields->severity != protocol::severity::kError) return false;
  const bool doubt = fields->sqlstate == sqlstate::kTransactionResolutionUnknown;
  const bool lost =
      fields->sqlstate == sqlstate::kAdminShutdown || fields->sqlstate == sqlstate::kCrashShutdown ||
      fields->sqlstate == sqlstate::kConnectionFailure ||
      (fields->sqlstate == sqlstate::kReadOnlySqlTransaction && !(world_.cluster() != nullptr && wants_primary()));
  const bool aborted = fields->sqlstate == sqlstate::kInFailedSqlTransaction;
  if (!doubt && !lost && !aborted) return false;
  if (!expected_.empty() && model_before_) {
    // What was not answered whole has not happened, for all that the client knows.
    *model_ = *model_before_;
    for (const auto& [name, value] : reported_in_step_) model_->note_reported(name, value);
  }
  const char before = model_->status();
  if (aborted && before != 'E') return false;
  expected_.clear();
  ids_of_step_.clear();
  std::string out;
  model_->lose(out);
  FrameCutter cutter;
  cutter.append(out);
  while (auto one = cutter.next()) expected_.push_back(std::move(*one));
  if (doubt && before == 'T' && !model_->request_holds("commit") && !model_->request_holds("rollback")) {
    world_.fail(name() + " is in doubt about a transaction that it has not ended");
  }
  world_.losses_seen++;
  in_doubt_ = doubt;
  lost_ = true;
  reported_in_step_.clear();
  return true;
}

/// As matches(), where the pooler answers in the place of a server that was lost.
bool SimulatedClient::matches_after_loss(const Frame& frame, const Frame& expected) {
  if (frame.type == 'Z' && expected.type == 'Z' && lost_) {
    const char told = frame.body.empty() ? '?' : frame.body[0];
    const bool ended = model_->request_holds("commit") || model_->request_holds("rollback");
    const bool as_expected = frame.body == expected.body && !(in_doubt_ && told != 'I');
    const bool over = told == 'I' && (in_doubt_ || ended);
    const bool begun = told == 'E' && !in_doubt_ && model_->request_holds("begin");
    if (!as_expected && !over && !begun) return false;
    model_->force_status(told);
    return true;
  }
  if (!servers_may_be_lost() || model_->status() != 'E') return false;
  // Texts are not parsed there, and nobody knows what parameters a ROLLBACK has.
  if (frame.type == 'E' && expected.type == 'E') {
    const auto fields = protocol::decode_error_fields(frame.body);
    const auto instead = protocol::decode_error_fields(expected.body);
    return fields && instead && fields->sqlstate == sqlstate::kInFailedSqlTransaction &&
           instead->sqlstate == sqlstate::kSyntaxError;
  }
  return frame.type == 't' && expected.type == 't';
}

/// In a batch without its Sync yet, and with a text of several statements, the pooler tells at once what a server would
/// tell with ReadyForQuery.
bool SimulatedClient::is_undone_parameter(const Frame& frame) {
  if (!servers_may_be_lost() || frame.type != 'S' || !(rolled_back_ || (lost_ && expected_.empty()))) return false;
  if (!expected_.empty() && !(at_first_of_step_ && model_before_)) return false;
  const Session& now = expected_.empty() ? *model_ : *model_before_;
  const auto parameter = protocol::decode_parameter_status(frame.body);
  std::string key(parameter->name);
  std::transform(key.begin(), key.end(), key.begin(), [](unsigned char c) { return std::tolower(c); });
  const std::string* value = now.value(key);
  if (value == nullptr || *value != parameter->value) return false;
  model_->note_reported(std::string(parameter->name), std::string(parameter->value));
  return true;
}

/// A text that begins with COMMIT or ROLLBACK ends a transaction whose server is lost, whatever comes behind it: the
/// pooler does not parse it. A server then says what is wrong with the rest.
bool SimulatedClient::is_rollback_of_lost(const Frame& frame) {
  if (!servers_may_be_lost() || model_->status() != 'E' || frame.type != 'C' || expected_.empty()) return false;
  if (frame.body != kRollback || expected_.front().type != 'E') return false;
  if (!model_before_ || !model_before_->ends_transaction_next()) return false;
  const auto instead = protocol::decode_error_fields(expected_.front().body);
  if (!instead || instead->sqlstate != sqlstate::kSyntaxError) return false;
  *model_ = *model_before_;
  model_->end_transaction_before_rest();
  expected_.clear();
  rolled_back_ = true;
  return true;
}

/// The pooler tells of the parameters that the end of a lost transaction has changed as servers from version 14 on do:
/// behind the end, whatever the version of the server that it stands in for.
bool SimulatedClient::is_ahead_of_its_parameters(const Frame& frame) {
  if (!servers_may_be_lost() || !world_.scenario().reports_at_once || frame.type != 'C') return false;
  const auto end = std::find_if(expected_.begin(), expected_.end(), [](const Frame& one) { return one.type != 'S'; });
  if (end == expected_.end() || !matches(frame, *end) || frame.body != kRollback) return false;
  std::rotate(expected_.begin(), end, end + 1);
  return true;
}

}  // namespace bezel::simulation
