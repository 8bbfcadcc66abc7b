#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "src/net/socket_address.h"

namespace bezel::dns {

/// Who is asked for names, and how: resolv.conf(5). Read here, because c-ares of this version does not know the options
/// timeout and attempts.
struct ResolvConf {
  std::vector<net::SocketAddress> servers;  ///< at least one, with their ports
  std::vector<std::string> search;          ///< domains
  int ndots = 1;
  /// Of the first round of questions; each further round waits twice as long. The time-outs that libc has where the
  /// file says nothing, 5 s for two rounds, would take as long as a whole attempt to connect may.
  int timeout_ms = 1000;
  int attempts = 3;
  bool rotate = false;
  bool use_tcp = false;

  static constexpr size_t kServersMax = 8;
  static constexpr size_t kSearchMax = 16;

  /// Reads a file's text. `host_name` is this machine's: what follows its first dot is searched where the file names no
  /// domain. What makes no sense is left out, as libc does it. A server may be given with a port, "192.0.2.1:5353" or
  /// "[2001:db8::1]:5353"; without any server it is 127.0.0.1.
  static ResolvConf parse(std::string_view text, std::string_view host_name);

  /// The full names that a name may stand for, in the order in which they are to be tried.
  std::vector<std::string> candidates(std::string_view name) const;
};

}  // namespace bezel::dns
