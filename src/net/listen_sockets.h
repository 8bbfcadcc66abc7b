#pragma once

#include <sys/types.h>

#include <string>
#include <vector>

#include "pool/settings.h"
#include "src/net/log.h"
#include "src/net/socket_options.h"

namespace bezel::net {

/// The listening sockets of the process: for each worker one TCP socket an address (SO_REUSEPORT: the kernel spreads
/// new connections over the workers), and one Unix socket. Made before the workers start, closed after they ended.
class ListenSockets {
 public:
  ListenSockets() = default;
  ListenSockets(const ListenSockets&) = delete;
  ListenSockets& operator=(const ListenSockets&) = delete;
  /// Closes all, and removes the Unix socket's file unless another process has put its own there.
  ~ListenSockets();

  /// Opens what `settings` ask for. Returns "" or an error for people, e.g. "could not listen on 127.0.0.1:6432:
  /// Address already in use"; nothing is open then. Port 0 takes a free one (the same for all).
  std::string open(const pool::Settings& settings, int workers, const Log& log);
  /// After a reload: keepalive and the like for connections accepted from now on. Any thread.
  void apply(const pool::Settings& settings);
  /// Closes the descriptors and removes the file now. REQUIRES: no loop accepts from them any more.
  void close();

  const std::vector<Descriptor>& tcp(int worker) const { return tcp_[static_cast<size_t>(worker)]; }
  int unix_descriptor() const { return unix_.get(); }
  uint16_t port() const { return port_; }
  const std::string& unix_path() const { return unix_path_; }

 private:
  std::string open_tcp(const pool::Settings& settings, int workers, const Log& log);
  std::string open_unix(const pool::Settings& settings);

  std::vector<std::vector<Descriptor>> tcp_;
  Descriptor unix_;
  std::string unix_path_;
  dev_t unix_device_ = 0;
  ino_t unix_inode_ = 0;
  uint16_t port_ = 0;
};

}  // namespace bezel::net
