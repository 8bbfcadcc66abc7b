#include "src/net/acceptor.h"

#include <fmt/format.h>
#include <sys/socket.h>

#include <cerrno>
#include <cstring>

#include "src/net/event_loop.h"

namespace bezel::net {

Acceptor::Acceptor(EventLoop& loop, int descriptor, uint16_t unix_port, Take take)
    : loop_(loop), descriptor_(descriptor), unix_port_(unix_port), take_(std::move(take)) {
  const int status = uv_poll_init(loop_.uv(), &poll_, descriptor_);
  if (status != 0) {
    loop_.log().write(pool::LogLevel::error, fmt::format("could not wait for connections: {}", uv_strerror(status)));
    closing_ = true;
    return;
  }
  poll_.data = this;
  update_interest();
}

void Acceptor::update_interest() {
  const bool wanted = !paused_ && !exhausted_ && !closing_;
  if (wanted == polling_) return;
  polling_ = wanted;
  if (wanted) {
    uv_poll_start(&poll_, UV_READABLE, on_poll);
  } else if (!closing_) {
    uv_poll_stop(&poll_);
  }
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
  polling_ = false;
  uv_close(reinterpret_cast<uv_handle_t*>(&poll_), nullptr);
}

void Acceptor::on_poll(uv_poll_t* handle, int status, int) {
  Acceptor& self = *static_cast<Acceptor*>(handle->data);
  self.loop_.enter_callback();
  if (status < 0) {
    // libuv has stopped to poll. A listening socket has no lasting errors.
    self.polling_ = false;
    self.update_interest();
  }
  self.accept_some();
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
