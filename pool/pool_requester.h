#pragma once

#include <string_view>

#include "protocol/error_response.h"

namespace bezel::pool {

class Server;

/// Uses a pool's servers for an end of the pooler's own. Such a pool has no clients, and its one server counts towards
/// no limit: it serves to let clients in, so it must not wait behind them.
class PoolRequester {
 public:
  virtual ~PoolRequester() = default;

  virtual bool wants_server() const = 0;
  /// A server is free. It may be lent (Server::lend), and must then be given back or closed. REQUIRES: wants_server().
  virtual void server_free(Server& server) = 0;
  /// What came on a lent server; the bytes stay valid until the end of the turn.
  virtual void server_answered(Server& server, std::string_view bytes) = 0;
  /// A server's connection has ended, lent or not.
  virtual void server_lost(Server& server) = 0;
  /// A server could not be connected to, or did not let the pool's user in; `permanent`: nor will it.
  virtual void login_failed(const protocol::ProtocolError& error, bool permanent) = 0;
};

}  // namespace bezel::pool
