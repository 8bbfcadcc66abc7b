#include "pool/server.h"

#include <fmt/format.h>

#include <algorithm>

#include "pool/client.h"
#include "pool/pool.h"
#include "pool/pool_requester.h"
#include "pool/printable.h"
#include "pool/server_login.h"
#include "pool/upstream.h"
#include "pool/worker.h"
#include "protocol/messages.h"
#include "protocol/sqlstate.h"

namespace bezel::pool {

namespace sqlstate = protocol::sqlstate;

namespace {

/// A login that finds out where the primary is, or that it is lost, must not wait for long for a host that is dead.
constexpr int64_t kSearchTimeoutUs = 5'000'000;

}  // namespace

Server::Server(Pool& pool, std::shared_ptr<Upstream> upstream, const HostAddress& host, uint64_t id)
    : pool_(pool),
      upstream_(std::move(upstream)),
      host_(host),
      id_(id),
      timer_([](void* self) { static_cast<Server*>(self)->timer_fired(); }, this),
      parameters_(pool.worker().parameters().empty()) {
  Worker& worker = pool.worker();
  pool.count_state(ServerState::closed, ServerState::login);
  login_ = std::make_unique<ServerLogin>(*this, worker);
  connected_at_us_ = worker.now_us();
  connected_wall_us_ = worker.runtime().wall_clock_us();
  stream_ = worker.runtime().dial(host, worker.settings(), *this);
  int64_t timeout_us = worker.settings().server_connect_timeout_us;
  if (upstream_ && (timeout_us == 0 || timeout_us > kSearchTimeoutUs)) timeout_us = kSearchTimeoutUs;
  if (timeout_us > 0) worker.timers().schedule(timer_, worker.now_us() + timeout_us);
}

Server::~Server() = default;

void Server::set_state(ServerState state) {
  if (state != state_) pool_.count_state(state_, state);
  state_ = state;
}

// ---- Events
// ----------------------------------------------------------------------------------------------------------

void Server::on_connected() {
  // Only a host that is dead takes so long to connect, and it may be that of the primary; a login is let take its time.
  if (upstream_ && !upstream_->changing()) {
    const int64_t timeout_us = pool_.worker().settings().server_connect_timeout_us;
    TimerWheel& timers = pool_.worker().timers();
    timers.cancel(timer_);
    if (timeout_us > 0) timers.schedule(timer_, connected_at_us_ + timeout_us);
  }
  login_->connected();
}

void Server::on_secured() {
  login_->secured();
}

void Server::on_bytes(std::string_view bytes) {
  if (state_ == ServerState::closed) return;
  if (login_) return login_->on_bytes(bytes);
  if (lent_) return pool_.requester()->server_answered(*this, bytes);
  in_relay_ = true;
  if (carry_.empty()) {
    const size_t used = relay(bytes);
    if (used < bytes.size()) carry_.assign(bytes.substr(used));
  } else {
    carry_.append(bytes);
    const std::string& input = pool_.worker().keep_until_end_of_turn(std::exchange(carry_, {}));
    const size_t used = relay(input);
    if (used < input.size()) carry_.assign(input, used);
  }
  in_relay_ = false;
  if (state_ == ServerState::closed) return;
  if (!last_error_.empty()) {
    // Nothing may be said or asked any more.
    if (fatal_) report_loss(fatal_->sqlstate, last_error_);
    if (refused_as_standby_) report_loss(sqlstate::kReadOnlySqlTransaction, last_error_);
    return close(last_error_);
  }
  if (client_ != nullptr) {
    // Of an open batch all is kept: what began in it is not over before its Sync.
    if (outstanding_.empty() && !unsynced_ && !client_->in_message()) journal_.clear();
    client_->answers_came();
    end_portable_batch();
    release_if_done();
  } else if (state_ == ServerState::own_query && outstanding_.empty()) {
    own_query_done();
  }
}

void Server::on_congested() {
  congested_ = true;
  if (client_ != nullptr) client_->update_reading();
}

void Server::on_drained() {
  congested_ = false;
  if (client_ != nullptr) client_->update_reading();
}

void Server::update_reading() {
  if (!stream_) return;
  const bool pause = pool_.worker().suspended() || (client_ != nullptr && client_->congested());
  if (pause == reading_paused_) return;
  reading_paused_ = pause;
  if (pause) {
    stream_->pause_reading();
  } else {
    stream_->resume_reading();
  }
}

void Server::on_closed(std::string_view reason) {
  if (login_) {
    return login_failed(sqlstate::kConnectionFailure,
                        reason.empty() ? "server closed the connection during login" : std::string(reason));
  }
  if (!last_error_.empty()) return close(last_error_);
  report_loss(sqlstate::kConnectionFailure, reason.empty() ? "server closed the connection" : reason);
  close(reason.empty() ? "server closed the connection" : fmt::format("server connection failed: {}", reason));
}

// ---- Login
// -----------------------------------------------------------------------------------------------------------

void Server::logged_in() {
  Worker& worker = pool_.worker();
  worker.bury(std::move(login_));
  worker.timers().cancel(timer_);
  worker.log(LogLevel::debug, fmt::format("S-{}: {}/{} logged in to {}:{} (backend {})", id_, pool_.database_name(),
                                          pool_.user_name(), host_.host, host_.port, backend_pid_));
  set_state(ServerState::own_query);  // not yet free
  reported_ = defaults_;
  pool_.server_logged_in(*this);
  if (const std::string& sql = pool_.database().connect_query; !sql.empty()) return run_own_query(sql);
  pool_.server_free(*this);
  // The next logins begin when earlier ones have ended.
  pool_.launch();
}

void Server::end_login() {
  Worker& worker = pool_.worker();
  login_->stop();
  worker.bury(std::move(login_));
  set_state(ServerState::closed);
  worker.timers().cancel(timer_);
  stream_.reset();
}

void Server::login_failed(std::string_view state, std::string_view message, bool by_learned_secret) {
  if (state_ == ServerState::closed) return;
  // While the primary is looked for, it is tried again and again: the upstream's line in the log is enough.
  const bool is_search = upstream_ && upstream_->changing() && is_sign_of_change(state);
  pool_.worker().log(is_search ? LogLevel::debug : LogLevel::warning,
                     fmt::format("S-{}: {}/{} login to {}:{} failed: {}", id_, pool_.database_name(), pool_.user_name(),
                                 host_.host, host_.port, printable(message)));
  end_login();
  pool_.server_login_failed(*this, {state, std::string(message), "", ""}, by_learned_secret);
}

void Server::login_refused(std::string_view why) {
  pool_.worker().log(LogLevel::debug, fmt::format("S-{}: {}/{} {}:{} is not used: {}", id_, pool_.database_name(),
                                                  pool_.user_name(), host_.host, host_.port, why));
  std::string terminate;
  protocol::append_terminate(terminate);
  stream_->write_copy(terminate);
  end_login();
  pool_.server_refused(*this);
}

/// The connection has ended unasked.
void Server::report_loss(std::string_view state, std::string_view why) {
  if (!upstream_ || !is_sign_of_change(state)) return;
  upstream_->suspect(host_, printable(why), pool_.worker().now_us(), pool_.worker().runtime().wall_clock_us());
}

void Server::leave_within(int64_t grace_us) {
  close_when_free_ = true;
  if (leave_at_us_ != 0) return;
  leave_at_us_ = pool_.worker().now_us() + grace_us;
  pool_.count_leaving(1);
  pool_.worker().timers().schedule_no_later(timer_, leave_at_us_);
}

// ---- Links
// -----------------------------------------------------------------------------------------------------------

void Server::link(Client& client) {
  set_state(ServerState::active);
  client_ = &client;
  journal_.clear();
  taken_before_ = stream_->taken_bytes();
  answered_ = false;
  begin_answer();
  request_wall_us_ = pool_.worker().runtime().wall_clock_us();
  if (parameters_ != client.parameters()) apply_parameters();
}

void Server::apply_parameters() {
  const std::string sql = parameter_change_sql(*parameters_, *client_->parameters(), defaults_);
  parameters_ = client_->parameters();
  if (sql.empty()) return;
  std::string query;
  protocol::append_query(query, sql);
  stream_->write_copy(query);
  outstanding_.push({Request::query, Answer::swallow});
  setting_parameters_ = true;
}

/// Gives the client's parameters the spelling that the server has for them ("UTF8" for "utf-8"), without those that are
/// the default anyhow: so clients that mean the same have the same set, and need no change on link.
void Server::take_reported_parameters() {
  std::vector<std::pair<std::string, std::string>> values;
  for (const auto& [key, value] : client_->parameters()->values) {
    const std::string* reported = reported_.find(key);
    const std::string* by_default = defaults_.find(key);
    const std::string& spelt = reported != nullptr ? *reported : value;
    if (by_default == nullptr || *by_default != spelt) values.emplace_back(key, spelt);
  }
  parameters_ = pool_.worker().parameters().intern(std::move(values));
  client_->set_parameters(parameters_);
}

void Server::check_parameters() {
  if (setting_parameters_) return;  // the answer is on its way
  take_reported_parameters();
  client_->parameters_applied(nullptr);
  release_if_done();
}

void Server::expect(OutstandingRequest request) {
  switch (request.request) {
    case Request::query:
    case Request::function_call:
    case Request::copy_end:
      break;
    case Request::sync:
      unsynced_ = false;
      skipping_until_sync_ = false;
      flush_requested_ = false;
      batch_is_portable_ = true;
      batch_++;
      break;
    case Request::parse:
      unsynced_ = true;
      if (!request.statement && !request.changes_names) batch_is_portable_ = false;
      break;
    case Request::bind:
    case Request::execute:
      unsynced_ = true;
      batch_is_portable_ = false;
      break;
    default:
      unsynced_ = true;
  }
  const bool due = request.answer == Answer::forge && outstanding_.empty();
  outstanding_.push(std::move(request));
  if (!due) return;
  // Not into the middle of a message that streams through.
  if (body_remaining_ > 0) {
    forge_due_ = true;
  } else {
    emit_forged();
  }
}

bool Server::can_promise() const {
  for (size_t i = 0; i < outstanding_.size(); i++) {
    const OutstandingRequest& request = outstanding_.at(i);
    const bool ends_batch = request.request == Request::query || request.request == Request::function_call ||
                            request.request == Request::sync;
    if (ends_batch && request.answer != Answer::swallow) return false;
  }
  return true;
}

void Server::prepare_again(const StatementPtr& statement) {
  statements_.remove(statement);
  statements_.add(statement, batch_);
  std::string message;
  protocol::append_close(message, 'S', statement->server_name);
  stream_->write_copy(message);
  expect({Request::close, Answer::swallow, false, statement});
  send_parse(*statement, statement->definition, {Request::parse, Answer::forward, true, statement});
}

void Server::end_portable_batch() {
  if (client_ == nullptr || !flush_requested_ || !batch_is_portable_ || !unsynced_) return;
  if (!outstanding_.empty() || skipping_until_sync_ || copying_in_ || body_remaining_ > 0 || !carry_.empty()) return;
  if (transaction_status_ != 'I' || client_->in_message() || pool_.limits().mode == PoolMode::session) return;
  std::string sync;
  protocol::append_sync(sync);
  stream_->write_copy(sync);
  expect({Request::sync, Answer::swallow});
}

void Server::begin_extended() {
  if (unsynced_) return;
  // Only at the beginning of a batch a Close cannot be skipped because of an earlier error in it.
  const auto bound = static_cast<size_t>(pool_.worker().settings().max_prepared_statements);
  while (const StatementPtr surplus = statements_.take_overflow(bound)) {
    std::string message;
    protocol::append_close(message, 'S', surplus->server_name);
    stream_->write_copy(message);
    expect({Request::close, Answer::swallow});
  }
}

void Server::ensure_prepared(const StatementPtr& statement) {
  if (statements_.has(statement)) return;
  statements_.add(statement, batch_);
  send_parse(*statement, statement->definition, {Request::parse, Answer::swallow, false, statement});
}

void Server::send_parse(const Statement& statement, std::string_view definition, OutstandingRequest request) {
  const size_t body_bytes = statement.server_name.size() + 1 + definition.size();
  const auto declared = __builtin_bswap32(static_cast<uint32_t>(body_bytes + 4));
  std::string start = "P";
  start.append(reinterpret_cast<const char*>(&declared), sizeof declared);
  start.append(statement.server_name).push_back('\0');
  stream_->write_copy(start);
  stream_->write_copy(definition);
  pool_.statistics().server_parses.add(1);
  expect(std::move(request));
}

void Server::ask_for_answers() {
  if (!unsynced_ || outstanding_.empty()) return;
  std::string message;
  protocol::append_flush(message);
  stream_->write_copy(message);
}

bool Server::at_rest() const {
  return outstanding_.empty() && !unsynced_ && !copying_in_ && body_remaining_ == 0 && carry_.empty();
}

bool Server::release_if_done() {
  // Not in the middle of a chunk: what is left of it belongs to the client too.
  if (in_relay_ || client_ == nullptr || !at_rest() || client_->in_message()) return false;
  const PoolMode mode = pool_.limits().mode;
  if (transaction_status_ != 'I') {
    if (mode == PoolMode::statement) {
      client_->fail(
          {sqlstate::kFeatureNotSupported, "transaction blocks not allowed in statement pooling mode", "", ""});
    }
    return false;
  }
  // A login needs its server only to have the client's parameters checked.
  const bool for_login = client_->state() != ClientState::active;
  if (mode == PoolMode::session && !for_login) return false;
  Client& client = *client_;
  client.server_released(!for_login);
  client_ = nullptr;
  update_reading();
  become_free(pool_.worker().settings().server_reset_query_always);
  // What waited for answers of this server goes on with the next one.
  if (for_login || client.has_kept_input()) client.resume_input();
  return true;
}

void Server::become_free(bool reset) {
  if (cancels_in_flight_ > 0) {
    set_state(ServerState::being_canceled);
    reset_after_cancel_ = reset;
    return;
  }
  const std::string& reset_query = pool_.worker().settings().server_reset_query;
  if (reset && !reset_query.empty()) return run_own_query(reset_query);
  pool_.server_free(*this);
}

void Server::cancel_sent() {
  cancels_in_flight_++;
  pool_.statistics().sv_active_cancel.add(1);
}

void Server::cancel_done() {
  cancels_in_flight_--;
  pool_.statistics().sv_active_cancel.sub(1);
  if (cancels_in_flight_ > 0 || state_ == ServerState::closed) return;
  if (state_ == ServerState::being_canceled) return become_free(reset_after_cancel_);
  if (client_ != nullptr) client_->answers_came();
}

void Server::abandon(bool mid_message) {
  client_ = nullptr;
  if (state_ == ServerState::closed) return;
  update_reading();
  const bool session = pool_.limits().mode == PoolMode::session;
  if (at_rest() && !mid_message) {
    if (transaction_status_ == 'I') return become_free(session || pool_.worker().settings().server_reset_query_always);
    if (cancels_in_flight_ == 0) {
      reset_after_rollback_ = session;
      return run_own_query("ROLLBACK");
    }
  }
  // Whatever it works at has nobody to wait for it.
  pool_.worker().send_cancel(*this, nullptr);
  close("client left in the middle of a request");
}

// ---- Queries of the pooler's own
// ---------------------------------------------------------------------------------------

void Server::run_check_query(std::string_view sql) {
  checking_ = true;
  run_own_query(sql == "<empty>" ? std::string_view() : sql);
}

void Server::lend() {
  set_state(ServerState::own_query);
  lent_ = true;
  Worker& worker = pool_.worker();
  own_query_since_us_ = worker.now_us();
  worker.timers().schedule_no_later(timer_, own_query_since_us_ + kOwnQueryTimeoutUs);
}

void Server::give_back() {
  lent_ = false;
  pool_.server_free(*this);
}

void Server::run_own_query(std::string_view sql) {
  set_state(ServerState::own_query);
  own_query_failed_ = false;
  std::string query;
  protocol::append_query(query, sql);
  stream_->write_copy(query);
  outstanding_.push({Request::query, Answer::swallow});
  Worker& worker = pool_.worker();
  own_query_since_us_ = worker.now_us();
  worker.timers().schedule_no_later(timer_, own_query_since_us_ + kOwnQueryTimeoutUs);
}

void Server::own_query_done() {
  if (own_query_failed_ || transaction_status_ != 'I') return close("query of the pooler failed");
  if (std::exchange(reset_after_rollback_, false)) return become_free(true);
  pool_.server_free(*this);
}

// ---- In the pool
// -------------------------------------------------------------------------------------------------------

void Server::enter_idle() {
  set_state(ServerState::idle);
  Worker& worker = pool_.worker();
  idle_since_us_ = worker.now_us();
  const int64_t deadline = idle_deadline_us();
  if (deadline != TimerWheel::kNever) worker.timers().schedule_no_later(timer_, deadline);
}

int64_t Server::idle_deadline_us() const {
  int64_t deadline = TimerWheel::kNever;
  const int64_t idle_us = pool_.limits().server_idle_timeout_us;
  if (idle_us > 0 && pool_.may_shrink()) deadline = idle_since_us_ + idle_us;
  const int64_t lifetime_us = pool_.limits().server_lifetime_us;
  if (lifetime_us > 0) deadline = std::min(deadline, connected_at_us_ + lifetime_us);
  return deadline;
}

void Server::look_whether_host_lives() {
  const int64_t timeout_us = pool_.worker().settings().server_ack_timeout_us;
  const bool has_been_asked = state_ == ServerState::active || state_ == ServerState::own_query;
  if (timeout_us == 0 || !has_been_asked || !stream_->peer_owes_acknowledgements()) {
    silent_since_us_ = 0;
    return;
  }
  const int64_t now = pool_.worker().now_us();
  if (silent_since_us_ == 0) silent_since_us_ = now;
  if (now - silent_since_us_ < timeout_us) return;
  constexpr std::string_view kReason = "server's host does not answer";
  report_loss(sqlstate::kConnectionFailure, kReason);
  close(kReason);
}

bool Server::too_old() const {
  const int64_t lifetime_us = pool_.limits().server_lifetime_us;
  return lifetime_us > 0 && pool_.worker().now_us() - connected_at_us_ >= lifetime_us;
}

void Server::timer_fired() {
  const int64_t now = pool_.worker().now_us();
  TimerWheel& timers = pool_.worker().timers();
  if (leave_at_us_ != 0) {
    if (now >= leave_at_us_) return close(kNotServing);
    timers.schedule(timer_, leave_at_us_);
  }
  switch (state_) {
    case ServerState::login:
      return login_failed(sqlstate::kConnectionFailure, "connect timeout");
    case ServerState::own_query:
      if (now - own_query_since_us_ >= kOwnQueryTimeoutUs) return close("query of the pooler timed out");
      return timers.schedule_no_later(timer_, own_query_since_us_ + kOwnQueryTimeoutUs);
    case ServerState::idle: {
      const int64_t deadline = idle_deadline_us();
      if (deadline <= now) return close(too_old() ? "server lifetime over" : "server idle timeout");
      if (deadline != TimerWheel::kNever) timers.schedule(timer_, deadline);
      return;
    }
    default:
      return;  // scheduled again when it becomes idle
  }
}

void Server::close(std::string_view reason) {
  if (state_ == ServerState::closed) return;
  Worker& worker = pool_.worker();
  worker.log(LogLevel::debug, fmt::format("S-{}: {}/{}@{}:{} closing because: {}", id_, pool_.database_name(),
                                          pool_.user_name(), host_.host, host_.port, printable(reason)));
  set_state(ServerState::closed);
  if (leave_at_us_ != 0) pool_.count_leaving(-1);
  worker.timers().cancel(timer_);
  pool_.statistics().sv_active_cancel.sub(static_cast<uint64_t>(std::exchange(cancels_in_flight_, 0)));
  const bool was_logging_in = login_ != nullptr;
  if (login_) {
    login_->stop();
    worker.bury(std::move(login_));
  }
  if (!was_logging_in && client_ == nullptr && at_rest() && transaction_status_ == 'I') {
    std::string terminate;
    protocol::append_terminate(terminate);
    stream_->write_copy(terminate);
  }
  if (client_ != nullptr) {
    lose_client(reason);
  } else {
    stream_.reset();
  }
  pool_.server_closed(*this, was_logging_in);
}

ConnectionRow Server::row() const {
  ConnectionRow row;
  row.is_server = true;
  row.id = shown_id();
  row.tls = tls_text(stream_.get());
  row.link = client_ != nullptr ? client_->cancel_pid() : 0;
  row.user = pool_.user_name();
  row.database = pool_.database_name();
  switch (state_) {
    case ServerState::login:
      row.state = "new";
      break;
    case ServerState::idle:
      row.state = "idle";
      break;
    case ServerState::active:
      row.state = "active";
      break;
    case ServerState::own_query:
      row.state = "tested";
      break;
    case ServerState::being_canceled:
      row.state = "being_canceled";
      break;
    case ServerState::closed:
      row.state = "closed";
      break;
  }
  if (const std::string* name = parameters_->find("application_name")) row.application_name = *name;
  if (stream_) row.ends = stream_->ends();
  row.connected_at_us = connected_wall_us_;
  row.request_at_us = request_wall_us_;
  row.close_needed = close_when_free_;
  row.remote_pid = static_cast<uint32_t>(backend_pid_);
  row.prepared_statements = static_cast<uint32_t>(statements_.size());
  row.unsent_bytes = stream_ ? stream_->unsent_bytes() : 0;
  row.buffered_bytes = carry_.size();
  return row;
}

}  // namespace bezel::pool
