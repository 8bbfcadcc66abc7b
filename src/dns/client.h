#pragma once

#include <uv.h>

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "src/dns/answer.h"

namespace bezel::dns {

/// Where answers come from.
struct Sources {
  std::string resolv_conf = {};  ///< empty: /etc/resolv.conf, which may be missing
  std::string hosts_file = "/etc/hosts";
  bool operator==(const Sources&) const = default;
};

/// Looks names up for one loop, used by its thread only. It keeps no answers, and holds nothing while it is idle: what
/// is asked for within a second shares one channel of c-ares, which goes when the last of it is answered. So the files
/// are always read as they are.
class Client {
 public:
  using Done = std::function<void(const Answer&)>;

  explicit Client(uv_loop_t* loop);
  Client(const Client&) = delete;
  Client& operator=(const Client&) = delete;
  /// What still waits is not called. The loop must still run, for handles to close. `done` may destroy the client.
  ~Client();

  /// The addresses of a name, IPv4 and IPv6: of the hosts file, or by DNS, by way of the search domains. An address in
  /// figures is its own answer. `done` is called once, later, never from inside this call.
  void find_addresses(const Sources& sources, const std::string& name, Done done);
  /// The SRV records of a name such as "_postgresql._tcp.example.org". The same otherwise.
  void find_services(const Sources& sources, const std::string& name, Done done);
  /// Lookups that are under way.
  size_t running() const { return lookups_.size(); }

 private:
  struct Batch;
  struct Lookup;

  Lookup& add(Done done);
  void ask(Lookup& lookup, const Sources& sources, const std::string& name);
  /// The batch for a new lookup; null: `why` says why there is none.
  Batch* batch_for(const Sources& sources, std::string& why);
  void finish(Lookup& lookup, Answer answer);
  void deliver();

  static constexpr uint64_t kBatchMs = 1000;

  uv_loop_t* loop_;
  uv_timer_t* soon_;  // outlives this object until it is closed
  std::vector<std::unique_ptr<Batch>> batches_;
  std::vector<std::unique_ptr<Lookup>> lookups_;
  std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);
};

}  // namespace bezel::dns
