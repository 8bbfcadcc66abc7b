#pragma once

#include <atomic>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "pool/auth_connection.h"
#include "pool/auth_query.h"
#include "pool/cancel.h"
#include "pool/client.h"
#include "pool/client_login.h"
#include "pool/console.h"
#include "pool/fleet.h"
#include "pool/limits.h"
#include "pool/login_throttle.h"
#include "pool/parameters.h"
#include "pool/password_checker.h"
#include "pool/pool.h"
#include "pool/prepared_statements.h"
#include "pool/runtime.h"
#include "pool/server_login.h"
#include "pool/statistics.h"
#include "pool/timer_wheel.h"
#include "pool/upstream.h"
#include "protocol/cancel_key.h"

namespace bezel::pool {

class Worker;

/// What the workers of a process share.
struct Shared {
  explicit Shared(int count) : statistics(count), worker_count(count) {}
  Directory directory;
  StatisticsRegistry statistics;
  LoginThrottle throttle;
  AuthCache auth_cache;
  UpstreamTable upstreams;
  ConsoleFactory* console = nullptr;
  PasswordChecker* passwords = nullptr;  ///< for methods pam and ldap
  int worker_count;
  /// Set once before the workers start; indexed by worker. For use in tasks posted to that worker.
  std::vector<Worker*> workers;
  /// Random, made at start: cancel secrets and the salts of unknown users come from it.
  std::string secret;
  std::atomic<uint64_t> next_id{1};
};

/// The pooler of one event loop: its clients, and the pools that live on it. Everything is called by that loop's
/// thread.
class Worker {
 public:
  Worker(int index, Runtime& runtime, Shared& shared, SettingsPtr settings);
  ~Worker();
  Worker(const Worker&) = delete;
  Worker& operator=(const Worker&) = delete;

  // ---- For the event loop ----

  /// A connection was accepted: who takes its events; nullptr if it is not wanted.
  ByteStream::Events* accept(StreamPtr stream);
  void run_timers() { timers_.advance(runtime_.now_us()); }
  int64_t next_timer_us() const { return timers_.next_deadline_us(); }
  /// After all of the turn has been sent: destroys what has ended in it.
  void end_turn();

  // ---- Operations (from tasks posted to this worker) ----

  void apply_settings(SettingsPtr settings);
  /// Something is to be looked at again by the pools that lead to it.
  void upstream_changed(const Upstream& upstream);
  std::vector<ConnectionRow> list_connections(bool servers) const;
  /// `done` is called when the operation is complete on this worker.
  void operate(const OperationRequest& request, std::function<void(std::string)> done);
  /// Refuses clients from now on, except the console's.
  void stop_accepting_clients(protocol::ProtocolError reason);
  /// Drops clients that wait for a server, or have none (SHUTDOWN WAIT_FOR_SERVERS).
  void drop_clients_without_server(const protocol::ProtocolError& reason);
  /// Drops everything at once.
  void close_everything(const protocol::ProtocolError& reason);
  size_t client_count() const { return clients_.size(); }
  size_t pooled_client_count() const;
  size_t server_count() const;

  // ---- For clients, servers and pools ----

  int index() const { return index_; }
  Runtime& runtime() { return runtime_; }
  const Runtime& runtime() const { return runtime_; }
  Shared& shared() { return shared_; }
  const Settings& settings() const { return *settings_; }
  const SettingsPtr& settings_ptr() const { return settings_; }
  int64_t now_us() const { return runtime_.now_us(); }
  TimerWheel& timers() { return timers_; }
  ParameterTable& parameters() { return parameters_; }
  StatementTable& statements() { return statements_; }
  WorkerStatistics& statistics() { return shared_.statistics.worker(index_); }
  uint64_t next_connection_id();
  protocol::CancelSecrets& cancel_secrets() { return cancel_secrets_; }

  /// The worker on which the pool of (database, server user) lives.
  int home_of(std::string_view database, std::string_view user) const;
  /// The pool, made if need be. `database` is the name that clients use.
  Pool& pool_of(const DatabaseSettings& entry, const std::string& database, const std::string& user);
  /// The pool of a requester, under a key of its own kind.
  Pool& add_requester_pool(const std::string& key, const DatabaseSettings& entry, const std::string& database,
                           PoolRequester& requester);
  /// REQUIRES: it has no servers.
  void remove_requester_pool(const std::string& key) { pools_.erase(key); }
  /// What is known about a user goes to `known`, and true is returned; else it is asked for, and `later` called once,
  /// on any worker's thread.
  bool find_secret(const AuthSource& source, const std::string& user, AuthReply& known, AuthCache::Waiter later);
  /// The entry for a database name: its own, or "*"; nullptr if there is neither.
  const DatabaseSettings* database_entry(std::string_view name) const;
  const UserSettings* user_entry(std::string_view name) const;

  /// Moves a client that is logging in to another worker.
  void hand_over(Client& client, int to);
  void adopt(std::unique_ptr<DetachedStream> detached, std::unique_ptr<ClientLogin> login);
  Client* find_client(uint32_t cancel_pid);
  Client* find_client_by_id(uint64_t id);
  /// Passes a cancel request on to the worker that has the client (maybe this one). The connection that it came on, the
  /// client `request_id` here, is closed when the request has reached the server, or is known to be for nobody.
  void route_cancel(uint32_t pid, std::string secret, uint64_t request_id);
  /// Sends a cancel request for what the server is working at; `done` (may be null) follows when PostgreSQL has it.
  void send_cancel(Server& server, std::function<void()> done);

  /// Destroys it at the end of the turn.
  void bury(Client& client);
  void bury(std::unique_ptr<Server> server);
  void bury(std::unique_ptr<ClientLogin> login) { dead_client_logins_.push_back(std::move(login)); }
  void bury(std::unique_ptr<ServerLogin> login) { dead_server_logins_.push_back(std::move(login)); }
  void bury(std::unique_ptr<ConsoleSession> session) { dead_sessions_.push_back(std::move(session)); }
  void bury(CancelConnection& connection);
  /// Keeps bytes that were written to a stream until they have left; they stay where the returned reference says.
  const std::string& keep_until_end_of_turn(std::string bytes) { return kept_.emplace_back(std::move(bytes)); }
  /// Makes some pool give up an idle server of that database, or of that user (the other one is empty).
  void ask_for_eviction(const std::string& database, const std::string& user, const Pool* asking);
  bool evict_idle_here(const std::string& database, const std::string& user, const Pool* except);
  /// Ends all clients of the pools that `of` is true for.
  void close_clients_of(const std::function<bool(const Pool&)>& of, const protocol::ProtocolError& error);
  bool suspended() const { return suspended_; }
  /// Why new clients are refused; nullptr: they are not.
  const protocol::ProtocolError* refusal() const { return refusing_clients_ ? &refusal_ : nullptr; }
  /// Something happened that may complete an operation, or end a pool.
  void review_soon() { review_ = true; }
  void log(LogLevel level, std::string_view line) const { runtime_.log(level, line); }

  template <typename Visit>
  void each_pool(Visit visit) {
    for (auto& [key, pool] : pools_) visit(*pool);
  }

 private:
  void ask_for_secret(const AuthSource& source, const std::string& user);
  struct PendingOperation {
    OperationRequest request;
    int64_t deadline_us;  // TimerWheel::kNever: none
    std::function<void(std::string)> done;
  };
  bool complete(const PendingOperation& operation);
  void review();
  void janitor();
  void warm_up_pools();
  void end_unused_pools();
  static bool concerns(const OperationRequest& request, const Pool& pool);
  void cancel_here(uint32_t pid, const std::string& secret, std::function<void()> done);
  void suspend();
  void resume();
  bool everything_sent() const;

  int index_;
  Runtime& runtime_;
  Shared& shared_;
  SettingsPtr settings_;
  TimerWheel timers_;
  ParameterTable parameters_;
  StatementTable statements_;
  protocol::CancelSecrets cancel_secrets_;
  std::unordered_map<std::string, std::unique_ptr<Pool>> pools_;
  std::unique_ptr<AuthConnections> auth_connections_;
  std::unordered_map<uint32_t, std::unique_ptr<Client>> clients_;  // by cancel PID
  std::unordered_map<CancelConnection*, std::unique_ptr<CancelConnection>> cancels_;
  uint64_t next_sequence_ = 0;

  std::vector<std::unique_ptr<Client>> dead_clients_;
  std::vector<std::unique_ptr<Server>> dead_servers_;
  std::vector<std::unique_ptr<CancelConnection>> dead_cancels_;
  std::vector<std::unique_ptr<ClientLogin>> dead_client_logins_;
  std::vector<std::unique_ptr<ServerLogin>> dead_server_logins_;
  std::vector<std::unique_ptr<ConsoleSession>> dead_sessions_;
  std::deque<std::string> kept_;
  std::vector<PendingOperation> pending_;
  bool review_ = false;
  bool suspended_ = false;
  bool refusing_clients_ = false;
  protocol::ProtocolError refusal_;
  Timer janitor_;
};

}  // namespace bezel::pool
