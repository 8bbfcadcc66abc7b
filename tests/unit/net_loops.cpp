#include "net_loops.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <sys/un.h>

#include "src/net/aio_submitter.h"
#include "src/net/uring_submitter.h"

namespace bezel::net {

void TestLoops::take_in(int worker, const std::shared_ptr<RecordedStream>& recorded, int descriptor,
                        int send_buffer_bytes) {
  if (send_buffer_bytes > 0) {
    REQUIRE(::setsockopt(descriptor, SOL_SOCKET, SO_SNDBUF, &send_buffer_bytes, sizeof send_buffer_bytes) == 0);
  }
  REQUIRE(::fcntl(descriptor, F_SETFL, O_NONBLOCK) == 0);
  on(worker, [&] {
    auto detached = std::make_unique<DetachedDescriptor>(descriptor, PeerAddress::of_unix(1));
    recorded->stream = runtime(worker).attach(std::move(detached), *recorded);
    client(worker).own_streams.push_back(recorded);
  });
}

int TestLoops::tcp_pair(int worker, const std::shared_ptr<RecordedStream>& recorded, int send_buffer_bytes) {
  const int listener = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof address;
  REQUIRE(::bind(listener, reinterpret_cast<sockaddr*>(&address), size) == 0);
  REQUIRE(::listen(listener, 1) == 0);
  REQUIRE(::getsockname(listener, reinterpret_cast<sockaddr*>(&address), &size) == 0);
  const int other = connect_tcp(ntohs(address.sin_port), send_buffer_bytes);
  const int ours = ::accept4(listener, nullptr, nullptr, SOCK_CLOEXEC);
  REQUIRE(ours >= 0);
  ::close(listener);
  take_in(worker, recorded, ours, send_buffer_bytes);
  return other;
}

int connect_tcp(uint16_t port, int receive_buffer_bytes) {
  const int descriptor = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  REQUIRE(descriptor >= 0);
  if (receive_buffer_bytes > 0) {
    ::setsockopt(descriptor, SOL_SOCKET, SO_RCVBUF, &receive_buffer_bytes, sizeof receive_buffer_bytes);
  }
  const int on = 1;
  ::setsockopt(descriptor, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(port);
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  REQUIRE(::connect(descriptor, reinterpret_cast<sockaddr*>(&address), sizeof address) == 0);
  return descriptor;
}

int connect_unix(const std::string& path) {
  const int descriptor = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  REQUIRE(descriptor >= 0);
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  std::strncpy(address.sun_path, path.c_str(), sizeof address.sun_path - 1);
  REQUIRE(::connect(descriptor, reinterpret_cast<sockaddr*>(&address), sizeof address) == 0);
  return descriptor;
}

bool send_all(int descriptor, std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t sent = ::send(descriptor, bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (sent <= 0) return false;
    bytes.remove_prefix(static_cast<size_t>(sent));
  }
  return true;
}

std::string receive_exactly(int descriptor, size_t bytes) {
  std::string all(bytes, '\0');
  size_t have = 0;
  while (have < bytes) {
    const ssize_t got = ::recv(descriptor, all.data() + have, bytes - have, 0);
    if (got <= 0) break;
    have += static_cast<size_t>(got);
  }
  all.resize(have);
  return all;
}

std::string receive_to_end(int descriptor) {
  std::string all;
  char part[65536];
  for (;;) {
    const ssize_t got = ::recv(descriptor, part, sizeof part, 0);
    if (got <= 0) return all;
    all.append(part, static_cast<size_t>(got));
  }
}

std::string pattern(size_t bytes, uint32_t seed) {
  std::string all(bytes, '\0');
  uint32_t state = seed * 2654435761U + 1;
  for (char& one : all) {
    state = state * 1664525U + 1013904223U;
    one = static_cast<char>(state >> 24);
  }
  return all;
}

void reset_connection(int descriptor) {
  const linger at_once{1, 0};
  ::setsockopt(descriptor, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
  ::close(descriptor);
}

std::vector<pool::BatchedSends> sending_modes() {
  std::vector<pool::BatchedSends> modes{pool::BatchedSends::off};
  std::string why_not;
  if (AioSubmitter::make(why_not) != nullptr) modes.push_back(pool::BatchedSends::aio);
  if (UringSubmitter::make(why_not) != nullptr) modes.push_back(pool::BatchedSends::io_uring);
  return modes;
}

}  // namespace bezel::net
