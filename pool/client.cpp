#include "pool/client.h"

#include <fmt/format.h>

#include <algorithm>

#include "pool/client_login.h"
#include "pool/pool.h"
#include "pool/printable.h"
#include "pool/server.h"
#include "pool/worker.h"
#include "protocol/messages.h"
#include "protocol/secret.h"
#include "protocol/sqlstate.h"

namespace bezel::pool {

namespace sqlstate = protocol::sqlstate;

Client::Client(Worker& worker, uint64_t id)
    : worker_(worker), id_(id), timer_([](void* self) { static_cast<Client*>(self)->timer_fired(); }, this) {}

Client::~Client() = default;

void Client::attach(StreamPtr stream, std::unique_ptr<ClientLogin> login) {
  stream_ = std::move(stream);
  login_ = std::move(login);
  connected_wall_us_ = login_->connected_wall_us();
  idle_since_us_ = worker_.now_us();
  parameters_ = worker_.parameters().empty();
  worker_.statistics().login_clients.add(1);
  arm_timer();
  login_->start(*this, worker_);
}

std::unique_ptr<ClientLogin> Client::move_away(std::unique_ptr<DetachedStream>& detached) {
  detached = stream_->detach();
  stream_.reset();
  state_ = ClientState::closed;
  worker_.timers().cancel(timer_);
  worker_.statistics().login_clients.sub(1);
  worker_.bury(*this);
  return std::move(login_);
}

int Client::worker_index() const {
  return worker_.index();
}

const std::string& Client::user() const {
  static const std::string kNobody;
  if (identity_) return identity_->user->name;
  return login_ ? login_->packet().user : kNobody;
}

std::string Client::database() const {
  if (pool_ != nullptr) return pool_->database_name();
  return console_ ? "pgbouncer" : login_ ? login_->packet().database : "";
}

std::string Client::cancel_secret() const {
  return worker_.cancel_secrets().of(id_, protocol_3_2_ ? 32 : 4);
}

bool Client::checks_cancel_secret(std::string_view secret) const {
  return protocol::equal_in_constant_time(secret, cancel_secret());
}

void Client::log(LogLevel level, std::string_view what) const {
  if (!worker_.runtime().log_enabled(level)) return;
  const StreamEnds ends = stream_ ? stream_->ends() : StreamEnds{};
  worker_.log(level, fmt::format("C-{}: {}/{}@{}:{} {}", id_, printable(database()), printable(user()),
                                 ends.peer_address, ends.peer_port, what));
}

bool Client::is_cancel_request() const {
  return login_ && login_->is_cancel_request();
}

// ---- Events
// ----------------------------------------------------------------------------------------------------------

void Client::on_bytes(std::string_view bytes) {
  switch (state_) {
    case ClientState::closed:
      return;
    case ClientState::login:
      return login_->on_bytes(bytes);
    default:
      if (pool_ != nullptr) pool_->statistics().received_bytes.add(bytes.size());
      return take_input(bytes);
  }
}

void Client::on_secured() {
  if (login_) login_->secured();
}

void Client::on_congested() {
  congested_ = true;
  update_reading();
  if (server_ != nullptr) server_->update_reading();
}

void Client::on_drained() {
  congested_ = false;
  update_reading();
  if (server_ != nullptr) server_->update_reading();
}

void Client::on_closed(std::string_view reason) {
  // Who only opens a connection and leaves, as probes do, is not worth a line; a failed handshake is.
  if (login_ && login_->is_securing() && !reason.empty()) return close_stream(reason, LogLevel::warning);
  close_quietly(reason.empty() ? "client close" : fmt::format("client connection failed: {}", reason));
}

// ---- Login
// -----------------------------------------------------------------------------------------------------------

void Client::login_done(std::unique_ptr<ConsoleSession> console) {
  state_ = console ? ClientState::console : ClientState::idle;
  console_ = std::move(console);
  idle_since_us_ = worker_.now_us();
  if (worker_.settings().log_connections) log(LogLevel::info, "logged in");
  update_reading();
  carry_ = login_->take_early_input();
  worker_.statistics().login_clients.sub(1);
  worker_.bury(std::move(login_));
  arm_timer();
  if (server_ == nullptr) resume_input();
}

void Client::await_server_for_login() {
  if (pool_->acquire(*this)) server_->check_parameters();
}

void Client::parameters_applied(const protocol::ProtocolError* error) {
  if (login_) return login_->parameters_applied(error);
  if (error != nullptr) fail(*error);
}

void Client::add_host_to_application_name(std::vector<std::pair<std::string, std::string>>& values) const {
  const StreamEnds ends = stream_->ends();
  const std::string host = fmt::format("{}:{}", ends.peer_address, ends.peer_port);
  for (auto& [key, value] : values) {
    if (key == "application_name") {
      value = fmt::format("{} - {}", value, host);
      return;
    }
  }
  values.emplace_back("application_name", host);
}

// ---- Server
// ----------------------------------------------------------------------------------------------------------

int64_t Client::place_in_queue_us() const {
  return replays_ > 0 ? asked_since_us_ : worker_.now_us();
}

void Client::began_to_wait() {
  wait_since_us_ = place_in_queue_us();
  query_wait_notified_ = false;
  if (state_ != ClientState::login) state_ = ClientState::waiting;
  arm_timer();
}

void Client::linked(Server& server) {
  const int64_t now = worker_.now_us();
  PoolStatistics& statistics = pool_->statistics();
  asked_since_us_ = wait_since_us_ != 0 ? wait_since_us_ : place_in_queue_us();
  if (wait_since_us_ != 0) {
    statistics.wait_time_us.add(static_cast<uint64_t>(now - wait_since_us_));
    wait_since_us_ = 0;
  }
  server_ = &server;
  transaction_since_us_ = now;
  statistics.server_assignments.add(1);
  if (state_ != ClientState::login) state_ = ClientState::active;
  server.update_reading();
}

void Client::server_assigned() {
  if (login_) return server_->check_parameters();
  resume_input();
}

void Client::server_released(bool was_used) {
  const int64_t now = worker_.now_us();
  server_ = nullptr;
  replays_ = 0;
  if (state_ == ClientState::active) state_ = ClientState::idle;
  if (was_used) {
    PoolStatistics& statistics = pool_->statistics();
    statistics.transactions.add(1);
    statistics.transaction_time_us.add(static_cast<uint64_t>(now - transaction_since_us_));
  }
  transaction_since_us_ = 0;
  request_since_us_ = 0;
  idle_since_us_ = now;
  update_reading();
  if (idle_deadline_us() != TimerWheel::kNever) arm_timer();
}

void Client::request_done() {
  const int64_t now = worker_.now_us();
  PoolStatistics& statistics = pool_->statistics();
  statistics.queries.add(1);
  if (request_since_us_ != 0) statistics.query_time_us.add(static_cast<uint64_t>(now - request_since_us_));
  request_since_us_ = server_->nothing_outstanding() ? 0 : now;
  replays_ = 0;
  idle_since_us_ = now;
  if (server_->nothing_outstanding()) arm_timer();
}

void Client::session_lost(const protocol::ProtocolError& error, bool already_told) {
  server_ = nullptr;
  if (already_told) return close_quietly("server closed the connection with an error");
  fail(error);
}

// ---- Ends
// ------------------------------------------------------------------------------------------------------------

void Client::fail(const protocol::ProtocolError& error) {
  if (state_ == ClientState::closed) return;
  if (server_ == nullptr || !server_->in_message_to_client()) {
    std::string message;
    protocol::append_error_response(message, protocol::severity::kFatal, error);
    write_copy(message);
  }
  close_stream(error.message, LogLevel::warning);
}

void Client::terminated() {
  if (stream_) stream_->peer_has_ended();
  close_quietly("client close request");
}

void Client::close_quietly(std::string_view reason) {
  if (state_ == ClientState::closed) return;
  close_stream(reason, LogLevel::info);
}

void Client::close_stream(std::string_view reason, LogLevel level) {
  const bool told = level == LogLevel::warning ? worker_.settings().log_pooler_errors
                                               : worker_.settings().log_disconnections && state_ != ClientState::login;
  if (told) {
    const int64_t age_us = worker_.runtime().wall_clock_us() - connected_wall_us_;
    log(level, fmt::format("closing because: {} (age={}s)", printable(reason), age_us / 1'000'000));
  }
  leave();
  state_ = ClientState::closed;
  if (login_) {
    login_->stop();
    worker_.statistics().login_clients.sub(1);
  }
  if (console_) worker_.bury(std::move(console_));
  stream_.reset();
  worker_.timers().cancel(timer_);
  worker_.bury(*this);
}

void Client::leave() {
  if (pool_ == nullptr) return;
  if (WaitHook::contains(*this)) pool_->stop_waiting(*this);
  if (server_ != nullptr) std::exchange(server_, nullptr)->abandon(in_message());
  std::exchange(pool_, nullptr)->remove_client();
  identity_.reset();
}

void Client::cancel_while_waiting() {
  // The batch at the head of the queue is answered as if it had begun and been cancelled.
  size_t position = 0;
  bool whole = false;
  while (!whole && carry_.size() - position >= protocol::kFrameHeaderBytes) {
    const protocol::FrameHeader header = protocol::read_frame_header(carry_.data() + position);
    if (header.frame_bytes() > carry_.size() - position) break;
    position += header.frame_bytes();
    whole = header.type == 'Q' || header.type == 'S' || header.type == 'F';
  }
  const protocol::ProtocolError error{sqlstate::kQueryCanceled, "canceling statement due to user request", "", ""};
  if (!whole) return fail(error);
  pool_->stop_waiting(*this);
  wait_since_us_ = 0;
  state_ = ClientState::idle;
  idle_since_us_ = worker_.now_us();
  replays_ = 0;
  counted_bytes_ -= std::min(counted_bytes_, position);
  carry_.erase(0, position);
  std::string answer;
  protocol::append_error_response(answer, protocol::severity::kError, error);
  protocol::append_ready_for_query(answer, 'I');
  write_copy(answer);
  if (!carry_.empty()) resume_input();
}

// ---- Reading
// ---------------------------------------------------------------------------------------------------------

void Client::update_reading() {
  if (!stream_) return;
  const bool suspended = worker_.suspended() && state_ != ClientState::login && state_ != ClientState::console;
  const bool too_much_kept = held_back() && carry_.size() >= ByteStream::kCongestedBytes;
  // Who does not take its answers may not ask for more: some are made here, and would pile up.
  const bool pause = suspended || too_much_kept || congested_ || (server_ != nullptr && server_->congested());
  if (pause == reading_paused_) return;
  reading_paused_ = pause;
  if (pause) {
    stream_->pause_reading();
  } else {
    stream_->resume_reading();
  }
}

// ---- Timeouts
// --------------------------------------------------------------------------------------------------------

namespace {

int64_t earlier(int64_t deadline_us, int64_t since_us, int64_t timeout_us) {
  return timeout_us > 0 ? std::min(deadline_us, since_us + timeout_us) : deadline_us;
}

}  // namespace

int64_t Client::idle_deadline_us() const {
  const int64_t timeout_us =
      pool_ != nullptr ? pool_->limits().client_idle_timeout_us : worker_.settings().client_idle_timeout_us;
  return earlier(TimerWheel::kNever, idle_since_us_, timeout_us);
}

int64_t Client::deadline_us() const {
  const Settings& settings = worker_.settings();
  int64_t deadline = TimerWheel::kNever;
  if (wait_since_us_ != 0) {
    deadline = earlier(deadline, wait_since_us_, settings.query_wait_timeout_us);
    // A notice before the login is complete would reach the user as a part of it: only queries get one.
    if (!query_wait_notified_ && state_ == ClientState::waiting) {
      deadline = earlier(deadline, wait_since_us_, settings.query_wait_notify_us);
    }
    return deadline;
  }
  switch (state_) {
    case ClientState::login:
      return earlier(deadline, idle_since_us_, settings.client_login_timeout_us);
    case ClientState::idle:
      return idle_deadline_us();
    case ClientState::active:
    case ClientState::failed:
      break;
    default:
      return deadline;
  }
  const PoolLimits& limits = pool_->limits();
  deadline = earlier(deadline, transaction_since_us_, limits.transaction_timeout_us);
  if (request_since_us_ != 0) return earlier(deadline, request_since_us_, limits.query_timeout_us);
  return earlier(deadline, idle_since_us_, limits.idle_transaction_timeout_us);
}

void Client::arm_timer() {
  const int64_t deadline = deadline_us();
  if (deadline != TimerWheel::kNever) worker_.timers().schedule_no_later(timer_, deadline);
}

void Client::timer_fired() {
  const int64_t now = worker_.now_us();
  if (state_ == ClientState::closed) return;
  if (deadline_us() > now) return arm_timer();
  const Settings& settings = worker_.settings();
  if (wait_since_us_ != 0) {
    if (settings.query_wait_timeout_us > 0 && now - wait_since_us_ >= settings.query_wait_timeout_us) {
      pool_->statistics().client_wait_timeouts.add(1);
      return fail({sqlstate::kTooManyConnections, "query_wait_timeout", pool_->wait_reason(), ""});
    }
    query_wait_notified_ = true;
    std::string notice;
    protocol::append_notice_response(notice, protocol::severity::kNotice, sqlstate::kSuccessfulCompletion,
                                     "No server connection available in postgres backend, client being queued");
    write_copy(notice);
    return arm_timer();
  }
  switch (state_) {
    case ClientState::login:
      return fail({sqlstate::kInvalidAuthorizationSpecification, "client_login_timeout", "", ""});
    case ClientState::idle:
      return fail({sqlstate::kIdleSessionTimeout, "client_idle_timeout", "", ""});
    default:
      break;
  }
  const PoolLimits& limits = pool_->limits();
  if (limits.transaction_timeout_us > 0 && now - transaction_since_us_ >= limits.transaction_timeout_us) {
    return fail({sqlstate::kTransactionTimeout, "transaction timeout", "", ""});
  }
  if (request_since_us_ != 0) return fail({sqlstate::kQueryCanceled, "query timeout", "", ""});
  fail({sqlstate::kIdleInTransactionSessionTimeout, "idle transaction timeout", "", ""});
}

// ---- For people
// ------------------------------------------------------------------------------------------------------

ConnectionRow Client::row() const {
  ConnectionRow row;
  row.id = cancel_pid();
  row.tls = tls_text(stream_.get());
  row.link = server_ != nullptr ? server_->shown_id() : 0;
  row.user = user();
  row.database = database();
  row.state = wait_since_us_ != 0 ? "waiting" : state_ == ClientState::login ? "login" : "active";
  if (const std::string* name = parameters_->find("application_name")) row.application_name = *name;
  row.ends = stream_->ends();
  row.remote_pid = row.ends.peer_pid.value_or(0);
  row.connected_at_us = connected_wall_us_;
  const int64_t now = worker_.now_us();
  row.request_at_us =
      worker_.runtime().wall_clock_us() - (now - (request_since_us_ != 0 ? request_since_us_ : idle_since_us_));
  row.wait_us = wait_since_us_ != 0 ? now - wait_since_us_ : 0;
  row.prepared_statements = statements_ ? static_cast<uint32_t>(statements_->size()) : 0;
  row.unsent_bytes = stream_->unsent_bytes();
  row.buffered_bytes = carry_.size();
  return row;
}

}  // namespace bezel::pool
