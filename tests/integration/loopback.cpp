#include "integration/loopback.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstring>
#include <stdexcept>

namespace bezel::integration {

namespace {

sockaddr_in address_of(const std::string& text, uint16_t port) {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(port);
  inet_pton(AF_INET, text.c_str(), &address.sin_addr);
  return address;
}

[[noreturn]] void fail(const std::string& what) {
  throw std::runtime_error(what + ": " + std::strerror(errno));
}

/// Process ids have at most 22 bits; a quarter of what is above 127.128.0.0 has room for them, away from 127.0.0.1.
std::string address_from(uint32_t first) {
  const auto pid = static_cast<uint32_t>(getpid());
  return "127." + std::to_string(first + ((pid >> 16) & 63)) + "." + std::to_string((pid >> 8) & 255) + "." +
         std::to_string(pid & 255);
}

}  // namespace

const std::string& own_address() {
  static const std::string address = address_from(128);
  return address;
}

const std::string& other_own_address() {
  static const std::string address = address_from(192);
  return address;
}

uint16_t next_port() {
  // Below the ephemeral ports; an address of our own has nobody else on it.
  static std::atomic<uint16_t> port{20000};
  return port++;
}

int listen_at(uint16_t port, int backlog, const std::string& address_text) {
  const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  const int on = 1;
  setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  const sockaddr_in address = address_of(address_text, port);
  if (bind(fd, reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0 || listen(fd, backlog) != 0) {
    close(fd);
    fail("could not listen");
  }
  return fd;
}

int connect_to(const std::string& text, uint16_t port) {
  const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  const sockaddr_in address = address_of(text, port);
  if (connect(fd, reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) {
    close(fd);
    fail("could not connect to port " + std::to_string(port));
  }
  const int on = 1;
  setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  return fd;
}

}  // namespace bezel::integration
