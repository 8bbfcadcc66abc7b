// A fake PostgreSQL server that does no work: what is measured through a pooler in front of it is the pooler. One
// thread, epoll.
//
// It prints JSON, one event a line: "listening" with the port, "login" for each login (with --report-logins), "summary"
// at the end (SIGINT, SIGTERM).

#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <array>
#include <cerrno>
#include <cstdio>
#include <deque>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "bench/endpoint.h"
#include "bench/null_session.h"

namespace bezel::bench {
namespace {

struct Options {
  std::vector<std::string> hosts = {"127.0.0.1"};
  int port = 0;
  double login_delay_ms = 0;
  double query_delay_ms = 0;
  unsigned connections_max = 10'000;
  bool report_logins = false;
};

void print_event(const nlohmann::json& event) {
  std::puts(event.dump().c_str());
  std::fflush(stdout);
}

struct Connection {
  Connection(int socket, uint32_t connection_serial)
      : fd(socket), serial(connection_serial), session(connection_serial) {}
  ~Connection() { close(fd); }
  Connection(const Connection&) = delete;
  Connection& operator=(const Connection&) = delete;

  int fd;
  uint32_t serial;
  NullSession session;
  std::string out;
  bool delayed = false;  ///< `out` (or the login) waits for its time; nothing is read meanwhile
  bool closing = false;  ///< closed once `out` is sent
  uint32_t armed = EPOLLIN;
};

/// Connections whose answers wait; the delay is the same for all, so that first in is first due.
struct DelayLine {
  struct Entry {
    long long due_ns;
    int fd;
    uint32_t serial;
  };
  long long delay_ns = 0;
  std::deque<Entry> entries;
};

class NullServer {
 public:
  explicit NullServer(const Options& options) : options_(options) {
    login_delays_.delay_ns = static_cast<long long>(options.login_delay_ms * 1e6);
    query_delays_.delay_ns = static_cast<long long>(options.query_delay_ms * 1e6);
  }

  int run();

 private:
  bool open_listeners();
  void watch(int fd, uint32_t events, int operation) const;
  void arm(Connection& connection, uint32_t events);
  void handle(int fd, uint32_t events);
  void accept_all(int listener);
  void read(Connection& connection);
  void delay(Connection& connection, DelayLine& line);
  void expire(DelayLine& line, bool is_login);
  void expire_all();
  void set_timer();
  void finish_login(Connection& connection);
  void flush(Connection& connection);
  void drop(Connection& connection);

  Options options_;
  int epoll_ = epoll_create1(EPOLL_CLOEXEC);
  int timer_ = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
  int stop_ = stop_signals();
  std::vector<int> listeners_;
  std::vector<std::unique_ptr<Connection>> connections_;  // by descriptor
  std::vector<std::unique_ptr<Connection>>
      dropped_;  // closed after the turn, so that no event meets a new owner of the descriptor
  DelayLine login_delays_;
  DelayLine query_delays_;
  uint32_t next_serial_ = 1;
  unsigned open_ = 0;
  unsigned long long logins_ = 0;
  unsigned long long statements_ = 0;
  unsigned long long replies_ = 0;
  unsigned long long refused_ = 0;
  std::array<char, 65536> buffer_;
};

void NullServer::watch(int fd, uint32_t events, int operation) const {
  epoll_event event{};
  event.events = events;
  event.data.fd = fd;
  epoll_ctl(epoll_, operation, fd, &event);
}

void NullServer::arm(Connection& connection, uint32_t events) {
  if (connection.armed == events) return;
  connection.armed = events;
  watch(connection.fd, events, EPOLL_CTL_MOD);
}

bool NullServer::open_listeners() {
  Endpoint endpoint{"", options_.port};
  for (const auto& host : options_.hosts) {
    endpoint.host = host;
    const auto listener = listen_on(endpoint, 4096);
    if (!listener.ok()) {
      std::fprintf(stderr, "null_server: %s\n", listener.error.c_str());
      return false;
    }
    listeners_.push_back(listener.fd);
    watch(listener.fd, EPOLLIN, EPOLL_CTL_ADD);
  }
  print_event({{"event", "listening"}, {"port", endpoint.port}});
  return true;
}

int NullServer::run() {
  raise_open_files();
  if (!open_listeners()) return 1;
  watch(stop_, EPOLLIN, EPOLL_CTL_ADD);
  watch(timer_, EPOLLIN, EPOLL_CTL_ADD);
  std::array<epoll_event, 256> events;
  for (;;) {
    const int count = epoll_wait(epoll_, events.data(), static_cast<int>(events.size()), -1);
    for (int i = 0; i < count; ++i) {
      const auto& event = events[static_cast<std::size_t>(i)];
      if (event.data.fd == stop_) {
        print_event({{"event", "summary"},
                     {"logins", logins_},
                     {"statements", statements_},
                     {"replies", replies_},
                     {"refused", refused_},
                     {"open_connections", open_}});
        return 0;
      }
      handle(event.data.fd, event.events);
    }
    dropped_.clear();
  }
}

void NullServer::handle(int fd, uint32_t events) {
  if (fd == timer_) return expire_all();
  for (const int listener : listeners_) {
    if (fd == listener) return accept_all(listener);
  }
  const auto slot = static_cast<std::size_t>(fd);
  if (slot >= connections_.size() || !connections_[slot]) return;
  Connection& connection = *connections_[slot];
  if ((events & (EPOLLHUP | EPOLLERR)) != 0 && (events & EPOLLIN) == 0) return drop(connection);
  if ((events & EPOLLOUT) != 0) return flush(connection);
  if ((events & EPOLLIN) != 0) read(connection);
}

void NullServer::accept_all(int listener) {
  for (;;) {
    const int fd = accept_connection(listener);
    if (fd < 0) return;
    if (open_ >= options_.connections_max) {
      ++refused_;
      close(fd);
      continue;
    }
    const auto slot = static_cast<std::size_t>(fd);
    if (slot >= connections_.size()) connections_.resize(slot + 1);
    connections_[slot] = std::make_unique<Connection>(fd, next_serial_++);
    ++open_;
    watch(fd, EPOLLIN, EPOLL_CTL_ADD);
  }
}

void NullServer::read(Connection& connection) {
  const ssize_t received = recv(connection.fd, buffer_.data(), buffer_.size(), 0);
  if (received < 0 && (errno == EAGAIN || errno == EINTR)) return;
  if (received <= 0) return drop(connection);
  const auto outcome = connection.session.consume({buffer_.data(), static_cast<std::size_t>(received)}, connection.out);
  statements_ += outcome.statements;
  replies_ += outcome.replies;
  connection.closing = outcome.close;
  if (outcome.login_asked) {
    if (login_delays_.delay_ns > 0) return delay(connection, login_delays_);
    finish_login(connection);
  } else if (outcome.statements > 0 && query_delays_.delay_ns > 0 && !outcome.close) {
    return delay(connection, query_delays_);
  }
  flush(connection);
}

void NullServer::delay(Connection& connection, DelayLine& line) {
  connection.delayed = true;
  arm(connection, 0);
  line.entries.push_back({monotonic_ns() + line.delay_ns, connection.fd, connection.serial});
  set_timer();
}

void NullServer::set_timer() {
  long long due_ns = 0;
  for (const auto* line : {&login_delays_, &query_delays_}) {
    if (!line->entries.empty() && (due_ns == 0 || line->entries.front().due_ns < due_ns))
      due_ns = line->entries.front().due_ns;
  }
  itimerspec when{};
  when.it_value.tv_sec = due_ns / 1'000'000'000;
  when.it_value.tv_nsec = due_ns % 1'000'000'000;
  timerfd_settime(timer_, TFD_TIMER_ABSTIME, &when, nullptr);
}

void NullServer::expire_all() {
  uint64_t expirations = 0;
  if (::read(timer_, &expirations, sizeof(expirations)) < 0) return;
  expire(login_delays_, true);
  expire(query_delays_, false);
  set_timer();
}

void NullServer::expire(DelayLine& line, bool is_login) {
  const long long now_ns = monotonic_ns();
  while (!line.entries.empty() && line.entries.front().due_ns <= now_ns) {
    const auto entry = line.entries.front();
    line.entries.pop_front();
    auto& slot = connections_[static_cast<std::size_t>(entry.fd)];
    if (!slot || slot->serial != entry.serial) continue;  // gone, or its descriptor is another's by now
    slot->delayed = false;
    if (is_login) finish_login(*slot);
    flush(*slot);
  }
}

void NullServer::finish_login(Connection& connection) {
  connection.session.finish_login(connection.out);
  ++logins_;
  if (options_.report_logins) print_event({{"event", "login"}, {"count", logins_}, {"monotonic_ns", monotonic_ns()}});
}

void NullServer::flush(Connection& connection) {
  if (connection.delayed) return;
  if (!connection.out.empty()) {
    const ssize_t sent = send(connection.fd, connection.out.data(), connection.out.size(), MSG_NOSIGNAL);
    if (sent < 0 && errno != EAGAIN) return drop(connection);
    connection.out.erase(0, sent > 0 ? static_cast<std::size_t>(sent) : 0);
  }
  if (!connection.out.empty()) return arm(connection, EPOLLOUT);  // read on when the peer has taken its answers
  if (connection.closing) return drop(connection);
  arm(connection, EPOLLIN);
}

void NullServer::drop(Connection& connection) {
  watch(connection.fd, 0, EPOLL_CTL_DEL);
  dropped_.push_back(std::move(connections_[static_cast<std::size_t>(connection.fd)]));
  --open_;
}

}  // namespace
}  // namespace bezel::bench

int main(int argc, char** argv) {
  bezel::bench::Options options;
  CLI::App app("A fake PostgreSQL server that does no work, for measuring poolers");
  app.add_option("--host", options.hosts,
                 "IPv4 address or, beginning with '/', folder of the unix socket; may be repeated");
  app.add_option("--port", options.port, "port; 0 lets the kernel choose")->check(CLI::Range(0, 65535));
  app.add_option("--login-delay-ms", options.login_delay_ms, "time a login takes")->check(CLI::Range(0.0, 60'000.0));
  app.add_option("--query-delay-ms", options.query_delay_ms, "time a request takes")->check(CLI::Range(0.0, 60'000.0));
  app.add_option("--max-connections", options.connections_max, "connections beyond it are closed at once");
  app.add_flag("--report-logins", options.report_logins, "print an event for each login");
  CLI11_PARSE(app, argc, argv);
  return bezel::bench::NullServer(options).run();
}
