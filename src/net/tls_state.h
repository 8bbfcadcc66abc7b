#pragma once

#include <memory>

#include "src/tls/session.h"

namespace bezel::net {

/// The encryption of a connection. Goes with it from loop to loop.
struct TlsState {
  explicit TlsState(std::unique_ptr<tls::Session> made) : session(std::move(made)) {}
  TlsState(const TlsState&) = delete;
  TlsState& operator=(const TlsState&) = delete;
  ~TlsState() {
    if (alive) *alive = false;
  }

  std::shared_ptr<tls::Session> session;
  bool is_ready = false;    ///< the handshake is complete
  bool is_working = false;  ///< a step of it is being made on another thread, which has the session to itself
  std::shared_ptr<bool> alive = std::make_shared<bool>(true);  ///< for that step's end; null when is_ready
};

}  // namespace bezel::net
