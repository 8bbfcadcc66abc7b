#pragma once

#include <atomic>
#include <functional>
#include <list>
#include <mutex>
#include <string>
#include <thread>

#include "integration/raw_client.h"

namespace bezel::integration {

/// Plays a PostgreSQL that does what a test tells it to, however hostile: every connection is handed to the script, on
/// a thread of its own. When the script returns or throws, the connection is closed.
class FakeServer {
 public:
  /// `peer` is the connection of the pooler; its read and send functions serve a server just as well.
  using Script = std::function<void(RawClient& peer)>;

  /// At own_address() and a port of its own.
  explicit FakeServer(Script script);
  /// At a certain place.
  FakeServer(Script script, const std::string& address, uint16_t port);
  ~FakeServer();
  FakeServer(const FakeServer&) = delete;
  FakeServer& operator=(const FakeServer&) = delete;

  uint16_t port() const { return port_; }
  /// The entry of `databases:` for it.
  std::string database(const std::string& further = "") const;
  int connection_count() const { return connections_; }

  /// Takes the startup packet; false if the peer leaves, or only wants to cancel (the rest of that packet is read).
  static bool read_startup(RawClient& peer);
  /// What a PostgreSQL says after the startup packet when it trusts everybody.
  static std::string greeting();
  /// read_startup() and greeting().
  static bool log_in(RawClient& peer);
  /// Answers every Query with one row with this value until the peer leaves.
  static void answer_queries(RawClient& peer, const std::string& value = "1");

 private:
  void accept_loop();

  Script script_;
  uint16_t port_;
  int listener_;
  std::atomic<int> connections_{0};
  std::atomic<bool> ending_{false};
  std::mutex mutex_;
  std::list<int> open_;
  std::list<std::thread> threads_;
  std::thread acceptor_;
};

}  // namespace bezel::integration
