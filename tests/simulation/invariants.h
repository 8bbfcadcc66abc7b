#pragma once

#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <utility>
#include <vector>

namespace bezel::pool {
class Pool;
class Server;
}  // namespace bezel::pool

namespace bezel::simulation {

class World;

/// What must hold after every turn of a worker, whatever happens outside.
class Invariants {
 public:
  explicit Invariants(World& world) : world_(world) {}

  void turn_begins(int worker);
  void check(int worker);
  /// The servers that the worker has for a database (empty: for all).
  std::set<uint64_t> servers_of(int worker, const std::string& database);
  /// The worker has heard of RECONNECT: nobody new may get one of its servers from before it.
  void reconnected(int worker, const std::set<uint64_t>& servers);
  /// After all clients have left, and some time for the rest to end.
  void check_end();

 private:
  /// A client in a queue, and since when: one that was served may come again.
  using Place = std::pair<uint64_t, int64_t>;
  /// A client and the server that it has.
  using Link = std::pair<uint64_t, uint64_t>;

  /// What a pool looked like after the turn before.
  struct Seen {
    std::vector<Place> waiting;
    std::set<uint64_t> linked;
    std::set<Link> links;
    bool on_hold = false;  // when the turn began
    size_t servers = 0;
    int64_t wants_since_us = 0;
  };

  void check_servers(pool::Pool& pool, const Seen& seen);
  bool on_hold(pool::Pool& pool) const;
  void check_new_link(pool::Pool& pool, const pool::Server& server, const Seen& seen);
  void check_links(pool::Pool& pool, Seen& seen);
  void check_queue(pool::Pool& pool, Seen& seen);
  void check_launched(pool::Pool& pool, Seen& seen);
  void check_gauges(pool::Pool& pool);
  void check_limits();
  void check_memory(int worker);

  World& world_;
  std::map<std::pair<std::string, std::string>, Seen> seen_;
  std::set<uint64_t> retired_;  // servers from before a RECONNECT
  std::map<std::string, int> database_servers_, user_servers_;
};

}  // namespace bezel::simulation
