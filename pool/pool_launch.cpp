// When a pool opens server connections: how many, by which limits, and to which server.

#include <algorithm>

#include "pool/pool.h"
#include "pool/pool_requester.h"
#include "pool/worker.h"

namespace bezel::pool {
namespace {

/// Logins to servers that one pool has under way at once: enough to fill a pool quickly, few enough for PostgreSQL to
/// keep serving meanwhile.
constexpr int kParallelLoginsMax = 10;

/// How many connections a requester may have while it is not known where its one server is.
constexpr int kRequesterTriesMax = 4;

}  // namespace

int Pool::size_limit(int64_t now_us) const {
  if (requester_ != nullptr && seeks_primary()) return kRequesterTriesMax;
  if (limits_.reserve_pool_size <= 0 || waiting_.empty()) return limits_.pool_size;
  const int64_t timeout_us = worker_.settings().reserve_pool_timeout_us;
  const bool late = timeout_us > 0 && now_us - waiting_.front()->wait_since_us() >= timeout_us;
  return limits_.pool_size + (late ? limits_.reserve_pool_size : 0);
}

/// How many more servers would be of use now.
size_t Pool::for_waiting() const {
  if (requester_ != nullptr) return requester_->wants_server() && servers_.empty() ? 1 : 0;
  // A server that is lost may never answer a check.
  const bool changing = upstream_ && upstream_->changing();
  const size_t coming = static_cast<size_t>(logging_in_ + (changing ? 0 : checking_));
  // Clients that are busy on the old primary, which may never answer, wait for the new one as well.
  const size_t wanted = std::max<size_t>(waiting_.size(), changing && leaving_ > 0 ? 1 : 0);
  return wanted > coming ? wanted - coming : 0;
}

/// Whether somebody waits until it is known who the primary is.
bool Pool::seeks_primary() const {
  if (!upstream_ || !upstream_->changing()) return false;
  if (requester_ != nullptr) return requester_->wants_server();
  return !waiting_.empty() || leaving_ > 0;
}

size_t Pool::missing_servers() const {
  const size_t minimum = static_cast<size_t>(limits_.min_pool_size);
  // Clients of other pools who wait for a slot come before servers that nobody waits for.
  const bool slots_are_short = database_share_->server_waiters.any() || user_share_->server_waiters.any();
  const size_t for_minimum = servers_.size() < minimum && !slots_are_short ? minimum - servers_.size() : 0;
  return std::max(for_waiting(), for_minimum);
}

void Pool::launch() {
  if (paused() || closing_) return;
  const int64_t now = worker_.now_us();
  size_t missing = missing_servers();
  if (misses_who_refused(now)) ask_again_who_refused();
  // Until the primary is known, all who may be it are asked at once, also while some of them hang.
  if (upstream_ && (missing > 0 || seeks_primary())) {
    missing = std::max(missing, upstream_->tries_wanted(database_.target_session_attrs, now));
  }
  while (missing > 0 && static_cast<int>(servers_.size()) < size_limit(now)) {
    if (retry_at_us_ > now) {
      worker_.timers().schedule_no_later(timer_, retry_at_us_);
      return;
    }
    // While logins fail, one at a time finds out whether they still do.
    if (logging_in_ >= (last_login_failed_ ? 1 : kParallelLoginsMax)) return;
    if (!open_server(wanted_)) return;
    missing--;
  }
  if (missing > 0 && limits_.reserve_pool_size > 0 && !waiting_.empty()) {
    const int64_t reserve_at = waiting_.front()->wait_since_us() + worker_.settings().reserve_pool_timeout_us;
    if (reserve_at > now) worker_.timers().schedule_no_later(timer_, reserve_at);
  }
}

bool Pool::take_slots() {
  if (requester_ != nullptr) return true;
  if (for_waiting() == 0) return take_free_slots();
  if (!take_slot(database_share_->servers, limits_.max_db_connections, database_share_->server_waiters, true))
    return false;
  if (take_slot(user_share_->servers, limits_.max_user_connections, user_share_->server_waiters, false)) return true;
  database_share_->servers.give_back();
  database_share_->server_waiters.wake_next();
  return false;
}

/// For min_pool_size: takes them if they are free, and troubles nobody else.
bool Pool::take_free_slots() {
  if (!database_share_->servers.take(limits_.max_db_connections)) return false;
  if (user_share_->servers.take(limits_.max_user_connections)) return true;
  database_share_->servers.give_back();
  database_share_->server_waiters.wake_next();
  return false;
}

bool Pool::take_slot(SlotCount& slots, int limit, SlotWaiters& waiters, bool of_database) {
  if (slots.take(limit)) return true;
  waiters.wait(this, [&runtime = worker_.runtime(), index = worker_.index(), alive = alive_, this] {
    runtime.post(index, [alive, this] {
      if (*alive) slot_came_free();
    });
  });
  // A slot may have been given back between the two.
  if (slots.take(limit)) {
    waiters.forget(this);
    return true;
  }
  worker_.ask_for_eviction(of_database ? database_share_->name : std::string(),
                           of_database ? std::string() : user_share_->name, this);
  return false;
}

/// Returns whether another pool was waiting for them.
bool Pool::give_slots_back() {
  if (requester_ != nullptr) return false;
  database_share_->servers.give_back();
  user_share_->servers.give_back();
  const bool of_database = database_share_->server_waiters.wake_next();
  return user_share_->server_waiters.wake_next() || of_database;
}

/// This pool was the next to get a slot. If it has no use for it now, or lacks another one too, the next may take it.
void Pool::slot_came_free() {
  const size_t before = servers_.size();
  if (for_waiting() > 0) launch();
  if (servers_.size() > before) return;
  if (!database_share_->server_waiters.has(this)) database_share_->server_waiters.wake_next();
  if (!user_share_->server_waiters.has(this)) user_share_->server_waiters.wake_next();
}

/// Of the upstream. Nothing: nobody to be tried now; it is looked again later.
std::optional<HostAddress> Pool::choose_member(const Wanted& wanted) {
  const int64_t now = worker_.now_us();
  const Upstream::Choice choice = upstream_->choose(wanted, now);
  if (!choice.address) {
    worker_.timers().schedule_no_later(timer_, choice.retry_at_us);
  } else if (choice.address == refused_host_ && now < refused_until_us_) {
    upstream_->not_dialled(*choice.address);
    worker_.timers().schedule_no_later(timer_, refused_until_us_);
    return std::nullopt;
  }
  return choice.address;
}

bool Pool::all_hosts_refuse() const {
  const int64_t now = worker_.now_us();
  return std::all_of(database_.hosts.begin(), database_.hosts.end(),
                     [&](const HostAddress& host) { return wanted_.refusals.bars(host, now); });
}

std::optional<HostAddress> Pool::choose_host(const Wanted& wanted) {
  if (upstream_) return choose_member(wanted);
  const size_t hosts = database_.hosts.size();
  std::atomic<uint32_t>& next = database_share_->next_host;
  if (database_.load_balance_hosts == LoadBalanceHosts::round_robin || last_login_failed_) {
    next.fetch_add(1, std::memory_order_relaxed);
  }
  const size_t first = next.load(std::memory_order_relaxed);
  for (size_t i = 0; i < hosts; i++) {
    const HostAddress& host = database_.hosts[(first + i) % hosts];
    if (!wanted.refusals.bars(host, worker_.now_us())) return host;
  }
  // All refuse, and it is time to ask one of them.
  return database_.hosts[first % hosts];
}

bool Pool::open_server(const Wanted& wanted) {
  const std::optional<HostAddress> host = choose_host(wanted);
  if (!host) return false;
  if (!take_slots()) {
    if (upstream_) upstream_->not_dialled(*host);
    return false;
  }
  // One login is enough to find out whether it still refuses them.
  if (wanted_.refusals.has(*host)) {
    wanted_.refusals.add(*host, worker_.now_us() + worker_.settings().server_login_retry_us);
  }
  logging_in_++;
  servers_.push_back(*new Server(*this, upstream_, *host, worker_.next_connection_id()));
  return true;
}

/// Whether it would be left if nobody refused logins.
bool Pool::is_makeshift(const Server& server) const {
  const bool is_open = server.state() != ServerState::login && server.state() != ServerState::closed;
  return is_open && server.upstream() == upstream_.get() &&
         !upstream_->serves(server.host(), {wanted_.attrs, wanted_.lag_bytes_max});
}

/// Whether readers are on the primary because a replica refused them, and that may be asked again.
bool Pool::misses_who_refused(int64_t now_us) {
  const Refusals::Refusal* refusal = wanted_.refusals.next();
  if (!upstream_ || requester_ != nullptr || refusal == nullptr) return false;
  if (now_us < refusal->until_us) {
    worker_.timers().schedule_no_later(timer_, refusal->until_us);
    return false;
  }
  if (!upstream_->serves(refusal->host, {TargetSessionAttrs::standby, wanted_.lag_bytes_max})) return false;
  for (const Server* server = servers_.front(); server != nullptr; server = ServerList::next(*server)) {
    if (is_makeshift(*server)) return true;
  }
  return false;
}

/// By one more connection, for which another one goes if there are as many as there may be.
void Pool::ask_again_who_refused() {
  if (static_cast<int>(servers_.size()) < size_limit(worker_.now_us())) {
    open_server({TargetSessionAttrs::standby, wanted_.lag_bytes_max, wanted_.refusals});
    return;
  }
  Server* makeshift = nullptr;
  for (Server* server = servers_.front(); server != nullptr; server = ServerList::next(*server)) {
    if (!is_makeshift(*server)) continue;
    if (server->marked_to_close()) return;
    if (makeshift == nullptr || server->state() == ServerState::idle) makeshift = server;
  }
  if (makeshift->state() != ServerState::idle) return makeshift->mark_to_close();
  makeshift->close("a replica may take logins again");
}

}  // namespace bezel::pool
