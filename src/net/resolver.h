#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <unordered_map>

#include "src/dns/client.h"
#include "src/net/name_cache.h"

namespace bezel::net {

class EventLoop;

/// Looks host names up for one loop. Several who wait for the same name share one lookup.
class Resolver {
 public:
  /// One who waits for an answer.
  class Waiter {
   public:
    virtual void resolved(const NameAnswer& answer) = 0;

   protected:
    ~Waiter() = default;
  };

  /// How a name is looked up.
  struct Options {
    NameTtls ttls = {};
    dns::Sources sources = {};
  };

  Resolver(EventLoop& loop, NameCache& names);
  Resolver(const Resolver&) = delete;
  Resolver& operator=(const Resolver&) = delete;
  ~Resolver();

  /// The answer if it is known; else null, and `waiter` is called later. Addresses that are too old are used all the
  /// same when newer ones do not come within kPatienceUs: name servers that are silent must not keep connections from
  /// being made.
  std::shared_ptr<const NameAnswer> resolve(const std::string& host, const Options& options, Waiter& waiter);
  /// `waiter` does not wait any more.
  void forget(const std::string& host, Waiter& waiter);
  NameCache& names() { return names_; }
  /// Lookups under way.
  size_t pending() const { return lookups_.size(); }
  /// Ends all lookups; nobody is called. REQUIRED before the loop ends; later lookups fail at once.
  void close();

  static constexpr int64_t kPatienceUs = 1'000'000;

 private:
  struct Lookup;
  void finish(const std::string& host, const dns::Answer& answer);
  /// None of the waiters calls the pool from here, so that none is destroyed by another.
  static void tell(Lookup& lookup, const NameAnswer& answer);

  EventLoop& loop_;
  NameCache& names_;
  std::unique_ptr<dns::Client> client_;  ///< made when it is needed first: the loop must be there by then
  std::unordered_map<std::string, std::unique_ptr<Lookup>> lookups_;
  bool closed_ = false;
};

}  // namespace bezel::net
