#include "pool/pool.h"

#include <fmt/format.h>

#include <algorithm>

#include "pool/pool_requester.h"
#include "pool/printable.h"
#include "pool/worker.h"
#include "protocol/sqlstate.h"

namespace bezel::pool {

namespace sqlstate = protocol::sqlstate;

namespace {

/// Startup parameters remembered as accepted. A client may name any; beyond that they are asked for again.
constexpr size_t kAcceptedParametersMax = 1000;

/// A requester's server is not kept for long.
constexpr int64_t kRequesterIdleUs = 60'000'000;

/// Errors that will come again however often one tries: who waits is told at once.
bool is_permanent(std::string_view state) {
  return state.substr(0, 2) == "28" || state.substr(0, 2) == "3D" || state.substr(0, 2) == "42";
}

}  // namespace

Pool::Pool(Worker& worker, DatabaseSettings database, std::shared_ptr<DatabaseShare> database_share,
           std::shared_ptr<UserShare> user_share, PoolRequester* requester)
    : worker_(worker),
      database_(std::move(database)),
      database_share_(std::move(database_share)),
      user_share_(std::move(user_share)),
      requester_(requester),
      statistics_(worker.shared().statistics.add_pool(database_share_->name, user_share_->name, worker.index())),
      timer_([](void* self) { static_cast<Pool*>(self)->launch(); }, this),
      unused_since_us_(worker.now_us()) {
  if (database_.upstream) upstream_ = worker.shared().upstreams.of(*database_.upstream);
  wanted_ = {database_.target_session_attrs, database_.replica_lag_bytes_max};
  apply_settings();
}

Pool::~Pool() {
  *alive_ = false;
  database_share_->server_waiters.forget(this);
  user_share_->server_waiters.forget(this);
  worker_.shared().statistics.remove_pool(statistics_);
}

void Pool::apply_settings() {
  const Settings& settings = worker_.settings();
  const UserSettings none;
  const UserSettings* entry = worker_.user_entry(user_share_->name);
  const UserSettings& user = entry != nullptr ? *entry : none;
  limits_.mode = user.pool_mode.value_or(database_.pool_mode.value_or(settings.pool_mode));
  limits_.pool_size = std::max(1, user.pool_size.value_or(database_.pool_size.value_or(settings.default_pool_size)));
  limits_.min_pool_size = std::min(limits_.pool_size, database_.min_pool_size.value_or(settings.min_pool_size));
  limits_.reserve_pool_size =
      user.reserve_pool_size.value_or(database_.reserve_pool_size.value_or(settings.reserve_pool_size));
  limits_.max_db_connections = database_.max_db_connections.value_or(settings.max_db_connections);
  limits_.max_user_connections = user.max_user_connections.value_or(settings.max_user_connections);
  limits_.server_lifetime_us = database_.server_lifetime_us.value_or(settings.server_lifetime_us);
  limits_.server_idle_timeout_us = settings.server_idle_timeout_us;
  limits_.query_timeout_us = user.query_timeout_us.value_or(settings.query_timeout_us);
  limits_.idle_transaction_timeout_us = user.idle_transaction_timeout_us.value_or(settings.idle_transaction_timeout_us);
  limits_.transaction_timeout_us = user.transaction_timeout_us.value_or(settings.transaction_timeout_us);
  limits_.client_idle_timeout_us = user.client_idle_timeout_us.value_or(settings.client_idle_timeout_us);
  if (requester_ != nullptr) {
    limits_.mode = PoolMode::transaction;
    limits_.pool_size = 1;
    limits_.min_pool_size = limits_.reserve_pool_size = 0;
    limits_.max_db_connections = limits_.max_user_connections = 0;
    limits_.server_idle_timeout_us = kRequesterIdleUs;
  }
  statistics_->pool_mode.set(static_cast<uint64_t>(limits_.mode));
  launch();
}

void Pool::set_database(const DatabaseSettings& database) {
  if (database == database_) return;
  const bool other_servers = database.hosts != database_.hosts || database.upstream != database_.upstream ||
                             database.target_session_attrs != database_.target_session_attrs ||
                             database.dbname != database_.dbname || database.password != database_.password ||
                             database.server_parameters != database_.server_parameters ||
                             database.connect_query != database_.connect_query;
  database_ = database;
  wanted_.lag_bytes_max = database_.replica_lag_bytes_max;
  if (!other_servers) return;
  wanted_ = {database_.target_session_attrs, database_.replica_lag_bytes_max};
  upstream_ = database_.upstream ? worker_.shared().upstreams.of(*database_.upstream) : nullptr;
  retry_at_us_ = 0;
  defaults_ = {};
  accepted_parameters_.clear();
  mark_all_servers();
}

// ---- Clients
// -----------------------------------------------------------------------------------------------------------

void Pool::add_client() {
  clients_++;
  count_clients();
}

void Pool::remove_client() {
  clients_--;
  count_clients();
  if (clients_ == 0) unused_since_us_ = worker_.now_us();
}

bool Pool::must_check(const Server& server) const {
  // A requester's own question is as good as a check.
  const Settings& settings = worker_.settings();
  if (requester_ != nullptr || settings.server_check_query.empty()) return false;
  // Another connection to the same server has just been lost.
  if (upstream_ && upstream_->changing()) return true;
  return settings.server_check_delay_us > 0 &&
         worker_.now_us() - server.idle_since_us() >= settings.server_check_delay_us;
}

Server* Pool::take_idle() {
  const Settings& settings = worker_.settings();
  while (!idle_.empty()) {
    Server* server = settings.server_round_robin ? idle_.front() : idle_.back();
    idle_.remove(*server);
    if (server->too_old()) {
      server->close("server lifetime over");
      continue;
    }
    if (!server->between_messages()) {
      server->close("server is idle in the middle of a message");
      continue;
    }
    if (!must_check(*server)) return server;
    // It comes back through server_free() if it answers, and then goes to whoever waits first.
    checking_++;
    server->run_check_query(settings.server_check_query);
    return nullptr;
  }
  return nullptr;
}

bool Pool::acquire(Client& client) {
  if (waiting_.empty() && !on_hold()) {
    if (Server* server = take_idle()) {
      assign(client, *server);
      return true;
    }
  }
  if (refuses_clients() && retry_at_us_ > worker_.now_us()) {
    client.fail(last_login_error_);
    return false;
  }
  enqueue(client);
  statistics_->client_waits.add(1);
  if (upstream_ && upstream_->changing()) upstream_->count(Upstream::Outcome::held);
  client.began_to_wait();
  count_clients();
  if (serve_beyond_checks(&client)) return true;
  launch();
  return false;
}

/// Who comes back because its server was lost has its place by the time at which it asked first.
void Pool::enqueue(Client& client) {
  const int64_t since_us = client.place_in_queue_us();
  if (waiting_.empty() || waiting_.back()->wait_since_us() <= since_us) return waiting_.push_back(client);
  Client* later = waiting_.front();
  while (later->wait_since_us() <= since_us) later = WaitList::next(*later);
  waiting_.insert_before(*later, client);
}

/// Those who wait already wait for servers that are being checked: another idle one is for the next of them. Returns
/// whether `newcomer` got one; the others go on at once.
bool Pool::serve_beyond_checks(const Client* newcomer) {
  while (!on_hold() && !idle_.empty() && waiting_.size() > static_cast<size_t>(checking_)) {
    Server* server = take_idle();
    if (server == nullptr) continue;
    Client& first = *waiting_.front();
    waiting_.remove(first);
    count_clients();
    assign(first, *server);
    if (&first == newcomer) return true;
    first.server_assigned();
  }
  return false;
}

void Pool::assign(Client& client, Server& server) {
  server.link(client);
  client.linked(server);
}

void Pool::stop_waiting(Client& client) {
  waiting_.remove(client);
  client.stopped_waiting();
  count_clients();
}

void Pool::count_clients() {
  if (waiting_.empty()) {
    // Nobody here needs a slot that others hold.
    database_share_->server_waiters.forget(this);
    user_share_->server_waiters.forget(this);
  }
  statistics_->cl_waiting.set(waiting_.size());
  statistics_->cl_active.set(clients_ - std::min(clients_, waiting_.size()));
  statistics_->oldest_wait_since_us.set(waiting_.empty() ? 0
                                                         : static_cast<uint64_t>(waiting_.front()->wait_since_us()));
}

void Pool::fail_waiting(const protocol::ProtocolError& error) {
  while (!waiting_.empty()) {
    Client& client = *waiting_.front();
    stop_waiting(client);
    client.fail(error);
  }
}

void Pool::learn_secret(const protocol::StoredSecret& secret, std::optional<PassedKeys> keys, bool from_query) {
  const bool is_new = learned_secret_.learn(secret, std::move(keys), from_query);
  // Servers that would not take the old one may take this one.
  if (is_new && last_login_failed_) retry_at_us_ = 0;
}

const std::string* Pool::accepted_parameter(std::string_view key, std::string_view value) const {
  std::string name(key);
  name += '\0';
  name += value;
  const auto at = accepted_parameters_.find(name);
  return at == accepted_parameters_.end() ? nullptr : &at->second;
}

void Pool::accept_parameter(std::string_view key, std::string_view value, std::string_view reported) {
  if (accepted_parameters_.size() >= kAcceptedParametersMax) accepted_parameters_.clear();
  std::string name(key);
  name += '\0';
  name += value;
  accepted_parameters_[name] = reported;
}

// ---- Servers
// -----------------------------------------------------------------------------------------------------------

/// The login of a server is over, well or not.
void Pool::login_ended(Server& server) {
  logging_in_--;
  if (server.upstream() != nullptr) server.upstream()->tried(server.host());
}

void Pool::server_logged_in(Server& server) {
  login_ended(server);
  last_login_failed_ = false;
  retry_at_us_ = 0;
  statistics_->server_logins.add(1);
  defaults_ = server.defaults();
  if (wanted_.refusals.remove(server.host()) && upstream_) {
    // Those who have fallen back to another one need it no more.
    worker_.runtime().post(worker_.index(), [alive = alive_, this] {
      if (*alive && upstream_) upstream_changed();
    });
  }
}

/// They would wait in vain, for all that is known.
bool Pool::refuses_clients() const {
  return last_login_failed_ && servers_.empty() && is_permanent(last_login_error_.sqlstate) &&
         !learned_secret_.is_being_asked_for();
}

std::string Pool::wait_reason() const {
  return last_login_failed_
             ? fmt::format("The last login to the server failed: {}", printable(last_login_error_.message))
             : "No server connection became free in time.";
}

/// The servers' secret, after they would not take it.
void Pool::secret_asked_again(LearnedSecret::Change change) {
  if (change == LearnedSecret::Change::another) {
    retry_at_us_ = 0;
  } else {
    if (change == LearnedSecret::Change::gone) {
      last_login_failed_ = true;
      retry_at_us_ = worker_.now_us() + worker_.settings().server_login_retry_us;
      last_login_error_ = {protocol::sqlstate::kInvalidPassword,
                           fmt::format("password authentication failed for user \"{}\"", user_name()), "", ""};
    }
    if (refuses_clients()) fail_waiting(last_login_error_);
  }
  launch();
}

/// What a failed login means for the next ones.
void Pool::note_failure(const Server& server, const protocol::ProtocolError& error) {
  const int64_t now = worker_.now_us();
  const bool is_sign = is_sign_of_change(error.sqlstate);
  if (server.upstream() != nullptr && is_sign) {
    // The upstream says when to try again, and where: nobody is held back by one member's failure.
    wanted_.refusals.remove(server.host());
    server.upstream()->login_failed(server.host(), error.message, now, worker_.runtime().wall_clock_us());
    return;
  }
  last_login_failed_ = true;
  last_login_error_ = error;
  const int64_t until_us = now + worker_.settings().server_login_retry_us;
  if (is_sign || is_refusal_of_one_server(error.sqlstate)) {
    // Another one may do.
    wanted_.refusals.add(server.host(), until_us);
    if (upstream_ || !all_hosts_refuse()) return;
    retry_at_us_ = wanted_.refusals.next()->until_us;
    return;
  }
  retry_at_us_ = until_us;
}

void Pool::server_login_failed(Server& server, const protocol::ProtocolError& error, bool by_learned_secret) {
  statistics_->server_login_failures.add(1);
  note_failure(server, error);
  login_ended(server);
  const bool passed_on = remove_server(server);
  if (requester_ != nullptr) requester_->login_failed(error, is_permanent(error.sqlstate));
  if (by_learned_secret)
    learned_secret_.ask_again([this](LearnedSecret::Change change) { secret_asked_again(change); });
  if (is_permanent(error.sqlstate) && refuses_clients()) fail_waiting(error);
  if (!passed_on || for_waiting() > 0) launch();
}

void Pool::server_refused(Server& server) {
  // What is known to be the right member may be of no use all the same: it would say so again, as fast as one can ask.
  // While the primary is looked for, the upstream sees to that.
  if (!server.upstream()->changing()) {
    refused_host_ = server.host();
    refused_until_us_ = worker_.now_us() + Upstream::kTryAgainUs;
  }
  login_ended(server);
  if (!remove_server(server) || for_waiting() > 0) launch();
}

/// It has ended. Returns whether its slots went to another pool that waits for them.
bool Pool::remove_server(Server& server) {
  if (server.upstream() != nullptr) server.upstream()->closed(server.host());
  idle_.remove(server);
  servers_.remove(server);
  const bool passed_on = give_slots_back();
  worker_.bury(std::unique_ptr<Server>(&server));
  worker_.review_soon();
  return passed_on;
}

void Pool::server_free(Server& server) {
  if (server.end_check()) checking_--;
  if (server.marked_to_close()) return server.close("marked to be closed");
  if (paused()) return server.close("database is paused");
  if (server.too_old()) return server.close("server lifetime over");
  if (requester_ == nullptr && servers_.size() > static_cast<size_t>(limits_.pool_size + limits_.reserve_pool_size)) {
    return server.close("pool is larger than its limit");
  }
  if (requester_ != nullptr && requester_->wants_server()) return requester_->server_free(server);
  if (waiting_.empty() || on_hold()) {
    server.enter_idle();
    idle_.push_back(server);
    // Another pool may need the slot more than this one needs an idle server.
    if (database_share_->server_waiters.any() || user_share_->server_waiters.any()) evict_idle();
    return;
  }
  Client& client = *waiting_.front();
  waiting_.remove(client);
  count_clients();
  assign(client, server);
  client.server_assigned();
}

void Pool::server_closed(Server& server, bool was_logging_in) {
  if (was_logging_in) login_ended(server);
  if (server.end_check()) checking_--;
  const bool passed_on = remove_server(server);
  if (requester_ != nullptr) requester_->server_lost(server);
  if (servers_.empty()) unused_since_us_ = std::max(unused_since_us_, worker_.now_us());
  // It may have been the one that was being checked for somebody.
  serve_beyond_checks(nullptr);
  // Who was woken must find the slot; min_pool_size is the janitor's then.
  if (!passed_on || for_waiting() > 0) launch();
}

bool Pool::may_shrink() const {
  return servers_.size() > static_cast<size_t>(limits_.min_pool_size);
}

void Pool::serve_requester() {
  if (paused() || !requester_->wants_server()) return;
  if (Server* server = take_idle()) return requester_->server_free(*server);
  launch();
}

bool Pool::evict_idle() {
  if (idle_.empty() || requester_ != nullptr) return false;
  idle_.front()->close("evicted: another pool needs the connection");
  return true;
}

void Pool::upstream_changed() {
  const DatabaseSettings& database = database_;
  std::vector<Server*> leaving;
  for (Server* server = servers_.front(); server != nullptr; server = ServerList::next(*server)) {
    // One that logs in says itself what it is.
    if (server->upstream() != upstream_.get() || server->state() == ServerState::login) continue;
    if (upstream_->serves(server->host(), wanted_)) continue;
    leaving.push_back(server);
  }
  for (Server* server : leaving) {
    const bool at_once = server->state() == ServerState::idle ||
                         (wants_primary(database.target_session_attrs) && upstream_->superseded(server->host()));
    if (server->state() == ServerState::closed) continue;
    if (at_once) {
      server->close(Server::kNotServing);
    } else if (upstream_->may_finish_reading(server->host(), database.target_session_attrs)) {
      server->mark_to_close();
    } else {
      server->leave_within(worker_.settings().failover_grace_us);
    }
  }
  // One of those that are lost anyway makes room for the connection that finds the new primary.
  const bool is_full = static_cast<int>(servers_.size()) >= size_limit(worker_.now_us());
  if (is_full && leaving_ > 0 && logging_in_ == 0 && upstream_->changing()) {
    const auto lost = std::find_if(leaving.begin(), leaving.end(),
                                   [](const Server* server) { return server->state() != ServerState::closed; });
    if (lost != leaving.end()) (*lost)->close(Server::kNotServing);
  }
  serve_beyond_checks(nullptr);
  if (requester_ != nullptr) return serve_requester();
  launch();
}

// ---- Operations
// --------------------------------------------------------------------------------------------------------

void Pool::close_idle_servers(std::string_view reason) {
  while (!idle_.empty()) idle_.front()->close(reason);
}

void Pool::pause() {
  close_idle_servers("database is paused");
}

void Pool::update_reading() {
  for (Server* server = servers_.front(); server != nullptr; server = ServerList::next(*server))
    server->update_reading();
}

bool Pool::everything_sent() const {
  for (Server* server = servers_.front(); server != nullptr; server = ServerList::next(*server)) {
    if (server->unsent_bytes() > 0) return false;
  }
  return true;
}

void Pool::close_clients(const protocol::ProtocolError& error) {
  worker_.close_clients_of([this](const Pool& pool) { return &pool == this; }, error);
}

void Pool::close_all_servers(std::string_view reason) {
  closing_ = true;
  while (!servers_.empty()) servers_.front()->close(reason);
  closing_ = false;
}

void Pool::mark_all_servers() {
  for (Server* server = servers_.front(); server != nullptr; server = ServerList::next(*server))
    server->mark_to_close();
  close_idle_servers("marked to be closed");
}

bool Pool::has_marked_servers() const {
  for (Server* server = servers_.front(); server != nullptr; server = ServerList::next(*server)) {
    if (server->marked_to_close()) return true;
  }
  return false;
}

void Pool::look_for_dead_hosts() {
  std::vector<Server*> servers;
  for (Server* server = servers_.front(); server != nullptr; server = ServerList::next(*server)) {
    servers.push_back(server);
  }
  for (Server* server : servers) {
    if (server->state() != ServerState::closed) server->look_whether_host_lives();
  }
}

bool Pool::disposable(int64_t now_us) const {
  const int64_t timeout_us = worker_.settings().autodb_idle_timeout_us;
  return clients_ == 0 && servers_.empty() && timeout_us > 0 && now_us - unused_since_us_ >= timeout_us;
}

Counter* Pool::gauge(ServerState state) {
  switch (state) {
    case ServerState::login:
      return &statistics_->sv_login;
    case ServerState::idle:
      return &statistics_->sv_idle;
    case ServerState::active:
      return &statistics_->sv_active;
    case ServerState::own_query:
      return &statistics_->sv_tested;
    case ServerState::being_canceled:
      return &statistics_->sv_being_canceled;
    case ServerState::closed:
      return nullptr;
  }
  return nullptr;
}

void Pool::count_state(ServerState from, ServerState to) {
  if (Counter* counter = gauge(from)) counter->sub(1);
  if (Counter* counter = gauge(to)) counter->add(1);
}

}  // namespace bezel::pool
