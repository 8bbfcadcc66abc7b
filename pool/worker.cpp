#include "pool/worker.h"

#include <fmt/format.h>

#include <algorithm>
#include <functional>

#include "protocol/sqlstate.h"

namespace bezel::pool {

namespace sqlstate = protocol::sqlstate;

namespace {

/// How often the worker looks after what no event looks after: warm pools, pools of forgotten databases.
constexpr int64_t kJanitorPeriodUs = 1'000'000;

/// Ids say in their low bits which worker a connection is on, so that a cancel key leads to it.
constexpr int kWorkerBits = 8;

/// Sockets that may be before the end of their login beyond max_client_conn.
constexpr size_t kLoginsBeyondLimit = 1000;

std::string pool_key(std::string_view database, std::string_view user) {
  std::string key(database);
  key += '\0';
  key += user;
  return key;
}

}  // namespace

Worker::Worker(int index, Runtime& runtime, Shared& shared, SettingsPtr settings)
    : index_(index),
      runtime_(runtime),
      shared_(shared),
      settings_(std::move(settings)),
      timers_(runtime.now_us()),
      statements_(static_cast<uint64_t>(index), static_cast<uint64_t>(shared.worker_count)),
      cancel_secrets_(shared.secret),
      auth_connections_(std::make_unique<AuthConnections>(*this)),
      janitor_([](void* self) { static_cast<Worker*>(self)->janitor(); }, this) {
  timers_.schedule(janitor_, runtime.now_us());
}

Worker::~Worker() {
  auth_connections_->stop();
  pending_.clear();  // whoever waits for an operation may be gone already
  close_everything({sqlstate::kAdminShutdown, "the pooler is shut down", "", ""});
  end_turn();
  auth_connections_.reset();  // its pools go with it
}

uint64_t Worker::next_connection_id() {
  uint64_t id;
  do {
    id = (++next_sequence_ << kWorkerBits) | static_cast<uint64_t>(index_);
  } while (clients_.contains(static_cast<uint32_t>(id & 0x7fffffff)));
  return id;
}

// ---- The event loop
// ----------------------------------------------------------------------------------------------------

ByteStream::Events* Worker::accept(StreamPtr stream) {
  WorkerStatistics& figures = statistics();
  figures.accepted_clients.add(1);
  const uint64_t id = next_connection_id();
  auto owned = std::make_unique<Client>(*this, id);
  Client& client = *owned;
  clients_.emplace(client.cancel_pid(), std::move(owned));
  figures.clients.set(clients_.size());
  stream->set_events(client);
  client.attach(std::move(stream), std::make_unique<ClientLogin>(runtime_.wall_clock_us()));
  const size_t limit = static_cast<size_t>(std::max(settings_->max_client_conn, 1)) + kLoginsBeyondLimit;
  if (clients_.size() > limit) {
    figures.rejected_clients.add(1);
    client.fail({sqlstate::kTooManyConnections, "no more connections allowed (max_client_conn)", "", ""});
    return nullptr;
  }
  client.update_reading();
  return &client;
}

void Worker::end_turn() {
  if (review_) review();
  // What is destroyed here may bury more only by closing, which it has already done.
  dead_sessions_.clear();
  dead_client_logins_.clear();
  dead_server_logins_.clear();
  dead_clients_.clear();
  dead_servers_.clear();
  dead_cancels_.clear();
  kept_.clear();
  statistics().turns.add(1);
}

void Worker::bury(Client& client) {
  const auto at = clients_.find(client.cancel_pid());
  dead_clients_.push_back(std::move(at->second));
  clients_.erase(at);
  statistics().clients.set(clients_.size());
  review_soon();
}

void Worker::bury(std::unique_ptr<Server> server) {
  for (const auto& [address, cancel] : cancels_) cancel->forget(*server);
  dead_servers_.push_back(std::move(server));
}

void Worker::bury(CancelConnection& connection) {
  const auto at = cancels_.find(&connection);
  dead_cancels_.push_back(std::move(at->second));
  cancels_.erase(at);
}

// ---- Pools
// -------------------------------------------------------------------------------------------------------------

int Worker::home_of(std::string_view database, std::string_view user) const {
  return static_cast<int>(std::hash<std::string>()(pool_key(database, user)) %
                          static_cast<size_t>(shared_.worker_count));
}

const DatabaseSettings* Worker::database_entry(std::string_view name) const {
  const auto& databases = settings_->databases;
  auto at = databases.find(std::string(name));
  if (at == databases.end()) at = databases.find("*");
  return at == databases.end() ? nullptr : &at->second;
}

const UserSettings* Worker::user_entry(std::string_view name) const {
  const auto at = settings_->users.find(std::string(name));
  return at == settings_->users.end() ? nullptr : &at->second;
}

Pool& Worker::pool_of(const DatabaseSettings& entry, const std::string& database, const std::string& user) {
  std::string key = pool_key(database, user);
  if (const auto known = pools_.find(key); known != pools_.end()) return *known->second;
  // It may open servers at once, and look at the other pools for that: it is among them only when it is complete.
  auto pool = std::make_unique<Pool>(*this, entry, shared_.directory.database(database), shared_.directory.user(user));
  return *pools_.emplace(std::move(key), std::move(pool)).first->second;
}

Pool& Worker::add_requester_pool(const std::string& key, const DatabaseSettings& entry, const std::string& database,
                                 PoolRequester& requester) {
  auto pool = std::make_unique<Pool>(*this, entry, shared_.directory.database(database),
                                     shared_.directory.user(entry.user), &requester);
  return *pools_.emplace(key, std::move(pool)).first->second;
}

bool Worker::find_secret(const AuthSource& source, const std::string& user, AuthReply& known, AuthCache::Waiter later) {
  const AuthCache::Terms terms = {settings_->auth_query_cache_ttl_us, settings_->auth_query_stale_max_us};
  const AuthCache::Lookup lookup =
      shared_.auth_cache.look_up({source.id, user}, terms, now_us(), known, std::move(later));
  if (lookup == AuthCache::Lookup::ask) ask_for_secret(source, user);
  return lookup == AuthCache::Lookup::known;
}

/// On the worker that has the connection to that source. REQUIRES: a flight in the cache, which ends by this.
void Worker::ask_for_secret(const AuthSource& source, const std::string& user) {
  const int home = home_of(source.database, source.entry.user);
  if (home == index_) return auth_connections_->ask(source, user);
  runtime_.post(home, [&shared = shared_, home, source, user] {
    shared.workers[static_cast<size_t>(home)]->auth_connections_->ask(source, user);
  });
}

void Worker::warm_up_pools() {
  for (const auto& [name, entry] : settings_->databases) {
    const int minimum = entry.min_pool_size.value_or(settings_->min_pool_size);
    if (name == "*" || entry.user.empty() || minimum <= 0 || home_of(name, entry.user) != index_) continue;
    pool_of(entry, name, entry.user);
  }
}

void Worker::janitor() {
  warm_up_pools();
  for (auto& [key, pool] : pools_) {
    pool->look_for_dead_hosts();
    pool->launch();
  }
  end_unused_pools();
  timers_.schedule(janitor_, now_us() + kJanitorPeriodUs);
}

void Worker::end_unused_pools() {
  auth_connections_->end_unused();
  std::erase_if(pools_, [this](const auto& entry) {
    const Pool& pool = *entry.second;
    if (pool.requester() != nullptr) return false;
    if (pool.client_count() > 0 || pool.server_count() > 0) return false;
    if (database_entry(pool.database_name()) == nullptr) return true;
    // One that no server has ever let in, or that only "*" stands for, is not kept for its own sake.
    return (pool.defaults().entries().empty() && pool.limits().min_pool_size == 0) ||
           (!settings_->databases.contains(pool.database_name()) && pool.disposable(now_us()));
  });
  if (index_ != 0) return;
  shared_.directory.forget_unused_databases(
      [this](const std::string& name) { return settings_->databases.contains(name); });
}

void Worker::ask_for_eviction(const std::string& database, const std::string& user, const Pool* asking) {
  if (evict_idle_here(database, user, asking)) return;
  for (int other = 0; other < shared_.worker_count; other++) {
    if (other == index_) continue;
    runtime_.post(other, [&shared = shared_, other, database, user] {
      shared.workers[static_cast<size_t>(other)]->evict_idle_here(database, user, nullptr);
    });
  }
}

bool Worker::evict_idle_here(const std::string& database, const std::string& user, const Pool* except) {
  for (auto& [key, pool] : pools_) {
    if (pool.get() == except) continue;
    if (!database.empty() && pool->database_name() != database) continue;
    if (!user.empty() && pool->user_name() != user) continue;
    if (pool->evict_idle()) return true;
  }
  return false;
}

// ---- Clients
// -----------------------------------------------------------------------------------------------------------

void Worker::hand_over(Client& client, int to) {
  std::unique_ptr<DetachedStream> detached;
  std::unique_ptr<ClientLogin> login = client.move_away(detached);
  // A shared_ptr, because a task must be copyable.
  auto parcel = std::make_shared<std::pair<std::unique_ptr<DetachedStream>, std::unique_ptr<ClientLogin>>>(
      std::move(detached), std::move(login));
  runtime_.post(to, [&shared = shared_, to, parcel] {
    shared.workers[static_cast<size_t>(to)]->adopt(std::move(parcel->first), std::move(parcel->second));
  });
}

void Worker::adopt(std::unique_ptr<DetachedStream> detached, std::unique_ptr<ClientLogin> login) {
  const uint64_t id = next_connection_id();
  auto owned = std::make_unique<Client>(*this, id);
  Client& client = *owned;
  clients_.emplace(client.cancel_pid(), std::move(owned));
  statistics().clients.set(clients_.size());
  StreamPtr stream = runtime_.attach(std::move(detached), client);
  client.attach(std::move(stream), std::move(login));
}

Client* Worker::find_client(uint32_t cancel_pid) {
  const auto at = clients_.find(cancel_pid);
  return at == clients_.end() ? nullptr : at->second.get();
}

size_t Worker::pooled_client_count() const {
  return static_cast<size_t>(std::count_if(clients_.begin(), clients_.end(),
                                           [](const auto& entry) { return entry.second->pool() != nullptr; }));
}

size_t Worker::server_count() const {
  size_t count = 0;
  for (const auto& [key, pool] : pools_) count += pool->server_count();
  return count;
}

// ---- Cancel
// ------------------------------------------------------------------------------------------------------------

void Worker::route_cancel(uint32_t pid, std::string secret, uint64_t request_id) {
  const int owner = static_cast<int>(pid & ((1u << kWorkerBits) - 1));
  Runtime& runtime = runtime_;
  Shared& shared = shared_;
  const int here = index_;
  // The connection that the request came on may be gone by then, so it is looked up again.
  auto done = [&runtime, &shared, here, request_id] {
    runtime.post(here, [&shared, here, request_id] {
      Worker& worker = *shared.workers[static_cast<size_t>(here)];
      Client* request = worker.find_client(static_cast<uint32_t>(request_id & 0x7fffffff));
      if (request != nullptr && request->id() == request_id) request->close_quietly("cancel request done");
    });
  };
  if (owner >= shared.worker_count) return done();
  if (owner == index_) return cancel_here(pid, secret, done);
  runtime.post(owner, [&shared, owner, pid, secret = std::move(secret), done] {
    shared.workers[static_cast<size_t>(owner)]->cancel_here(pid, secret, done);
  });
}

void Worker::cancel_here(uint32_t pid, const std::string& secret, std::function<void()> done) {
  Client* client = find_client(pid);
  if (client == nullptr || !client->checks_cancel_secret(secret)) {
    log(LogLevel::info, fmt::format("cancel request for an unknown client or with a wrong key (process id {})", pid));
    return done();
  }
  Server* server = client->server();
  if (client->state() == ClientState::console) {
    client->cancel_console_command();
  } else if (client->state() == ClientState::waiting) {
    client->cancel_while_waiting();
  } else if (client->state() == ClientState::active && !server->nothing_outstanding()) {
    return send_cancel(*server, std::move(done));
  }
  done();
}

void Worker::send_cancel(Server& server, std::function<void()> done) {
  auto cancel = std::make_unique<CancelConnection>(*this, server, std::move(done));
  cancels_.emplace(cancel.get(), std::move(cancel));
}

// ---- Operations
// --------------------------------------------------------------------------------------------------------

void Worker::apply_settings(SettingsPtr settings) {
  settings_ = std::move(settings);
  for (auto& [key, pool] : pools_) {
    if (pool->requester() != nullptr) {
      // It has an entry of its own making, and gets the new one with the next question.
    } else if (const DatabaseSettings* entry = database_entry(pool->database_name())) {
      const bool same_user = entry->user.empty() || entry->user == pool->user_name();
      if (same_user) pool->set_database(*entry);
      if (!same_user) pool->close_clients({sqlstate::kAdminShutdown, "database configuration changed", "", ""});
    } else {
      pool->close_clients({sqlstate::kAdminShutdown, "database removed from the configuration", "", ""});
      pool->mark_all_servers();
    }
    pool->apply_settings();
  }
}

void Worker::upstream_changed(const Upstream& upstream) {
  for (auto& [key, pool] : pools_) {
    if (pool->upstream() == &upstream) pool->upstream_changed();
  }
}

std::vector<ConnectionRow> Worker::list_connections(bool servers) const {
  std::vector<ConnectionRow> rows;
  if (!servers) {
    for (const auto& [pid, client] : clients_) {
      // Those that have not said yet who they are, are nobody's.
      if (client->state() != ClientState::login || client->pool() != nullptr) rows.push_back(client->row());
    }
    return rows;
  }
  for (const auto& [key, pool] : pools_) {
    for (Server* server = pool->first_server(); server != nullptr; server = Pool::ServerList::next(*server)) {
      rows.push_back(server->row());
    }
  }
  return rows;
}

bool Worker::concerns(const OperationRequest& request, const Pool& pool) {
  return request.database.empty() || pool.database_name() == request.database;
}

void Worker::close_clients_of(const std::function<bool(const Pool&)>& of, const protocol::ProtocolError& error) {
  std::vector<Client*> doomed;
  for (const auto& [pid, client] : clients_) {
    if (client->pool() != nullptr && of(*client->pool())) doomed.push_back(client.get());
  }
  for (Client* client : doomed) client->fail(error);
}

void Worker::operate(const OperationRequest& request, std::function<void(std::string)> done) {
  int64_t deadline_us = TimerWheel::kNever;
  const auto each_concerned = [&](auto visit) {
    for (auto& [key, pool] : pools_) {
      if (concerns(request, *pool)) visit(*pool);
    }
  };
  switch (request.operation) {
    case Operation::pause:
      each_concerned([](Pool& pool) { pool.pause(); });
      break;
    case Operation::resume:
      resume();
      each_concerned([](Pool& pool) { pool.launch(); });
      break;
    case Operation::disable:
    case Operation::enable:
      break;  // the shared flag says it all
    case Operation::kill:
      close_clients_of([&](const Pool& pool) { return concerns(request, pool); },
                       {sqlstate::kAdminShutdown, "database was killed by an administrator", "", ""});
      each_concerned([](Pool& pool) { pool.close_all_servers("database was killed by an administrator"); });
      break;
    case Operation::reconnect:
      each_concerned([](Pool& pool) { pool.mark_all_servers(); });
      break;
    case Operation::wait_close:
      break;
    case Operation::suspend:
      suspend();
      deadline_us = now_us() + settings_->suspend_timeout_us;
      break;
    case Operation::kill_client: {
      Client* client = find_client(static_cast<uint32_t>(request.client_id & 0x7fffffff));
      if (client == nullptr || client->cancel_pid() != request.client_id) return done("client not found");
      client->fail({sqlstate::kAdminShutdown, "admin forced disconnect", "", ""});
      return done("");
    }
  }
  pending_.push_back({request, deadline_us, std::move(done)});
  review_soon();
}

/// Whether what the operation waits for has come.
bool Worker::complete(const PendingOperation& operation) {
  const OperationRequest& request = operation.request;
  switch (request.operation) {
    case Operation::pause:
      return std::none_of(pools_.begin(), pools_.end(), [&](const auto& entry) {
        return concerns(request, *entry.second) && entry.second->server_count() > 0;
      });
    case Operation::wait_close:
      return std::none_of(pools_.begin(), pools_.end(), [&](const auto& entry) {
        return concerns(request, *entry.second) && entry.second->has_marked_servers();
      });
    case Operation::suspend:
      return everything_sent() || now_us() >= operation.deadline_us;
    default:
      return true;
  }
}

void Worker::review() {
  review_ = false;
  std::vector<PendingOperation> still;
  std::vector<std::function<void(std::string)>> complete_ones;
  for (PendingOperation& operation : pending_) {
    if (complete(operation)) {
      complete_ones.push_back(std::move(operation.done));
    } else {
      // Sending is nobody's event: whoever waits for it is looked at in each turn.
      if (operation.request.operation == Operation::suspend) review_ = true;
      still.push_back(std::move(operation));
    }
  }
  pending_ = std::move(still);
  for (const auto& done : complete_ones) done("");
}

void Worker::suspend() {
  suspended_ = true;
  for (const auto& [pid, client] : clients_) {
    client->update_reading();
  }
  for (auto& [key, pool] : pools_) pool->update_reading();
}

void Worker::resume() {
  if (!std::exchange(suspended_, false)) return;
  for (const auto& [pid, client] : clients_) client->update_reading();
  for (auto& [key, pool] : pools_) pool->update_reading();
}

bool Worker::everything_sent() const {
  const bool clients = std::all_of(clients_.begin(), clients_.end(), [](const auto& entry) {
    return entry.second->state() == ClientState::console || entry.second->unsent_bytes() == 0;
  });
  return clients &&
         std::all_of(pools_.begin(), pools_.end(), [](const auto& entry) { return entry.second->everything_sent(); });
}

void Worker::stop_accepting_clients(protocol::ProtocolError reason) {
  refusing_clients_ = true;
  refusal_ = std::move(reason);
}

void Worker::drop_clients_without_server(const protocol::ProtocolError& reason) {
  std::vector<Client*> doomed;
  for (const auto& [pid, client] : clients_) {
    if (client->state() != ClientState::console && client->server() == nullptr) doomed.push_back(client.get());
  }
  for (Client* client : doomed) client->fail(reason);
}

void Worker::close_everything(const protocol::ProtocolError& reason) {
  std::vector<Client*> doomed;
  for (const auto& [pid, client] : clients_) doomed.push_back(client.get());
  for (Client* client : doomed) client->fail(reason);
  for (auto& [key, pool] : pools_) pool->close_all_servers(reason.message);
  cancels_.clear();
}

}  // namespace bezel::pool
