#include "src/net/dial.h"

#include <fmt/format.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

#include "src/net/connection.h"
#include "src/net/event_loop.h"

namespace bezel::net {

Dial::Dial(Connection& connection, const pool::HostAddress& target, const pool::Settings& settings)
    : connection_(connection),
      target_(target),
      options_(SocketOptions::for_servers(settings)),
      resolve_options_{.ttls = {settings.dns_max_ttl_us, settings.dns_nxdomain_ttl_us},
                       .sources = {.resolv_conf = settings.resolv_conf}},
      connect_timeout_us_(settings.server_connect_timeout_us) {}

Dial::~Dial() {
  if (resolving_) connection_.loop_.resolver().forget(target_.host, *this);
}

void Dial::start() {
  const bool is_unix = !target_.host.empty() && target_.host.front() == '/';
  auto address = is_unix ? SocketAddress::from_socket_directory(target_.host, target_.port)
                         : SocketAddress::from_literal(target_.host, target_.port);
  if (address.has_value()) {
    addresses_.push_back(*address);
    return attempt();
  }
  if (is_unix) return fail(fmt::format("the path of the Unix socket in {} is too long", target_.host));
  const auto answer = connection_.loop_.resolver().resolve(target_.host, resolve_options_, *this);
  if (answer != nullptr) return use(*answer);
  resolving_ = true;
}

void Dial::resolved(const NameAnswer& answer) {
  resolving_ = false;
  use(answer);
}

void Dial::use(const NameAnswer& answer) {
  if (answer.addresses.empty()) return fail(fmt::format("could not resolve \"{}\": {}", target_.host, answer.error));
  addresses_ = answer.addresses;
  for (SocketAddress& address : addresses_) address.set_port(target_.port);
  first_ = connection_.loop_.resolver().names().next_turn(target_.host) % addresses_.size();
  attempt();
}

void Dial::attempt() {
  while (tried_ < addresses_.size()) {
    const int error = connect_socket(current());
    if (error == 0) return;
    connection_.close_descriptor();
    error_ = std::strerror(error);
    tried_++;
  }
  fail(error_);
}

int Dial::connect_socket(const SocketAddress& address) {
  const int descriptor = ::socket(address.family(), SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (descriptor < 0) return errno;
  connection_.descriptor_ = descriptor;
  connection_.peer_ = address.is_unix() ? PeerAddress::of_unix(target_.port) : PeerAddress::of(address);
  if (!address.is_unix()) options_.apply(descriptor);
  full_queue_retries_ = 0;
  return begin_connect(address);
}

int Dial::begin_connect(const SocketAddress& address) {
  waiting_for_queue_ = false;
  if (::connect(connection_.descriptor_, address.get(), address.size()) != 0 && errno != EINPROGRESS) {
    if (errno != EAGAIN || !address.is_unix() || full_queue_retries_++ == kFullQueueRetriesMax) return errno;
    waiting_for_queue_ = true;
    arm(connection_.loop_.deadlines(), connection_.loop_.now_us() + kFullQueueRetryUs);
    return 0;
  }
  if (!connection_.poll_for(EPOLLOUT)) return std::exchange(connection_.error_, int16_t{0});
  if (addresses_.size() > 1 && connect_timeout_us_ > 0) {
    // An address that does not answer must leave time for the others.
    const int64_t share_us = connect_timeout_us_ / static_cast<int64_t>(addresses_.size());
    arm(connection_.loop_.deadlines(), connection_.loop_.now_us() + std::max(share_us, kAttemptUsMin));
  }
  return 0;
}

void Dial::expire() {
  if (!waiting_for_queue_) return attempt_failed(ETIMEDOUT);
  const int error = begin_connect(current());
  if (error != 0) attempt_failed(error);
}

void Dial::on_ready() {
  int error = 0;
  socklen_t size = sizeof error;
  if (::getsockopt(connection_.descriptor_, SOL_SOCKET, SO_ERROR, &error, &size) != 0) error = errno;
  if (error == 0 && is_connected_to_itself()) error = ECONNREFUSED;
  if (error != 0) return attempt_failed(error);
  connection_.connected();  // destroys this
}

bool Dial::is_connected_to_itself() const {
  // Dialling a local port where nobody listens may, by chance, be given that very port: TCP then connects it to itself.
  if (current().is_unix()) return false;
  SocketAddress local;
  socklen_t size = SocketAddress::kSizeMax;
  if (::getsockname(connection_.descriptor_, local.get(), &size) != 0) return false;
  return local.port() == current().port() && local.host_text() == current().host_text();
}

void Dial::attempt_failed(int error) {
  disarm();
  waiting_for_queue_ = false;
  error_ = std::strerror(error);
  tried_++;
  connection_.close_descriptor();
  attempt();
}

void Dial::fail(std::string error) {
  error_ = std::move(error);
  connection_.loop_.tell_failure_later(connection_);
}

}  // namespace bezel::net
