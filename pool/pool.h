#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "pool/client.h"
#include "pool/intrusive_list.h"
#include "pool/learned_secret.h"
#include "pool/limits.h"
#include "pool/server.h"
#include "pool/statistics.h"
#include "pool/timer_wheel.h"
#include "pool/upstream.h"
#include "protocol/error_response.h"

namespace bezel::pool {

class PoolRequester;
class Worker;

/// The settings of one pool: the user's before the database's before the global ones.
struct PoolLimits {
  PoolMode mode = PoolMode::transaction;
  int pool_size = 0;  ///< at least 1
  int min_pool_size = 0;
  int reserve_pool_size = 0;
  int max_db_connections = 0;    ///< 0: none
  int max_user_connections = 0;  ///< 0: none
  int64_t server_lifetime_us = 0;
  int64_t server_idle_timeout_us = 0;
  int64_t query_timeout_us = 0;
  int64_t idle_transaction_timeout_us = 0;
  int64_t transaction_timeout_us = 0;
  int64_t client_idle_timeout_us = 0;
};

/// All server connections of one (database, user), and the clients that want them. Belongs to one worker.
///
/// Promises: clients are served in the order in which they began to wait; a server is with one client at a time; never
/// more servers than the limits say, at any moment, logins included.
class Pool {
 public:
  Pool(Worker& worker, DatabaseSettings database, std::shared_ptr<DatabaseShare> database_share,
       std::shared_ptr<UserShare> user_share, PoolRequester* requester = nullptr);
  ~Pool();
  Pool(const Pool&) = delete;
  Pool& operator=(const Pool&) = delete;

  Worker& worker() { return worker_; }
  const std::string& database_name() const { return database_share_->name; }
  /// The user that servers are logged in as.
  const std::string& user_name() const { return user_share_->name; }
  const DatabaseSettings& database() const { return database_; }
  DatabaseShare& database_share() { return *database_share_; }
  UserShare& user_share() { return *user_share_; }
  const PoolLimits& limits() const { return limits_; }
  PoolStatistics& statistics() { return *statistics_; }
  /// Who uses it instead of clients, mostly nobody (nullptr).
  PoolRequester* requester() const { return requester_; }
  /// Says where servers are; nullptr: the database's hosts are all the same to it.
  Upstream* upstream() const { return upstream_.get(); }
  /// What it asks of the upstream.
  const Wanted& wanted() const { return wanted_; }
  /// A client's login has found it out about the user of the servers.
  void learn_secret(const protocol::StoredSecret& secret, std::optional<PassedKeys> keys, bool from_query);
  const LearnedSecret& learned_secret() const { return learned_secret_; }

  // ---- Clients ----

  /// Gives the client a server (client.server() is set on return, and true returned), or puts it into the queue.
  bool acquire(Client& client);
  void stop_waiting(Client& client);
  void add_client();
  void remove_client();
  size_t client_count() const { return clients_; }
  size_t waiting_count() const { return waiting_.size(); }

  /// What servers report at login; empty before the first login.
  const ReportedParameters& defaults() const { return defaults_; }
  /// What a startup parameter's value becomes on a server, if it has been accepted by one.
  const std::string* accepted_parameter(std::string_view key, std::string_view value) const;
  void accept_parameter(std::string_view key, std::string_view value, std::string_view reported);

  /// What has become of a client that was using a server which was lost.
  void count_loss(Upstream::Outcome outcome) {
    if (upstream_) upstream_->count(outcome);
  }

  // ---- Servers ----

  void server_logged_in(Server& server);
  /// `by_learned_secret`: because what has been learned about the user does not fit.
  void server_login_failed(Server& server, const protocol::ProtocolError& error, bool by_learned_secret);
  /// Why clients wait for a server, as far as it is known.
  std::string wait_reason() const;
  /// It has logged in, and is not what the database asks for.
  void server_refused(Server& server);
  /// A server is free and clean: to the first waiting client, into the pool, or closed.
  void server_free(Server& server);
  /// The server's connection has ended; the object is destroyed at the end of the turn.
  void server_closed(Server& server, bool was_logging_in);
  /// For the gauges: a server of this pool goes from one state to another.
  void count_state(ServerState from, ServerState to);
  /// How many servers are to be left, and busy, because the upstream leads elsewhere.
  void count_leaving(int change) { leaving_ += change; }
  size_t server_count() const { return servers_.size(); }
  Server* first_server() const { return servers_.front(); }
  /// Opens what is missing: for those who wait, and for min_pool_size.
  void launch();
  /// The requester has something for a server to do.
  void serve_requester();
  /// Closes one idle server so that another pool can have its slot; false if there is none.
  bool evict_idle();
  /// Whether there are more servers than min_pool_size, so that an idle one may go.
  bool may_shrink() const;

  // ---- Operations ----

  void apply_settings();
  /// Takes a changed entry of the configuration: servers opened for the old one are closed when free.
  void set_database(const DatabaseSettings& database);
  /// The upstream has another primary, say, or other members, or is held no more.
  void upstream_changed();
  void pause();
  void update_reading();
  bool everything_sent() const;
  void close_clients(const protocol::ProtocolError& error);
  void close_all_servers(std::string_view reason);
  void mark_all_servers();  // RECONNECT
  bool has_marked_servers() const;
  /// From time to time: ends connections to hosts that are gone.
  void look_for_dead_hosts();
  /// True if nothing uses it and it has been so for autodb_idle_timeout.
  bool disposable(int64_t now_us) const;

  using ServerList = IntrusiveList<Server, &Server::all_hook>;
  using WaitList = IntrusiveList<Client, &Client::wait_hook>;
  const WaitList& waiting() const { return waiting_; }

 private:
  bool paused() const { return database_share_->paused.load(std::memory_order_relaxed); }
  /// Clients get no server now.
  bool on_hold() const { return paused() || (upstream_ && upstream_->held()); }
  Server* take_idle();
  bool serve_beyond_checks(const Client* newcomer);
  void assign(Client& client, Server& server);
  void enqueue(Client& client);
  bool take_slots();
  bool take_free_slots();
  bool give_slots_back();
  void slot_came_free();
  bool take_slot(SlotCount& slots, int limit, SlotWaiters& waiters, bool of_database);
  Counter* gauge(ServerState state);
  bool open_server(const Wanted& wanted);
  std::optional<HostAddress> choose_host(const Wanted& wanted);
  std::optional<HostAddress> choose_member(const Wanted& wanted);
  bool all_hosts_refuse() const;
  void note_failure(const Server& server, const protocol::ProtocolError& error);
  bool misses_who_refused(int64_t now_us);
  bool is_makeshift(const Server& server) const;
  void ask_again_who_refused();
  bool must_check(const Server& server) const;
  void login_ended(Server& server);
  void secret_asked_again(LearnedSecret::Change change);
  bool refuses_clients() const;
  bool remove_server(Server& server);
  size_t for_waiting() const;
  bool seeks_primary() const;
  size_t missing_servers() const;
  int size_limit(int64_t now_us) const;
  void close_idle_servers(std::string_view reason);
  void count_clients();
  void fail_waiting(const protocol::ProtocolError& error);

  Worker& worker_;
  DatabaseSettings database_;
  std::shared_ptr<DatabaseShare> database_share_;
  std::shared_ptr<UserShare> user_share_;
  std::shared_ptr<Upstream> upstream_;
  Wanted wanted_;
  PoolLimits limits_;
  PoolRequester* const requester_;
  LearnedSecret learned_secret_{*this};
  std::shared_ptr<PoolStatistics> statistics_;
  std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);  // for callbacks that come later

  ServerList servers_;
  IntrusiveList<Server, &Server::idle_hook> idle_;  // the one used last at the back
  WaitList waiting_;
  size_t clients_ = 0;
  int logging_in_ = 0;
  int leaving_ = 0;
  int checking_ = 0;  // servers that run server_check_query
  bool closing_ = false;

  ReportedParameters defaults_;
  std::unordered_map<std::string, std::string> accepted_parameters_;

  Timer timer_;
  int64_t retry_at_us_ = 0;                  // no connection is opened before, after one failed
  std::optional<HostAddress> refused_host_;  // whose login was not used last
  int64_t refused_until_us_ = 0;             // not dialled before
  bool last_login_failed_ = false;
  protocol::ProtocolError last_login_error_;
  int64_t unused_since_us_ = 0;
};

}  // namespace bezel::pool
