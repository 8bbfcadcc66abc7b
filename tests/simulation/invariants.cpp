#include "tests/simulation/invariants.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "tests/simulation/backend.h"
#include "tests/simulation/client.h"
#include "tests/simulation/world.h"

namespace bezel::simulation {

using pool::Client;
using pool::Pool;
using pool::Server;
using pool::ServerState;

namespace {

/// Bytes that a connection may have in its buffers: what congestion allows, and what one turn may bring on top.
constexpr uint64_t kBufferBytesMax = 256 * 1024;

/// A search for the primary waits so long for a host that does not answer.
constexpr int64_t kSearchUs = 6'000'000;

template <typename Visit>
void each_server(Pool& pool, Visit visit) {
  for (Server* server = pool.first_server(); server != nullptr; server = Pool::ServerList::next(*server))
    visit(*server);
}

/// The pools that clients have; those that ask for secrets take no part in their limits.
template <typename Visit>
void each_pool_of_clients(pool::Worker& worker, Visit visit) {
  worker.each_pool([&](Pool& pool) {
    if (pool.requester() == nullptr) visit(pool);
  });
}

size_t count_servers(Pool& pool, ServerState state) {
  size_t count = 0;
  each_server(pool, [&](Server& server) { count += server.state() == state ? 1 : 0; });
  return count;
}

std::vector<std::pair<uint64_t, int64_t>> places(const Pool& pool) {
  std::vector<std::pair<uint64_t, int64_t>> list;
  for (const Client* client = pool.waiting().front(); client != nullptr; client = Pool::WaitList::next(*client)) {
    list.emplace_back(client->id(), client->wait_since_us());
  }
  return list;
}

}  // namespace

bool Invariants::on_hold(Pool& pool) const {
  return pool.database_share().paused.load() || (pool.upstream() != nullptr && pool.upstream()->held());
}

void Invariants::turn_begins(int worker) {
  each_pool_of_clients(*world_.workers()[static_cast<size_t>(worker)], [&](Pool& pool) {
    seen_[{pool.database_name(), pool.user_name()}].on_hold = on_hold(pool);
  });
}

std::set<uint64_t> Invariants::servers_of(int worker, const std::string& database) {
  std::set<uint64_t> ids;
  world_.workers()[static_cast<size_t>(worker)]->each_pool([&](Pool& pool) {
    if (!database.empty() && pool.database_name() != database) return;
    each_server(pool, [&](Server& server) { ids.insert(server.id()); });
  });
  return ids;
}

void Invariants::reconnected(int worker, const std::set<uint64_t>& servers) {
  retired_.insert(servers.begin(), servers.end());
  // Who has got one earlier in this turn may keep it.
  world_.workers()[static_cast<size_t>(worker)]->each_pool([&](Pool& pool) {
    Seen& seen = seen_[{pool.database_name(), pool.user_name()}];
    each_server(pool, [&](Server& server) {
      if (server.client() != nullptr && servers.contains(server.id())) {
        seen.links.emplace(server.client()->id(), server.id());
      }
    });
  });
}

void Invariants::check(int worker) {
  pool::Worker& checked = *world_.workers()[static_cast<size_t>(worker)];
  each_pool_of_clients(checked, [&](Pool& pool) {
    Seen& seen = seen_[{pool.database_name(), pool.user_name()}];
    check_servers(pool, seen);
    check_links(pool, seen);
    check_queue(pool, seen);
    check_launched(pool, seen);
    check_gauges(pool);
    seen.servers = pool.server_count();
  });
  check_limits();
  if (Cluster* cluster = world_.cluster()) cluster->check();
  if (world_.steps() % 16 == 0) check_memory(worker);
}

void Invariants::check_servers(Pool& pool, const Seen& seen) {
  std::set<const Client*> linked;
  each_server(pool, [&](Server& server) {
    const Client* client = server.client();
    if ((server.state() == ServerState::active) != (client != nullptr)) {
      world_.fail(fmt::format("server {} is active without a client, or has one without being active", server.id()));
    }
    if (client == nullptr) return;
    if (!linked.insert(client).second) world_.fail("a client has two servers");
    if (client->server() != &server) world_.fail(fmt::format("server {} and its client disagree", server.id()));
    const pool::ClientState state = client->state();
    // A message that has come only in part may keep a server that was lent for a login a little longer.
    const bool lent = state == pool::ClientState::idle;
    if (state != pool::ClientState::active && state != pool::ClientState::login && !lent) {
      world_.fail(fmt::format("client {} has a server without being active", client->id()));
    }
  });
  const auto limit = static_cast<size_t>(pool.limits().pool_size + pool.limits().reserve_pool_size);
  // A reload may lower the limit in the turn that opened them.
  if (pool.server_count() > limit && pool.server_count() > seen.servers && !world_.scenario().reloads) {
    world_.fail(fmt::format("pool {}/{} has {} servers, its limit is {}", pool.database_name(), pool.user_name(),
                            pool.server_count(), limit));
  }
}

/// A client has a server that it did not have before the turn.
void Invariants::check_new_link(Pool& pool, const Server& server, const Seen& seen) {
  const uint64_t client = server.client()->id();
  if (seen.on_hold && on_hold(pool)) {
    world_.fail(fmt::format("client {} gets server {}, and its pool is paused or held", client, server.id()));
  }
  if (retired_.contains(server.id())) {
    world_.fail(fmt::format("client {} gets server {}, which is from before RECONNECT", client, server.id()));
  }
  if (Cluster* cluster = world_.cluster()) cluster->check_link(pool, server);
}

void Invariants::check_links(Pool& pool, Seen& seen) {
  std::set<Link> links;
  each_server(pool, [&](Server& server) {
    if (server.state() == ServerState::idle && retired_.contains(server.id())) {
      world_.fail(fmt::format("server {} is idle after RECONNECT", server.id()));
    }
    if (server.client() == nullptr) return;
    links.emplace(server.client()->id(), server.id());
    if (!seen.links.contains({server.client()->id(), server.id()})) check_new_link(pool, server, seen);
  });
  seen.links = std::move(links);
}

/// First come, first served.
void Invariants::check_queue(Pool& pool, Seen& seen) {
  const std::vector<Place> waiting = places(pool);
  std::set<uint64_t> linked;
  each_server(pool, [&](Server& server) {
    if (server.client() != nullptr) linked.insert(server.client()->id());
  });
  const auto still_waits = [&](const Place& place) {
    return std::find(waiting.begin(), waiting.end(), place) != waiting.end();
  };
  const auto first = std::find_if(seen.waiting.begin(), seen.waiting.end(), still_waits);
  // Nobody who came later may have been served.
  for (const uint64_t id : linked) {
    if (first == seen.waiting.end() || seen.linked.contains(id)) continue;
    const bool came_earlier =
        std::any_of(seen.waiting.begin(), first, [&](const Place& place) { return place.first == id; });
    if (!came_earlier) {
      world_.fail(fmt::format("client {} was served before client {}, which waited longer", id, first->first));
    }
  }
  if (!std::is_sorted(waiting.begin(), waiting.end(),
                      [](const Place& a, const Place& b) { return a.second < b.second; })) {
    world_.fail("a queue is not in the order of arrival");
  }
  // Who waits for a server that is being checked has one in sight.
  const bool held = on_hold(pool) || world_.resume_under_way() || (world_.cluster() && world_.cluster()->holds());
  if (waiting.size() > count_servers(pool, ServerState::own_query) && count_servers(pool, ServerState::idle) > 0 &&
      !held) {
    world_.fail(
        fmt::format("pool {}/{}: a server is idle while a client waits", pool.database_name(), pool.user_name()));
  }
  seen.waiting = waiting;
  seen.linked = std::move(linked);
}

/// Who waits for a server that may be opened, gets it opened soon.
void Invariants::check_launched(Pool& pool, Seen& seen) {
  const pool::PoolLimits& limits = pool.limits();
  // While its primary is looked for, and for a while after it, a pool waits for what others find out.
  const Cluster* cluster = world_.cluster();
  const bool searching = cluster != nullptr && (cluster->healthy_us() < kSearchUs ||
                                                !pool::wants_primary(pool.database().target_session_attrs));
  const bool coming = count_servers(pool, ServerState::login) + count_servers(pool, ServerState::own_query) +
                          count_servers(pool, ServerState::being_canceled) >
                      0;
  const auto room = [](const pool::SlotCount& slots, int limit) { return limit <= 0 || slots.taken() < limit; };
  const bool wants = !searching && !pool.waiting().empty() && !pool.database_share().paused.load() && !coming &&
                     pool.server_count() < static_cast<size_t>(limits.pool_size) &&
                     room(pool.database_share().servers, limits.max_db_connections) &&
                     room(pool.user_share().servers, limits.max_user_connections);
  if (!wants) {
    seen.wants_since_us = 0;
    return;
  }
  if (seen.wants_since_us == 0) seen.wants_since_us = world_.now_us();
  const Scenario& scenario = world_.scenario();
  const bool logins_fail = scenario.refused_dials > 0 || scenario.failing_logins > 0 || scenario.server_slots < 1000 ||
                           scenario.server_faults || scenario.half_dead || scenario.timeouts;
  const int64_t patience_us =
      (cluster != nullptr ? 300'000 : 30'000) + (logins_fail ? scenario.settings->server_login_retry_us : 0);
  if (world_.now_us() - seen.wants_since_us > patience_us) {
    world_.fail(
        fmt::format("pool {}/{}: clients wait, and no server is being opened", pool.database_name(), pool.user_name()));
  }
}

void Invariants::check_gauges(Pool& pool) {
  const pool::PoolStatistics& figures = pool.statistics();
  const auto same = [&](const char* name, const pool::Counter& counter, size_t counted) {
    if (counter.get() == counted) return;
    world_.fail(fmt::format("pool {}/{}: {} says {}, counted {}", pool.database_name(), pool.user_name(), name,
                            counter.get(), counted));
  };
  same("sv_idle", figures.sv_idle, count_servers(pool, ServerState::idle));
  same("sv_active", figures.sv_active, count_servers(pool, ServerState::active));
  same("sv_login", figures.sv_login, count_servers(pool, ServerState::login));
  same("sv_tested", figures.sv_tested, count_servers(pool, ServerState::own_query));
  same("sv_being_canceled", figures.sv_being_canceled, count_servers(pool, ServerState::being_canceled));
  same("cl_waiting", figures.cl_waiting, pool.waiting_count());
  same("cl_active", figures.cl_active, pool.client_count() - pool.waiting_count());
  const Client* first = pool.waiting().front();
  same("oldest_wait_since_us", figures.oldest_wait_since_us,
       first != nullptr ? static_cast<size_t>(first->wait_since_us()) : 0);
}

/// The limits that all workers share, counted here and at the servers.
void Invariants::check_limits() {
  std::map<std::string, int> of_database, of_user, at_servers;
  std::map<std::string, std::pair<int, int>> limits;
  for (const auto& worker : world_.workers()) {
    each_pool_of_clients(*worker, [&](Pool& pool) {
      const int count = static_cast<int>(pool.server_count());
      of_database[pool.database_name()] += count;
      of_user[pool.user_name()] += count;
      const std::string& dbname = pool.database().dbname;
      at_servers[(dbname.empty() ? pool.database_name() : dbname) + "/" + pool.user_name()] += count;
      limits[pool.database_name() + "/" + pool.user_name()] = {pool.limits().max_db_connections,
                                                               pool.limits().max_user_connections};
      if (pool.database_share().servers.taken() < count) world_.fail("fewer slots of a database are taken than used");
    });
  }
  const auto grown = [](std::map<std::string, int>& before, const std::map<std::string, int>& now,
                        const std::string& name) { return now.at(name) > before[name]; };
  for (const auto& worker : world_.workers()) {
    each_pool_of_clients(*worker, [&](Pool& pool) {
      const std::string& database = pool.database_name();
      const std::string& user = pool.user_name();
      const int db_max = pool.limits().max_db_connections, user_max = pool.limits().max_user_connections;
      if (pool.database_share().servers.taken() != of_database[database]) {
        world_.fail(fmt::format("{} slots of database {} are taken, {} servers are there",
                                pool.database_share().servers.taken(), database, of_database[database]));
      }
      if (pool.user_share().servers.taken() != of_user[user]) {
        world_.fail(fmt::format("{} slots of user {} are taken, {} servers are there",
                                pool.user_share().servers.taken(), user, of_user[user]));
      }
      // A reload may lower a limit below what is there; nothing may be added then.
      const bool reloads = world_.scenario().reloads;
      if (!reloads && db_max > 0 && of_database[database] > db_max && grown(database_servers_, of_database, database)) {
        world_.fail(fmt::format("database {} has {} servers, max_db_connections is {}", database, of_database[database],
                                db_max));
      }
      if (!reloads && user_max > 0 && of_user[user] > user_max && grown(user_servers_, of_user, user)) {
        world_.fail(fmt::format("user {} has {} servers, max_user_connections is {}", user, of_user[user], user_max));
      }
    });
  }
  database_servers_ = of_database;
  user_servers_ = of_user;
  for (const auto& backend : world_.backends()) {
    if (backend->open() && !backend->pooler_gone()) at_servers[backend->database() + "/" + backend->user()]--;
  }
  for (const auto& [name, difference] : at_servers) {
    if (difference < 0) world_.fail(fmt::format("{} has more connections at the servers than in its pool", name));
  }
  const pool::Settings& settings = *world_.scenario().settings;
  if (!world_.scenario().reloads && world_.shared().directory.clients.taken() > settings.max_client_conn) {
    world_.fail("more clients than max_client_conn");
  }
}

void Invariants::check_memory(int worker) {
  for (const bool servers : {false, true}) {
    for (const auto& row : world_.workers()[static_cast<size_t>(worker)]->list_connections(servers)) {
      if (row.unsent_bytes + row.buffered_bytes <= kBufferBytesMax) continue;
      world_.fail(fmt::format("{} {} has {} bytes unsent and {} bytes buffered", servers ? "server" : "client", row.id,
                              row.unsent_bytes, row.buffered_bytes));
    }
  }
}

void Invariants::check_end() {
  size_t servers = 0;
  for (const auto& worker : world_.workers()) {
    if (worker->client_count() > 0) {
      world_.fail(fmt::format("{} clients are left on worker {}", worker->client_count(), worker->index()));
    }
    worker->each_pool([&](Pool& pool) {
      servers += pool.server_count();
      if (pool.client_count() > 0) world_.fail("a pool counts clients when all have left");
      if (pool.statistics().sv_active_cancel.get() > 0) world_.fail("sv_active_cancel is not 0 when all have left");
      each_server(pool, [&](Server& server) {
        // With min_pool_size one may be on its way at any time.
        if (server.state() == ServerState::idle || server.state() == ServerState::login) return;
        if (server.state() == ServerState::own_query && !pool.database().connect_query.empty()) return;
        world_.fail(fmt::format("server {} is left in state {}", server.id(), static_cast<int>(server.state())));
      });
      if (pool.database_share().clients.taken() > 0) world_.fail("a database counts clients when all have left");
    });
  }
  if (world_.shared().directory.clients.taken() > 0) world_.fail("max_client_conn's count is not 0 at the end");
  for (const auto& user : world_.shared().directory.users()) {
    if (user->clients.taken() > 0) world_.fail("a user counts clients when all have left");
  }
  const auto open =
      static_cast<size_t>(std::count_if(world_.backends().begin(), world_.backends().end(), [](const auto& backend) {
        return backend->open() && !backend->pooler_gone();
      }));
  if (open > servers) world_.fail(fmt::format("{} connections at the servers, {} in the pools", open, servers));
}

}  // namespace bezel::simulation
