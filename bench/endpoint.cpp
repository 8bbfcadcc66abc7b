#include "bench/endpoint.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstring>
#include <ctime>
#include <optional>

namespace bezel::bench {
namespace {

struct Address {
  sockaddr_storage storage{};
  socklen_t length = 0;
  int family = AF_UNSPEC;
  std::string unix_path;
  sockaddr* raw() { return reinterpret_cast<sockaddr*>(&storage); }
};

std::optional<Address> unix_address(const Endpoint& endpoint) {
  Address address;
  auto* name = reinterpret_cast<sockaddr_un*>(&address.storage);
  address.unix_path = endpoint.host + "/.s.PGSQL." + std::to_string(endpoint.port);
  if (address.unix_path.size() >= sizeof(name->sun_path)) return std::nullopt;
  address.family = name->sun_family = AF_UNIX;
  std::memcpy(name->sun_path, address.unix_path.c_str(), address.unix_path.size() + 1);
  address.length = sizeof(sockaddr_un);
  return address;
}

std::optional<Address> tcp_address(const Endpoint& endpoint) {
  Address address;
  auto* name = reinterpret_cast<sockaddr_in*>(&address.storage);
  address.family = name->sin_family = AF_INET;
  name->sin_port = htons(static_cast<uint16_t>(endpoint.port));
  if (inet_pton(AF_INET, endpoint.host.c_str(), &name->sin_addr) != 1) return std::nullopt;
  address.length = sizeof(sockaddr_in);
  return address;
}

std::optional<Address> resolve(const Endpoint& endpoint) {
  if (endpoint.port < 0 || endpoint.port > 65535) return std::nullopt;
  return endpoint.host.starts_with('/') ? unix_address(endpoint) : tcp_address(endpoint);
}

std::string describe(const Endpoint& endpoint) {
  return endpoint.host + " port " + std::to_string(endpoint.port);
}

SocketResult bad_endpoint(const Endpoint& endpoint) {
  return {-1, 0, describe(endpoint) + ": expected a numeric IPv4 address or a folder's absolute path, and a port"};
}

/// Reads errno before closing `fd`, which may change it.
SocketResult failed(int fd, const Endpoint& endpoint, const char* what) {
  const int code = errno;
  if (fd >= 0) close(fd);
  return {-1, code, std::string(what) + " " + describe(endpoint) + ": " + std::strerror(code)};
}

void disable_nagle(int fd) {
  const int on = 1;
  setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));  // fails on unix sockets, which need none
}

SocketResult open_connection(const Endpoint& endpoint, int extra_type_flags) {
  auto address = resolve(endpoint);
  if (!address) return bad_endpoint(endpoint);
  const int fd = socket(address->family, SOCK_STREAM | SOCK_CLOEXEC | extra_type_flags, 0);
  if (fd < 0) return failed(fd, endpoint, "socket for");
  disable_nagle(fd);
  if (connect(fd, address->raw(), address->length) != 0 && errno != EINPROGRESS) {
    return failed(fd, endpoint, "connect to");
  }
  return {fd, 0, ""};
}

}  // namespace

SocketResult listen_on(Endpoint& endpoint, int backlog) {
  auto address = resolve(endpoint);
  if (!address) return bad_endpoint(endpoint);
  const int fd = socket(address->family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (fd < 0) return failed(fd, endpoint, "socket for");
  const int on = 1;
  setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
  if (!address->unix_path.empty()) unlink(address->unix_path.c_str());
  if (bind(fd, address->raw(), address->length) != 0) return failed(fd, endpoint, "bind");
  if (listen(fd, backlog) != 0) return failed(fd, endpoint, "listen on");
  if (address->family == AF_INET) {
    if (getsockname(fd, address->raw(), &address->length) != 0) return failed(fd, endpoint, "getsockname");
    endpoint.port = ntohs(reinterpret_cast<sockaddr_in*>(&address->storage)->sin_port);
  }
  return {fd, 0, ""};
}

SocketResult start_connect(const Endpoint& endpoint) {
  return open_connection(endpoint, SOCK_NONBLOCK);
}

SocketResult connect_and_wait(const Endpoint& endpoint) {
  return open_connection(endpoint, 0);
}

int accept_connection(int listener) {
  const int fd = accept4(listener, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC);
  if (fd >= 0) disable_nagle(fd);
  return fd;
}

long raise_open_files() {
  rlimit limit{};
  getrlimit(RLIMIT_NOFILE, &limit);
  limit.rlim_cur = limit.rlim_max;
  setrlimit(RLIMIT_NOFILE, &limit);
  return static_cast<long>(limit.rlim_cur);
}

int stop_signals() {
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGINT);
  sigaddset(&set, SIGTERM);
  sigprocmask(SIG_BLOCK, &set, nullptr);
  std::signal(SIGPIPE, SIG_IGN);
  return signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
}

long long monotonic_ns() {
  timespec now{};
  clock_gettime(CLOCK_MONOTONIC, &now);
  return now.tv_sec * 1'000'000'000LL + now.tv_nsec;
}

}  // namespace bezel::bench
