#include "src/net/poller.h"

#include <fmt/format.h>

#include <cerrno>
#include <cstring>
#include <stdexcept>

namespace bezel::net {

void fail_to_make_loop(int error) {
  throw std::runtime_error(fmt::format("could not make an event loop: {}", std::strerror(error)));
}

Poller::Poller() : epoll_(::epoll_create1(EPOLL_CLOEXEC)) {
  if (!epoll_.is_open()) fail_to_make_loop(errno);
}

int Poller::control(int operation, int descriptor, uint32_t events, Watcher* watcher) {
  epoll_event event{};
  event.events = events;
  event.data.ptr = watcher;
  return ::epoll_ctl(epoll_.get(), operation, descriptor, &event) == 0 ? 0 : errno;
}

int Poller::add(int descriptor, uint32_t events, Watcher& watcher) {
  return control(EPOLL_CTL_ADD, descriptor, events, &watcher);
}

int Poller::modify(int descriptor, uint32_t events, Watcher& watcher) {
  return control(EPOLL_CTL_MOD, descriptor, events, &watcher);
}

void Poller::remove(int descriptor) {
  control(EPOLL_CTL_DEL, descriptor, 0, nullptr);
}

void Poller::wait(int timeout_ms) {
  // A signal that ends the wait early does no harm: the turn finds nothing to do.
  const int count = ::epoll_wait(epoll_.get(), ready_.data(), kReadyMax, timeout_ms);
  for (int i = 0; i < count; i++) {
    const epoll_event& event = ready_[static_cast<size_t>(i)];
    static_cast<Watcher*>(event.data.ptr)->on_ready(event.events);
  }
}

}  // namespace bezel::net
