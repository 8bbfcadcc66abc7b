#include "src/net/acceptor.h"

#include <fmt/format.h>
#include <sys/socket.h>

#include <cerrno>
#include <cstring>

#include "src/net/event_loop.h"

namespace bezel::net {

Acceptor::Acceptor(EventLoop& loop, int descriptor, uint16_t unix_port, Take take)
    : loop_(loop), descriptor_(descriptor), unix_port_(unix_port), take_(std::move(take)) {
  update_interest();
}

void Acceptor::update_interest() {
  const bool wanted = !paused_ && !exhausted_ && !closing_;
  if (wanted == polling_) return;
  polling_ = wanted;
  if (!wanted) return loop_.poller().remove(descriptor_);
  const int error = loop_.poller().add(descriptor_, EPOLLIN, *this);
  if (error != 0) out_of_resources(error);
}

void Acceptor::pause() {
  paused_ = true;
  update_interest();
}

void Acceptor::resume() {
  paused_ = false;
  update_interest();
}

void Acceptor::close() {
  if (closing_) return;
  disarm();
  closing_ = true;
  update_interest();
}

void Acceptor::on_ready(uint32_t) {
  loop_.enter_callback();
  accept_some();
}

void Acceptor::accept_some() {
  for (int i = 0; i < kAcceptedPerTurn && polling_; i++) {
    if (!accept_one()) return;
  }
}

bool Acceptor::accept_one() {
  SocketAddress address;
  socklen_t size = SocketAddress::kSizeMax;
  const int accepted = ::accept4(descriptor_, address.get(), &size, SOCK_NONBLOCK | SOCK_CLOEXEC);
  if (accepted >= 0) {
    address.set_size(size);
    take_(accepted, address.is_unix() ? PeerAddress::of_unix(unix_port_) : PeerAddress::of(address));
    return true;
  }
  switch (errno) {
    case EAGAIN:
      return false;
    case EMFILE:
    case ENFILE:
    case ENOBUFS:
    case ENOMEM:
      out_of_resources(errno);
      return false;
    default:
      // The client was gone before it was accepted, or the network had an error for it alone (accept(2)).
      return true;
  }
}

void Acceptor::out_of_resources(int error) {
  // Those who wait stay in the kernel's queue; the next try may find something freed.
  exhausted_ = true;
  update_interest();
  arm(loop_.deadlines(), loop_.now_us() + kExhaustedPauseUs);
  if (logged_at_us_ != 0 && loop_.now_us() - logged_at_us_ < kExhaustedLogPeriodUs) return;
  logged_at_us_ = loop_.now_us();
  loop_.log().write(pool::LogLevel::warning, fmt::format("could not accept a connection: {}; trying again every {} ms",
                                                         std::strerror(error), kExhaustedPauseUs / 1000));
}

void Acceptor::expire() {
  exhausted_ = false;
  update_interest();
}

}  // namespace bezel::net
