#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "pool/settings.h"
#include "src/net/deadline.h"
#include "src/net/resolver.h"
#include "src/net/socket_options.h"

namespace bezel::net {

class Connection;

/// How a connection comes to be: the name is resolved, then its addresses are tried in turn, beginning with another one
/// each time. Lives as long as its connection is dialling.
class Dial final : private Deadline, private Resolver::Waiter {
 public:
  Dial(Connection& connection, const pool::HostAddress& target, const pool::Settings& settings);
  ~Dial() override;

  void start();
  /// The attempt under way has succeeded or failed: its socket is writable, or broken.
  void on_ready();
  /// Why it failed, for on_closed().
  const std::string& error() const { return error_; }

 private:
  /// A listening Unix socket whose queue is full says so at once, and never when it is not any more.
  static constexpr int64_t kFullQueueRetryUs = 10'000;
  static constexpr int kFullQueueRetriesMax = 500;
  static constexpr int64_t kAttemptUsMin = 1'000'000;

  void resolved(const NameAnswer& answer) override;
  void expire() override;
  void use(const NameAnswer& answer);
  /// Tries addresses until one attempt is under way; with none left the dial has failed.
  void attempt();
  /// 0: under way; else errno.
  int begin_connect(const SocketAddress& address);
  int connect_socket(const SocketAddress& address);
  void attempt_failed(int error);
  void fail(std::string error);
  bool is_connected_to_itself() const;
  const SocketAddress& current() const { return addresses_[(first_ + tried_) % addresses_.size()]; }

  Connection& connection_;
  pool::HostAddress target_;
  SocketOptions options_;
  Resolver::Options resolve_options_;
  int64_t connect_timeout_us_;
  std::vector<SocketAddress> addresses_;
  size_t first_ = 0;
  size_t tried_ = 0;
  int full_queue_retries_ = 0;
  bool resolving_ = false;
  bool waiting_for_queue_ = false;
  std::string error_;
};

}  // namespace bezel::net
