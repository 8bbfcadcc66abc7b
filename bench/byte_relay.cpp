// The floor of what a transaction pooler can cost: a relay of the same topology (N clients on M server connections)
// that parses nothing. It rests on what its load generator promises: a write of a client is one whole request, and a
// reply ends with ReadyForQuery as its last six bytes. No named prepared statements, no cancel, no limits worth the
// name: it is a yardstick, never a pooler. One thread, epoll, plain system calls.

#include <poll.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <deque>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "bench/endpoint.h"
#include "bench/frames.h"

namespace bezel::bench {
namespace {

constexpr std::size_t kReadyBytes = 6;
constexpr std::size_t kWaitingBytesMax = 1 << 20;
constexpr int kSlowPeerMs = 5000;

struct Options {
  Endpoint listen{"127.0.0.1", 0};
  Endpoint server{"127.0.0.1", 5432};
  int servers = 25;
  unsigned clients_max = 10'000;
  std::string user = "bench";
  std::string database = "bench";
};

struct Peer {
  Peer(int socket, bool server) : fd(socket), is_server(server) {}
  ~Peer() { close(fd); }
  Peer(const Peer&) = delete;
  Peer& operator=(const Peer&) = delete;

  int fd;
  bool is_server;
  bool logged_in = false;
  Peer* partner = nullptr;               ///< the other side while linked
  std::string waiting;                   ///< of a client: its request while no server is free
  std::array<char, kReadyBytes> tail{};  ///< of a server: its last bytes, as ReadyForQuery may arrive in parts
};

class ByteRelay {
 public:
  explicit ByteRelay(const Options& options) : options_(options) {}
  int run();

 private:
  bool open_servers();
  bool log_in(int fd);
  bool open_listener();
  void watch(int fd) const;
  void handle(int fd);
  void accept_all();
  void on_client(Peer& client);
  void on_server(Peer& server);
  void answer_startup(Peer& client, std::string_view bytes);
  void link(Peer& client, Peer& server);
  void release(Peer& server);
  void drop_client(Peer& client);
  static bool send_all(int fd, std::string_view bytes);

  Options options_;
  int epoll_ = epoll_create1(EPOLL_CLOEXEC);
  int stop_ = stop_signals();
  int listener_ = -1;
  bool failed_ = false;
  std::string login_reply_;                     // what the server said to the first login, given to every client
  std::vector<std::unique_ptr<Peer>> peers_;    // by descriptor
  std::vector<std::unique_ptr<Peer>> dropped_;  // freed after the turn: its events may still be in the list
  std::vector<Peer*> idle_servers_;             // last in, first out, as poolers do
  std::deque<Peer*> waiting_clients_;
  unsigned clients_ = 0;
  std::array<char, 65536> buffer_;
};

void ByteRelay::watch(int fd) const {
  epoll_event event{};
  event.events = EPOLLIN;
  event.data.fd = fd;
  epoll_ctl(epoll_, EPOLL_CTL_ADD, fd, &event);
}

bool ByteRelay::send_all(int fd, std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t sent = send(fd, bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (sent > 0) {
      bytes.remove_prefix(static_cast<std::size_t>(sent));
      continue;
    }
    if (errno != EAGAIN && errno != EINTR) return false;
    pollfd slow{fd, POLLOUT, 0};
    if (poll(&slow, 1, kSlowPeerMs) == 0) return false;
  }
  return true;
}

bool ByteRelay::log_in(int fd) {
  if (!send_all(fd, startup_message(options_.user, options_.database, "byte_relay"))) return false;
  FrameReader reader;
  std::string reply;
  for (;;) {
    const ssize_t received = recv(fd, buffer_.data(), buffer_.size(), 0);
    if (received <= 0) return false;
    const std::string_view bytes(buffer_.data(), static_cast<std::size_t>(received));
    reply += bytes;
    reader.append(bytes);
    while (const auto frame = reader.next()) {
      if (frame->type == 'E' || (frame->type == 'R' && frame->body != std::string_view("\0\0\0\0", 4))) return false;
      if (frame->type != 'Z') continue;
      if (login_reply_.empty()) login_reply_ = reply;
      return true;
    }
    if (reader.broken()) return false;
  }
}

bool ByteRelay::open_servers() {
  for (int i = 0; i < options_.servers; ++i) {
    const auto connection = connect_and_wait(options_.server);
    if (!connection.ok()) {
      std::fprintf(stderr, "byte_relay: %s\n", connection.error.c_str());
      return false;
    }
    const auto slot = static_cast<std::size_t>(connection.fd);
    if (slot >= peers_.size()) peers_.resize(slot + 1);
    peers_[slot] = std::make_unique<Peer>(connection.fd, true);
    if (!log_in(connection.fd)) {
      std::fprintf(stderr, "byte_relay: the server's login failed (only trust is known)\n");
      return false;
    }
    watch(connection.fd);
    idle_servers_.push_back(peers_[slot].get());
  }
  return true;
}

bool ByteRelay::open_listener() {
  const auto listener = listen_on(options_.listen, 4096);
  if (!listener.ok()) {
    std::fprintf(stderr, "byte_relay: %s\n", listener.error.c_str());
    return false;
  }
  listener_ = listener.fd;
  watch(listener_);
  std::puts(nlohmann::json{{"event", "listening"}, {"port", options_.listen.port}}.dump().c_str());
  std::fflush(stdout);
  return true;
}

int ByteRelay::run() {
  raise_open_files();
  if (!open_servers() || !open_listener()) return 1;
  watch(stop_);
  std::array<epoll_event, 256> events;
  while (!failed_) {
    const int count = epoll_wait(epoll_, events.data(), static_cast<int>(events.size()), -1);
    for (int i = 0; i < count && !failed_; ++i) {
      const int fd = events[static_cast<std::size_t>(i)].data.fd;
      if (fd == stop_) return 0;
      handle(fd);
    }
    dropped_.clear();
  }
  return 1;
}

void ByteRelay::handle(int fd) {
  if (fd == listener_) return accept_all();
  const auto slot = static_cast<std::size_t>(fd);
  if (slot >= peers_.size() || !peers_[slot]) return;
  Peer& peer = *peers_[slot];
  peer.is_server ? on_server(peer) : on_client(peer);
}

void ByteRelay::accept_all() {
  for (;;) {
    const int fd = accept_connection(listener_);
    if (fd < 0) return;
    if (clients_ >= options_.clients_max) {
      close(fd);
      continue;
    }
    const auto slot = static_cast<std::size_t>(fd);
    if (slot >= peers_.size()) peers_.resize(slot + 1);
    peers_[slot] = std::make_unique<Peer>(fd, false);
    ++clients_;
    watch(fd);
  }
}

void ByteRelay::on_client(Peer& client) {
  const ssize_t received = recv(client.fd, buffer_.data(), buffer_.size(), 0);
  if (received < 0 && (errno == EAGAIN || errno == EINTR)) return;
  if (received <= 0 || buffer_[0] == 'X') return drop_client(client);
  const std::string_view bytes(buffer_.data(), static_cast<std::size_t>(received));
  if (!client.logged_in) return answer_startup(client, bytes);
  if (client.partner == nullptr && !client.waiting.empty()) {
    // The rest of a request whose beginning waits already.
    if (client.waiting.size() + bytes.size() > kWaitingBytesMax) return drop_client(client);
    client.waiting += bytes;
    return;
  }
  if (client.partner == nullptr && idle_servers_.empty()) {
    client.waiting = bytes;
    waiting_clients_.push_back(&client);
    return;
  }
  if (client.partner == nullptr) {
    link(client, *idle_servers_.back());
    idle_servers_.pop_back();
  }
  if (!send_all(client.partner->fd, bytes)) failed_ = true;
}

void ByteRelay::answer_startup(Peer& client, std::string_view bytes) {
  if (bytes.size() < 8) return drop_client(client);
  const uint32_t code = read_be32(bytes.substr(4));
  if (code == kSslRequest || code == kGssRequest) {
    if (!send_all(client.fd, "N")) drop_client(client);
    return;
  }
  client.logged_in = true;
  if (code != kProtocol3 || !send_all(client.fd, login_reply_)) drop_client(client);
}

void ByteRelay::on_server(Peer& server) {
  const ssize_t received = recv(server.fd, buffer_.data(), buffer_.size(), 0);
  if (received < 0 && (errno == EAGAIN || errno == EINTR)) return;
  if (received <= 0) {
    std::fprintf(stderr, "byte_relay: a server connection ended\n");
    failed_ = true;
    return;
  }
  const auto bytes = static_cast<std::size_t>(received);
  Peer* client = server.partner;
  if (client != nullptr && !send_all(client->fd, {buffer_.data(), bytes})) drop_client(*client);
  const std::size_t fresh = std::min(bytes, kReadyBytes);
  std::memmove(server.tail.data(), server.tail.data() + fresh, kReadyBytes - fresh);
  std::memcpy(server.tail.data() + kReadyBytes - fresh, buffer_.data() + bytes - fresh, fresh);
  if (std::memcmp(server.tail.data(), "Z\0\0\0\5I", kReadyBytes) == 0) release(server);
}

void ByteRelay::link(Peer& client, Peer& server) {
  client.partner = &server;
  server.partner = &client;
  server.tail = {};
}

void ByteRelay::release(Peer& server) {
  if (server.partner != nullptr) server.partner->partner = nullptr;
  server.partner = nullptr;
  if (waiting_clients_.empty()) {
    idle_servers_.push_back(&server);
    return;
  }
  Peer& client = *waiting_clients_.front();
  waiting_clients_.pop_front();
  link(client, server);
  const std::string request = std::move(client.waiting);
  client.waiting.clear();
  if (!send_all(server.fd, request)) failed_ = true;
}

void ByteRelay::drop_client(Peer& client) {
  std::erase(waiting_clients_, &client);
  // Its server, if any, comes back when the reply has ended. (One left inside a transaction stays
  // away: no client of the benchmark leaves in the middle.)
  if (client.partner != nullptr) client.partner->partner = nullptr;
  client.partner = nullptr;
  --clients_;
  epoll_ctl(epoll_, EPOLL_CTL_DEL, client.fd, nullptr);
  dropped_.push_back(std::move(peers_[static_cast<std::size_t>(client.fd)]));
}

}  // namespace
}  // namespace bezel::bench

int main(int argc, char** argv) {
  bezel::bench::Options options;
  CLI::App app("A byte relay of a pooler's topology, as the floor of what a pooler can cost");
  app.add_option("--host", options.listen.host,
                 "IPv4 address or, beginning with '/', folder of the unix socket to listen on");
  app.add_option("--port", options.listen.port, "port to listen on; 0 lets the kernel choose")
      ->check(CLI::Range(0, 65535));
  app.add_option("--server-host", options.server.host, "IPv4 address, or folder of the unix socket, of the server");
  app.add_option("--server-port", options.server.port, "port of the server")->check(CLI::Range(1, 65535));
  app.add_option("--servers", options.servers, "server connections")->check(CLI::Range(1, 10'000));
  app.add_option("--max-clients", options.clients_max, "clients beyond it are closed at once");
  app.add_option("--user", options.user, "user of the server connections");
  app.add_option("--database", options.database, "database of the server connections");
  CLI11_PARSE(app, argc, argv);
  return bezel::bench::ByteRelay(options).run();
}
