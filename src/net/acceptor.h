#pragma once

#include <cstdint>
#include <functional>
#include <memory>

#include "src/net/deadline.h"
#include "src/net/poller.h"
#include "src/net/socket_address.h"

namespace bezel::net {

class EventLoop;

/// Accepts connections from one listening socket, which it does not own, on one loop.
class Acceptor final : private Deadline, private Poller::Watcher {
 public:
  /// Gets each accepted descriptor (non-blocking) and owns it.
  using Take = std::function<void(int descriptor, const PeerAddress& peer)>;

  /// A Unix socket's connections have `unix_port` as their peer's port.
  Acceptor(EventLoop& loop, int descriptor, uint16_t unix_port, Take take);
  ~Acceptor() override = default;

  void pause();
  void resume();
  /// Stops for good. The acceptor must live until the loop has ended.
  void close();

 private:
  /// More wait for the next turn, so that a storm of clients does not starve those that are served.
  static constexpr int kAcceptedPerTurn = 64;
  /// After the process ran out of descriptors or memory: long enough not to spin, short enough not to be felt.
  static constexpr int64_t kExhaustedPauseUs = 100'000;
  static constexpr int64_t kExhaustedLogPeriodUs = 10'000'000;

  void on_ready(uint32_t events) override;
  void expire() override;
  void accept_some();
  /// False: there is nothing more to accept now.
  bool accept_one();
  void out_of_resources(int error);
  void update_interest();

  EventLoop& loop_;
  int descriptor_;
  uint16_t unix_port_;
  Take take_;
  int64_t logged_at_us_ = 0;
  bool paused_ = false;     ///< by pause()
  bool exhausted_ = false;  ///< by lack of descriptors
  bool polling_ = false;
  bool closing_ = false;
};

}  // namespace bezel::net
