#include "src/net/socket_options.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <utility>

namespace bezel::net {
namespace {

constexpr int64_t kMicrosecondsPerSecond = 1'000'000;

void set(int descriptor, int level, int option, int value) {
  ::setsockopt(descriptor, level, option, &value, sizeof value);
}

/// The kernel counts whole seconds; what is asked for is never made shorter, nor 0.
int whole_seconds(int64_t microseconds) {
  return static_cast<int>((microseconds + kMicrosecondsPerSecond - 1) / kMicrosecondsPerSecond);
}

}  // namespace

SocketOptions SocketOptions::from(const pool::Settings& settings) {
  return {settings.tcp_keepalive, settings.tcp_keepcnt, settings.tcp_keepidle_us, settings.tcp_keepintvl_us,
          settings.tcp_user_timeout_us};
}

SocketOptions SocketOptions::for_servers(const pool::Settings& settings) {
  SocketOptions options = from(settings);
  if (options.keepalive_count == 0) options.keepalive_count = 2;
  if (options.keepalive_idle_us == 0) options.keepalive_idle_us = 2 * kMicrosecondsPerSecond;
  if (options.keepalive_interval_us == 0) options.keepalive_interval_us = kMicrosecondsPerSecond;
  return options;
}

void SocketOptions::apply(int descriptor) const {
  set(descriptor, IPPROTO_TCP, TCP_NODELAY, 1);
  set(descriptor, SOL_SOCKET, SO_KEEPALIVE, keepalive ? 1 : 0);
  if (keepalive) {
    if (keepalive_count > 0) set(descriptor, IPPROTO_TCP, TCP_KEEPCNT, keepalive_count);
    if (keepalive_idle_us > 0) set(descriptor, IPPROTO_TCP, TCP_KEEPIDLE, whole_seconds(keepalive_idle_us));
    if (keepalive_interval_us > 0) set(descriptor, IPPROTO_TCP, TCP_KEEPINTVL, whole_seconds(keepalive_interval_us));
  }
  if (user_timeout_us > 0) {
    set(descriptor, IPPROTO_TCP, TCP_USER_TIMEOUT, static_cast<int>(std::max<int64_t>(1, user_timeout_us / 1000)));
  }
}

void SocketOptions::apply_anew(int descriptor) const {
  const Descriptor fresh(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  for (const int option : {TCP_KEEPCNT, TCP_KEEPIDLE, TCP_KEEPINTVL, TCP_USER_TIMEOUT}) {
    int value = 0;
    socklen_t size = sizeof value;
    if (::getsockopt(fresh.get(), IPPROTO_TCP, option, &value, &size) == 0) set(descriptor, IPPROTO_TCP, option, value);
  }
  apply(descriptor);
}

Descriptor& Descriptor::operator=(Descriptor&& other) noexcept {
  if (this != &other) {
    reset();
    descriptor_ = other.take();
  }
  return *this;
}

int Descriptor::take() {
  return std::exchange(descriptor_, -1);
}

void Descriptor::reset() {
  if (descriptor_ >= 0) ::close(take());
}

}  // namespace bezel::net
