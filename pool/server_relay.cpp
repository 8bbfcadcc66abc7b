// What a server answers, on its way to the client.

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "pool/client.h"
#include "pool/pool.h"
#include "pool/printable.h"
#include "pool/server.h"
#include "pool/server_loss.h"
#include "pool/worker.h"
#include "protocol/error_response.h"
#include "protocol/messages.h"
#include "protocol/sqlstate.h"

namespace bezel::pool {

namespace sqlstate = protocol::sqlstate;
using protocol::FrameHeader;
using protocol::kFrameHeaderBytes;

namespace {

/// Frames that the pooler reads, or may have to rewrite, are at most that long; longer ones just stream through.
constexpr uint32_t kInspectedFrameBytesMax = 64 * 1024;

constexpr std::string_view kDiscardAll{"DISCARD ALL\0", 12};
constexpr std::string_view kDeallocateAll{"DEALLOCATE ALL\0", 15};
constexpr std::string_view kReset{"RESET\0", 6};

/// Whether the frame's content matters here, so that all of it must be there.
bool needs_whole_frame(const FrameHeader& header) {
  switch (header.type) {
    case 'Z':
      return true;
    case 'S':
    case 'E':
      return header.declared <= kInspectedFrameBytesMax;
    case 'C':
      return header.body_bytes() == kDiscardAll.size() || header.body_bytes() == kDeallocateAll.size() ||
             header.body_bytes() == kReset.size();
    default:
      return false;
  }
}

}  // namespace

namespace {

/// What PostgreSQL may send without having been asked: ParameterStatus, notices, notifications, and why it goes.
bool may_come_unasked(char type) {
  return type == 'S' || type == 'N' || type == 'A' || type == 'E';
}

/// CommandComplete, EmptyQueryResponse, PortalSuspended.
bool completes_command(char type) {
  return type == 'C' || type == 'I' || type == 's';
}

}  // namespace

/// The chunk that is being gone through. What stands between `sent` and `position` goes to the client in one piece.
struct Server::Output {
  std::string_view bytes;
  size_t position = 0;
  size_t sent = 0;
};

void Server::flush(Output& output) {
  const size_t size = output.position - output.sent;
  if (size > 0 && client_ != nullptr) {
    answered_ = true;
    client_->write(output.bytes.substr(output.sent, size));
    pool_.statistics().sent_bytes.add(size);
  }
  output.sent = output.position;
}

void Server::swallow(Output& output, size_t bytes) {
  flush(output);
  output.position += bytes;
  output.sent = output.position;
}

size_t Server::relay(std::string_view bytes) {
  Output output{bytes};
  while (output.position < bytes.size()) {
    const size_t left = bytes.size() - output.position;
    if (body_remaining_ > 0) {
      const size_t here = std::min<uint64_t>(body_remaining_, left);
      body_remaining_ -= here;
      pass(output, here);
      continue;
    }
    if (left < kFrameHeaderBytes) break;
    const FrameHeader header = protocol::read_frame_header(bytes.data() + output.position);
    if (!header.length_valid(0x7fffffff)) {
      break_off("server sent a message of invalid length");
      break;
    }
    const bool whole = needs_whole_frame(header);
    if (whole && left < header.frame_bytes()) break;
    const std::string_view body =
        whole ? bytes.substr(output.position + kFrameHeaderBytes, header.body_bytes()) : std::string_view();
    frame(header, body, output);
    if (state_ == ServerState::closed) return bytes.size();
    if (!last_error_.empty()) break;
  }
  flush(output);
  return last_error_.empty() ? output.position : bytes.size();
}

/// What has come before goes to the client; then the connection is closed (on_bytes).
void Server::break_off(std::string_view reason) {
  last_error_ = reason;
  close_when_free_ = true;  // nobody else gets it in what is left of this turn
}

/// Passes on, or swallows, bytes of the frame at hand; after its last one, what was forged behind it.
void Server::pass(Output& output, size_t bytes) {
  if (swallow_body_) {
    swallow(output, bytes);
  } else {
    output.position += bytes;
  }
  if (body_remaining_ == 0 && forge_due_) {
    forge_due_ = false;
    flush(output);
    emit_forged();
  }
}

void Server::frame(const FrameHeader& header, std::string_view body, Output& output) {
  if (state_ == ServerState::idle && !may_come_unasked(header.type)) {
    // It would be taken for the answer to what the next client asks.
    return close("server sent an answer that nobody has asked for");
  }
  const size_t left = output.bytes.size() - output.position;
  bool swallowed = front_swallows();
  switch (header.type) {
    case 'D':  // DataRow and CopyData: nearly all that comes
    case 'd':
      break;
    case 'Z':
      swallowed = ready_for_query(body);
      break;
    case '1':
      answered(Request::parse);
      break;
    case '2':
      answered(Request::bind);
      break;
    case '3':
      answered(Request::close);
      break;
    case 'n':
    case 'T':
      answered(Request::describe);
      break;
    case 'I':
    case 's':
      answered(Request::execute);
      break;
    case 'C':
      if (!body.empty()) command_complete(body);
      answered(Request::execute);
      break;
    case 'G':
      copy_in_began();
      break;
    case 'S':
      if (!body.empty()) swallowed = parameter_status(body);
      break;
    case 'E':
      if (error_response(header, body, output)) return;
      break;
    case 'N':
    case 'A':
      swallowed = client_ == nullptr || client_->is_logging_in() || (swallowed && header.type == 'N');
      break;
    default:
      break;
  }
  if (state_ == ServerState::closed) return;
  if (!swallowed) in_answer_ = header.type != 'Z';
  if (!swallowed && completes_command(header.type)) completed_++;
  swallow_body_ = swallowed;
  const size_t here = std::min<uint64_t>(header.frame_bytes(), left);
  body_remaining_ = header.frame_bytes() - here;
  pass(output, here);
}

bool Server::front_swallows() {
  return client_ == nullptr || (!outstanding_.empty() && outstanding_.front().answer == Answer::swallow);
}

/// The oldest request has got its answer, if it is one of that kind.
void Server::answered(Request request) {
  if (outstanding_.empty() || outstanding_.front().request != request) return;
  if (outstanding_.front().changes_names && client_ != nullptr) client_->statements()->confirm();
  if (request == Request::parse && outstanding_.front().statement) statements_.confirm(outstanding_.front().statement);
  outstanding_.pop();
  skip_unanswered();
}

/// Takes what needs no answer of the server off the queue's head; forged answers are sent after the frame at hand.
void Server::skip_unanswered() {
  while (!outstanding_.empty() && outstanding_.front().request == Request::copy_end) outstanding_.pop();
  forge_due_ = forge_due_ || (!outstanding_.empty() && outstanding_.front().answer == Answer::forge);
}

void Server::emit_forged() {
  std::string answers;
  while (!outstanding_.empty() && outstanding_.front().answer == Answer::forge) {
    const OutstandingRequest& request = outstanding_.front();
    if (request.request == Request::parse) {
      protocol::append_parse_complete(answers);
    } else {
      protocol::append_close_complete(answers);
    }
    if (request.changes_names && client_ != nullptr) client_->statements()->confirm();
    outstanding_.pop();
    while (!outstanding_.empty() && outstanding_.front().request == Request::copy_end) outstanding_.pop();
  }
  if (client_ == nullptr || answers.empty()) return;
  answered_ = true;
  client_->write_copy(answers);
}

/// Forgets the oldest request, which the server has not carried out.
void Server::drop_front(size_t& changes) {
  const OutstandingRequest& request = outstanding_.front();
  if (request.request == Request::close && request.statement) still_prepared_ = request.statement;
  if (request.request == Request::parse && request.statement) {
    // A Parse that was to follow a Close of ours: if both were skipped, the server has the statement as before.
    if (std::exchange(still_prepared_, nullptr) == request.statement) {
      statements_.confirm(request.statement);
    } else {
      statements_.remove(request.statement);
    }
  }
  if (request.changes_names) changes++;
  outstanding_.pop();
}

/// After an error in extended protocol: the server skips everything up to the next Sync.
void Server::drop_until_sync() {
  size_t changes = 0;
  while (!outstanding_.empty() && outstanding_.front().request != Request::sync) {
    if (ends_with_ready(outstanding_.front().request)) skipped_++;
    drop_front(changes);
  }
  if (changes > 0 && client_ != nullptr) client_->statements()->take_back(changes);
  if (outstanding_.empty()) skipping_until_sync_ = unsynced_ = true;
}

/// The answer to a request of the client's is still to come, all of it.
void Server::begin_answer() {
  in_answer_ = error_told_ = false;
  completed_ = skipped_ = 0;
}

/// Returns whether the client must not see it.
bool Server::ready_for_query(std::string_view body) {
  const auto status = protocol::decode_ready_for_query(body);
  if (!status) {
    break_off("server sent an invalid ReadyForQuery");
    return true;
  }
  transaction_status_ = *status;
  if (*status == 'I') parameters_before_.reset();
  copying_in_ = false;
  size_t changes = 0;
  Answer answer = client_ == nullptr ? Answer::swallow : Answer::forward;
  while (!outstanding_.empty()) {
    const Request request = outstanding_.front().request;
    if (ends_with_ready(request)) {
      answer = outstanding_.front().answer;
      outstanding_.pop();
      break;
    }
    drop_front(changes);
  }
  if (changes > 0 && client_ != nullptr) client_->statements()->take_back(changes);
  // A Sync that came when a COPY had just failed is not on the list, but it was answered all the same.
  if (outstanding_.empty()) unsynced_ = skipping_until_sync_ = false;
  skip_unanswered();
  if (client_ == nullptr) return true;
  if (answer == Answer::swallow) {
    // Only the parameters are set by a query of our own while a client is linked.
    setting_parameters_ = false;
    if (client_->is_logging_in()) {
      if (!parameter_error_) take_reported_parameters();
      client_->parameters_applied(parameter_error_ ? &*parameter_error_ : nullptr);
    }
    parameter_error_.reset();
    return true;
  }
  begin_answer();
  client_->request_done();
  return false;
}

void Server::command_complete(std::string_view body) {
  if (body == kReset) {
    if (!front_swallows()) doubt_unreported_parameters();
    return;
  }
  if (body == kDiscardAll) {
    parameters_ = pool_.worker().parameters().empty();
  } else if (body != kDeallocateAll) {
    return;
  }
  statements_.clear();
  if (client_ != nullptr && client_->statements() != nullptr) client_->statements()->clear();
}

/// After a RESET of the client's: it is not told of which parameter, and only the reported ones are seen to change. The
/// others get a value that nobody has, so that they are set anew for whoever comes next.
void Server::doubt_unreported_parameters() {
  static const std::string kUnknown(1, '\0');
  ParameterTable& table = pool_.worker().parameters();
  const ParameterSetPtr before = parameters_;
  for (const auto& [key, value] : before->values) {
    if (defaults_.find(key) == nullptr) parameters_ = table.with(parameters_, key, kUnknown);
  }
}

/// Returns whether the client must not see it.
bool Server::parameter_status(std::string_view body) {
  const auto parameter = protocol::decode_parameter_status(body);
  if (!parameter) return client_ == nullptr;
  reported_.set(parameter->name, parameter->value);
  if (client_ == nullptr && state_ == ServerState::idle) {
    defaults_.set(parameter->name, parameter->value);  // the server was reloaded
    return true;
  }
  const std::string key = parameter_key(parameter->name);
  if (!parameter_is_session_state(key)) return client_ == nullptr || client_->is_logging_in();
  // While the pooler sets what the client has, there is nothing to tell and nothing to learn but a spelling: a RESET on
  // the way may report values that are set anew right after it.
  if (client_ != nullptr && setting_parameters_ && front_swallows()) return true;
  // What the client has set away from the default is its own, wherever it goes next.
  const std::string* by_default = defaults_.find(key);
  const bool is_default = by_default != nullptr && *by_default == parameter->value;
  ParameterTable& table = pool_.worker().parameters();
  parameters_ = is_default ? table.without(parameters_, key) : table.with(parameters_, key, parameter->value);
  if (client_ == nullptr) return true;  // a rollback or reset of ours has undone what a client had set
  if (!parameters_before_) parameters_before_ = client_->parameters();
  client_->set_parameters(is_default ? table.without(client_->parameters(), key)
                                     : table.with(client_->parameters(), key, parameter->value));
  return client_->is_logging_in();
}

/// PostgreSQL waits for data now. Syncs that were sent ahead of them are ignored by it.
void Server::copy_in_began() {
  copying_in_ = true;
  for (size_t i = 1; i < outstanding_.size();) {
    const Request request = outstanding_.at(i).request;
    if (request == Request::copy_end) {
      copying_in_ = false;
      outstanding_.erase(i);
      return;
    }
    if (request != Request::sync) return;
    outstanding_.erase(i);
    unsynced_ = true;
  }
}

/// Returns true if it has dealt with the frame's bytes too.
bool Server::error_response(const FrameHeader& header, std::string_view body, Output& output) {
  const auto fields = protocol::decode_error_fields(body);
  const bool fatal = fields && fields->is_fatal();
  if (fatal) {
    fatal_error(*fields);
    if (!ends_client()) {
      swallow(output, header.frame_bytes());  // what its client gets instead, ServerLoss decides
      return true;
    }
  } else if (fields && refused_as_standby(*fields, output)) {
    swallow(output, header.frame_bytes());
    return true;
  }
  const bool answers_query = !outstanding_.empty() && (outstanding_.front().request == Request::query ||
                                                       outstanding_.front().request == Request::function_call);
  copying_in_ = false;
  if (answers_query && front_swallows() && !fatal) {
    own_error(fields ? &*fields : nullptr);
    return false;
  }
  if (fields && fields->sqlstate == sqlstate::kFeatureNotSupported && fields->routine == "RevalidateCachedQuery" &&
      !outstanding_.empty() && outstanding_.front().request == Request::bind && outstanding_.front().statement) {
    pool_.worker().statements().retire(outstanding_.front().statement);
  }
  // Also when it was a Parse of the pooler's that failed: the client's Bind fails with it, and the client is told why.
  if (!answers_query && !fatal) drop_until_sync();
  if (client_ == nullptr || client_->is_logging_in()) return false;
  told_client_of_end_ = told_client_of_end_ || fatal;
  error_told_ = answered_ = in_answer_ = true;
  if (client_->statements() != nullptr && body.find(kServerStatementPrefix) != std::string_view::npos) {
    swallow(output, header.frame_bytes());
    client_->write_copy(with_client_names(body));
    return true;
  }
  swallow_body_ = false;
  const size_t here = std::min<uint64_t>(header.frame_bytes(), output.bytes.size() - output.position);
  body_remaining_ = header.frame_bytes() - here;
  pass(output, here);
  return true;
}

void Server::fatal_error(const protocol::ErrorFields& fields) {
  break_off(fields.message.empty() ? "FATAL error without a message" : printable(fields.message));
  fatal_.emplace(protocol::ProtocolError{fields.sqlstate, std::string(fields.message), std::string(fields.detail),
                                         std::string(fields.hint)});
}

/// Whether it is a standby that has refused to write, though the pool wants primaries, and the client can be served by
/// another server instead. In any case such a server leaves the pool.
bool Server::refused_as_standby(const protocol::ErrorFields& fields, const Output& output) {
  if (fields.sqlstate != sqlstate::kReadOnlySqlTransaction || client_ == nullptr) return false;
  const TargetSessionAttrs wanted = pool_.database().target_session_attrs;
  const std::string* standby = reported_.find("in_hot_standby");
  if (standby == nullptr || *standby != "on") return false;
  if (wanted != TargetSessionAttrs::read_write && wanted != TargetSessionAttrs::primary) return false;
  mark_to_close();
  if (client_->is_logging_in() || is_clients_for_good() || front_swallows() || output.position > output.sent) {
    return false;
  }
  refused_as_standby_ = true;
  refused_as_standby_ = client_->would_replay(describe_loss(""), journal_);
  if (refused_as_standby_) break_off("standby refused to write");
  return refused_as_standby_;
}

/// An error in a query of the pooler's own.
void Server::own_error(const protocol::ErrorFields* fields) {
  own_query_failed_ = true;
  const std::string message = fields != nullptr ? std::string(fields->message) : "error without a message";
  Worker& worker = pool_.worker();
  worker.log(LogLevel::warning, fmt::format("S-{}: {}/{} query of the pooler failed: {}", id_, pool_.database_name(),
                                            pool_.user_name(), printable(message)));
  if (client_ == nullptr || !setting_parameters_) return;
  // None of the parameters is set now: nobody else may have this session.
  close_when_free_ = true;
  parameter_error_ = {fields != nullptr ? fields->sqlstate : sqlstate::kInternalError, message, "", ""};
  if (!client_->is_logging_in()) client_->fail(*parameter_error_);
}

/// The error message with the client's names of its statements instead of the server's.
std::string Server::with_client_names(std::string_view body) const {
  std::string fields(body);
  for (size_t at = fields.find(kServerStatementPrefix); at != std::string::npos;) {
    size_t end = at + kServerStatementPrefix.size();
    while (end < fields.size() && fields[end] >= '0' && fields[end] <= '9') end++;
    const std::string name = client_->statements()->name_of(std::string_view(fields).substr(at, end - at));
    if (!name.empty()) fields.replace(at, end - at, name);
    at = fields.find(kServerStatementPrefix, at + (name.empty() ? end - at : name.size()));
  }
  std::string frame = "E";
  const auto declared = __builtin_bswap32(static_cast<uint32_t>(fields.size() + 4));
  frame.append(reinterpret_cast<const char*>(&declared), sizeof declared);
  return frame + fields;
}

}  // namespace bezel::pool
