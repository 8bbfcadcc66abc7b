#pragma once

#include <atomic>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "pool/settings.h"
#include "protocol/scram.h"

namespace bezel::pool {

/// A number of slots that all workers share and never exceed.
class SlotCount {
 public:
  /// Takes one if fewer than `limit` are taken; a limit of 0 is none. Any thread.
  bool take(int limit) {
    int now = taken_.load(std::memory_order_relaxed);
    do {
      if (limit > 0 && now >= limit) return false;
    } while (!taken_.compare_exchange_weak(now, now + 1, std::memory_order_acq_rel));
    return true;
  }
  void give_back() { taken_.fetch_sub(1, std::memory_order_acq_rel); }
  int taken() const { return taken_.load(std::memory_order_acquire); }

 private:
  std::atomic<int> taken_{0};
};

/// Keys of a user recovered from its own SCRAM login, to log in to servers as that user.
struct PassedKeys {
  std::string salt;
  int iterations = 0;
  protocol::ScramKeys keys;
};

/// Who waits for a slot that another pool, maybe on another worker, holds. Strictly in order of asking.
/// Thread-safe.
class SlotWaiters {
 public:
  /// `wake` runs (on the thread that gives a slot back) once; it must only post to its own worker.
  void wait(const void* who, std::function<void()> wake);
  void forget(const void* who);
  /// Wakes the one that waits longest; false if nobody waits.
  bool wake_next();
  bool has(const void* who) const;
  bool any() const { return any_.load(std::memory_order_acquire); }

 private:
  mutable std::mutex mutex_;
  std::atomic<bool> any_{false};
  std::deque<std::pair<const void*, std::function<void()>>> waiting_;
};

/// What all workers share of one database.
struct DatabaseShare {
  explicit DatabaseShare(std::string database_name) : name(std::move(database_name)) {}
  const std::string name;
  SlotCount servers, clients;
  SlotWaiters server_waiters;
  std::atomic<bool> paused{false}, disabled{false};
  std::atomic<uint32_t> next_host{0};  ///< where round-robin over several hosts goes on
};

/// SCRAM keys derived from plain passwords, so that the slow derivation is done once a password and salt, not once a
/// login. Thread-safe.
class DerivedKeys {
 public:
  std::optional<protocol::ScramKeys> find(std::string_view password, std::string_view salt, int iterations) const;
  void add(std::string_view password, std::string_view salt, int iterations, const protocol::ScramKeys& keys);
  /// The salt under which clients of this user are checked; `fresh` is used if there is none yet.
  std::string own_salt(std::string_view fresh);

 private:
  struct Entry {
    std::string password, salt;
    int iterations;
    protocol::ScramKeys keys;
  };
  static constexpr size_t kEntriesMax = 4;  // one salt of our own, and those of a few servers
  mutable std::mutex mutex_;
  std::string own_salt_;
  std::deque<Entry> entries_;
};

/// What all workers share of one user.
struct UserShare {
  explicit UserShare(std::string user_name) : name(std::move(user_name)) {}
  const std::string name;
  SlotCount servers, clients;
  SlotWaiters server_waiters;
  DerivedKeys derived_keys;

  void pass_keys(PassedKeys keys);                ///< any thread
  std::optional<PassedKeys> passed_keys() const;  ///< any thread

 private:
  mutable std::mutex mutex_;
  std::optional<PassedKeys> keys_;
};

/// The databases and users that are known to the process. Shares of users live as long as the process: only those who
/// have a secret get one. Thread-safe.
class Directory {
 public:
  std::shared_ptr<DatabaseShare> database(const std::string& name);
  std::shared_ptr<UserShare> user(const std::string& name);
  std::vector<std::shared_ptr<DatabaseShare>> databases() const;
  std::vector<std::shared_ptr<UserShare>> users() const;
  /// Lets go the databases that no pool or client uses, that are neither paused nor disabled, and that `is_configured`
  /// does not know: those that clients have made up under "*".
  void forget_unused_databases(const std::function<bool(const std::string&)>& is_configured);

  /// PAUSE without a database: also holds for databases that come later.
  void set_all_paused(bool paused);
  bool all_paused() const { return all_paused_.load(); }

  SlotCount clients;  ///< all clients past their startup packet, for max_client_conn

 private:
  mutable std::mutex mutex_;
  std::atomic<bool> all_paused_{false};
  std::map<std::string, std::shared_ptr<DatabaseShare>> databases_;
  std::map<std::string, std::shared_ptr<UserShare>> users_;
};

}  // namespace bezel::pool
