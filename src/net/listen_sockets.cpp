#include "src/net/listen_sockets.h"

#include <fmt/format.h>
#include <grp.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <optional>
#include <string_view>

#include "src/net/socket_address.h"

namespace bezel::net {
namespace {

std::string could_not_listen(const std::string& where, std::string_view why) {
  return fmt::format("could not listen on {}: {}", where, why);
}

std::vector<std::string> split_list(std::string_view list) {
  std::vector<std::string> items;
  while (!list.empty()) {
    const size_t comma = std::min(list.find(','), list.size());
    std::string_view item = list.substr(0, comma);
    list.remove_prefix(std::min(comma + 1, list.size()));
    while (!item.empty() && item.front() == ' ') item.remove_prefix(1);
    while (!item.empty() && item.back() == ' ') item.remove_suffix(1);
    if (!item.empty()) items.emplace_back(item);
  }
  return items;
}

/// One place to listen on.
struct Place {
  SocketAddress address;
  bool is_optional = false;  ///< IPv6 as part of "*": many containers have none
};

/// The addresses of one item of listen_addr; "" or an error.
std::string find_places(const std::string& item, uint16_t port, std::vector<Place>& places) {
  if (item == "*") {
    places.push_back({*SocketAddress::from_literal("0.0.0.0", port), false});
    places.push_back({*SocketAddress::from_literal("::", port), true});
    return {};
  }
  if (auto literal = SocketAddress::from_literal(item, port)) {
    places.push_back({*literal, false});
    return {};
  }
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = AI_PASSIVE;
  addrinfo* found = nullptr;
  const int status = ::getaddrinfo(item.c_str(), nullptr, &hints, &found);
  if (status != 0) return could_not_listen(fmt::format("{}:{}", item, port), ::gai_strerror(status));
  for (const addrinfo* one = found; one != nullptr; one = one->ai_next) {
    SocketAddress address(one->ai_addr, one->ai_addrlen);
    address.set_port(port);
    places.push_back({address, false});
  }
  ::freeaddrinfo(found);
  return {};
}

void set_option(int descriptor, int level, int option, int value) {
  ::setsockopt(descriptor, level, option, &value, sizeof value);
}

/// A bound TCP socket, or errno.
int bind_tcp(const SocketAddress& address, bool shares_port, Descriptor& bound) {
  Descriptor socket(::socket(address.family(), SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  if (!socket.is_open()) return errno;
  set_option(socket.get(), SOL_SOCKET, SO_REUSEADDR, 1);
  if (shares_port) set_option(socket.get(), SOL_SOCKET, SO_REUSEPORT, 1);
  // Else "::" would take the IPv4 port too.
  if (address.family() == AF_INET6) set_option(socket.get(), IPPROTO_IPV6, IPV6_V6ONLY, 1);
  if (::bind(socket.get(), address.get(), address.size()) != 0) return errno;
  bound = std::move(socket);
  return 0;
}

uint16_t bound_port(int descriptor) {
  SocketAddress address;
  socklen_t size = SocketAddress::kSizeMax;
  return ::getsockname(descriptor, address.get(), &size) == 0 ? address.port() : uint16_t{0};
}

void apply_options(int descriptor, const pool::Settings& settings) {
  SocketOptions::from(settings).apply_anew(descriptor);
  const int64_t defer_seconds = (settings.tcp_defer_accept_us + 999'999) / 1'000'000;
  set_option(descriptor, IPPROTO_TCP, TCP_DEFER_ACCEPT, static_cast<int>(defer_seconds));
}

/// Opens one TCP socket a worker at an address; errno, or 0.
int listen_at(const SocketAddress& address, const pool::Settings& settings,
              std::vector<std::vector<Descriptor>>& by_worker) {
  for (auto& sockets : by_worker) {
    Descriptor socket;
    int error = bind_tcp(address, true, socket);
    if (error == 0) {
      apply_options(socket.get(), settings);
      if (::listen(socket.get(), settings.listen_backlog) != 0) error = errno;
    }
    if (error != 0) return error;
    sockets.push_back(std::move(socket));
  }
  return 0;
}

/// Who is at a path: 0 nobody (there may be a stale file), EADDRINUSE somebody, else another errno.
int probe_unix(const SocketAddress& address) {
  const Descriptor socket(::socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  if (!socket.is_open()) return errno;
  // A full queue (EAGAIN) also proves that somebody listens.
  if (::connect(socket.get(), address.get(), address.size()) == 0 || errno == EAGAIN) return EADDRINUSE;
  return errno == ENOENT || errno == ECONNREFUSED ? 0 : errno;
}

/// Makes way for our own socket; "" or why not.
std::string remove_stale(const std::string& path, const SocketAddress& address) {
  struct stat file {};
  if (::lstat(path.c_str(), &file) != 0) return errno == ENOENT ? std::string() : std::strerror(errno);
  if (!S_ISSOCK(file.st_mode)) return "the file exists and is not a socket";
  const int error = probe_unix(address);
  if (error != 0) return std::strerror(error);
  return ::unlink(path.c_str()) == 0 || errno == ENOENT ? std::string() : std::strerror(errno);
}

/// "" or an error. The group is a name or a number.
std::string set_owner(const std::string& path, const std::string& group) {
  if (group.empty()) return {};
  const auto found = [&]() -> std::optional<gid_t> {
    if (group.find_first_not_of("0123456789") == std::string::npos) return static_cast<gid_t>(std::stoul(group));
    // Only used before threads are started.
    const struct group* entry = ::getgrnam(group.c_str());
    return entry == nullptr ? std::nullopt : std::optional(entry->gr_gid);
  }();
  if (!found.has_value()) return fmt::format("unix_socket_group: there is no group \"{}\"", group);
  if (::chown(path.c_str(), static_cast<uid_t>(-1), *found) == 0) return {};
  return fmt::format("could not give {} to the group {}: {}", path, group, std::strerror(errno));
}

}  // namespace

ListenSockets::~ListenSockets() {
  close();
}

std::string ListenSockets::open(const pool::Settings& settings, int workers, const Log& log) {
  close();
  port_ = settings.listen_port;
  std::string error = open_tcp(settings, workers, log);
  if (error.empty() && !settings.unix_socket_dir.empty()) error = open_unix(settings);
  if (!error.empty()) close();
  return error;
}

std::string ListenSockets::open_tcp(const pool::Settings& settings, int workers, const Log& log) {
  tcp_.resize(static_cast<size_t>(workers));
  std::vector<Place> places;
  for (const std::string& item : split_list(settings.listen_addr)) {
    std::string error = find_places(item, settings.listen_port, places);
    if (!error.empty()) return error;
  }
  for (Place& place : places) {
    place.address.set_port(port_);
    // First without SO_REUSEPORT: with it a second process of the same user would share the port, and nobody would
    // notice.
    Descriptor first;
    int failed = bind_tcp(place.address, false, first);
    if (failed == 0) {
      if (port_ == 0) port_ = bound_port(first.get());
      place.address.set_port(port_);
      first.reset();
      failed = listen_at(place.address, settings, tcp_);
    }
    if (failed == 0) continue;
    std::string error = could_not_listen(place.address.text(), std::strerror(failed));
    if (!place.is_optional || failed == EADDRINUSE) return error;
    log.write(pool::LogLevel::warning, error);
  }
  return {};
}

std::string ListenSockets::open_unix(const pool::Settings& settings) {
  const std::string path = fmt::format("{}/.s.PGSQL.{}", settings.unix_socket_dir, port_);
  const auto address = SocketAddress::from_socket_directory(settings.unix_socket_dir, port_);
  if (!address.has_value()) return could_not_listen(path, "the path is too long");
  std::string error = remove_stale(path, *address);
  if (!error.empty()) return could_not_listen(path, error);
  Descriptor socket(::socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  if (!socket.is_open() || ::bind(socket.get(), address->get(), address->size()) != 0) {
    return could_not_listen(path, std::strerror(errno));
  }
  struct stat file {};
  if (::lstat(path.c_str(), &file) != 0) return could_not_listen(path, std::strerror(errno));
  unix_path_ = path;
  unix_device_ = file.st_dev;
  unix_inode_ = file.st_ino;
  // Before listen(), so that nobody gets in under looser rules.
  error = set_owner(path, settings.unix_socket_group);
  if (!error.empty()) return error;
  if (::chmod(path.c_str(), static_cast<mode_t>(settings.unix_socket_mode)) != 0 ||
      ::listen(socket.get(), settings.listen_backlog) != 0) {
    return could_not_listen(path, std::strerror(errno));
  }
  unix_ = std::move(socket);
  return {};
}

void ListenSockets::apply(const pool::Settings& settings) {
  for (const auto& sockets : tcp_) {
    for (const Descriptor& socket : sockets) apply_options(socket.get(), settings);
  }
}

void ListenSockets::close() {
  tcp_.clear();
  unix_.reset();
  if (unix_path_.empty()) return;
  struct stat file {};
  const bool is_ours =
      ::lstat(unix_path_.c_str(), &file) == 0 && file.st_dev == unix_device_ && file.st_ino == unix_inode_;
  if (is_ours) ::unlink(unix_path_.c_str());
  unix_path_.clear();
}

}  // namespace bezel::net
