#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <unordered_map>

#include "src/net/name_cache.h"

namespace bezel::net {

class EventLoop;

/// Looks host names up for one loop, on libuv's threads. Several who wait for the same name share one lookup.
class Resolver {
 public:
  /// One who waits for an answer.
  class Waiter {
   public:
    virtual void resolved(const NameAnswer& answer) = 0;

   protected:
    ~Waiter() = default;
  };

  Resolver(EventLoop& loop, NameCache& names);
  Resolver(const Resolver&) = delete;
  Resolver& operator=(const Resolver&) = delete;
  ~Resolver();

  /// The answer if it is known; else null, and `waiter` is called later.
  std::shared_ptr<const NameAnswer> resolve(const std::string& host, int64_t max_ttl_us, int64_t nxdomain_ttl_us,
                                            Waiter& waiter);
  /// `waiter` does not wait any more.
  void forget(const std::string& host, Waiter& waiter);
  NameCache& names() { return names_; }
  /// Lookups under way.
  size_t pending() const { return lookups_.size(); }
  void cancel_all();

 private:
  struct Lookup;
  void finish(Lookup& lookup, NameAnswer answer);

  EventLoop& loop_;
  NameCache& names_;
  std::unordered_map<std::string, std::unique_ptr<Lookup>> lookups_;
};

}  // namespace bezel::net
