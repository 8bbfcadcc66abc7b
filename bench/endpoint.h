#pragma once

#include <string>

namespace bezel::bench {

/// Where to listen or connect, as libpq has it: a host that starts with '/' is the folder of the unix socket
/// `.s.PGSQL.<port>`, anything else a numeric IPv4 address.
struct Endpoint {
  std::string host;
  int port = 0;
};

/// A socket, or why there is none. `error_code` is errno's value when the kernel said no, else 0.
struct SocketResult {
  int fd = -1;
  int error_code = 0;
  std::string error;
  bool ok() const { return fd >= 0; }
};

/// Opens a non-blocking listening socket. A TCP port 0 is replaced in `endpoint` by the one the kernel chose;
/// a stale unix socket file of the same name is removed first.
SocketResult listen_on(Endpoint& endpoint, int backlog);

/// Starts a non-blocking connect; the socket is writable once it is through. A unix socket whose listener's backlog is
/// full fails with EAGAIN: try again later.
SocketResult start_connect(const Endpoint& endpoint);

/// Connects and waits for it; the socket returned is blocking.
SocketResult connect_and_wait(const Endpoint& endpoint);

/// Accepts one connection as a non-blocking socket without Nagle's delay; -1 when none waits (or none can be had).
int accept_connection(int listener);

/// Raises the soft limit of open files to the hard one, and returns it.
long raise_open_files();

/// A signalfd for SIGINT and SIGTERM, which are blocked for the process from then on.
int stop_signals();

/// A clock for durations, comparable between processes of one machine.
long long monotonic_ns();

}  // namespace bezel::bench
