#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "pool/byte_stream.h"
#include "pool/server_encryption.h"
#include "pool/settings.h"
#include "pool/timer_wheel.h"

namespace bezel::pool {

class Server;
class Worker;

/// One cancel request on its way to PostgreSQL, on a connection of its own (documentation, "Canceling Requests in
/// Progress"). The server is not given to anybody else before this has ended: PostgreSQL closes the connection after it
/// has signalled the backend.
class CancelConnection final : public ByteStream::Events {
 public:
  CancelConnection(Worker& worker, Server& server, std::function<void()> done);
  ~CancelConnection();

  void on_connected() override;
  void on_secured() override;
  void on_bytes(std::string_view bytes) override;
  void on_congested() override {}
  void on_drained() override {}
  void on_closed(std::string_view reason) override;

  /// The server's object is about to end.
  void forget(const Server& server) {
    if (server_ == &server) server_ = nullptr;
  }

 private:
  void go_on(ServerEncryption::Step step);
  void finish(std::string_view reason);

  Worker& worker_;
  Server* server_;
  std::string packet_;
  ServerEncryption encryption_;
  bool sent_ = false;
  StreamPtr stream_;
  Timer timer_;  // cancel_wait_timeout
  std::function<void()> done_;
};

}  // namespace bezel::pool
