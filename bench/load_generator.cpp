// Puts a pooler (or a server) under load: N clients, one thread, epoll. Prints JSON, one event a line; the last is
// "result".
//
//   simple, extended, prepared   each client runs one transaction after the other, for a time or a number of
//   transactions idle                         logs all clients in and holds them arrive                       all
//   clients connect at once and send one query each; how long until all are answered?

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
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "bench/endpoint.h"
#include "bench/frames.h"
#include "bench/latency_histogram.h"
#include "bench/load_client.h"
#include "bench/process_cost.h"

namespace bezel::bench {
namespace {

enum class Mode { kSimple, kExtended, kPrepared, kIdle, kArrive };

const std::map<std::string, Mode> kModes = {{"simple", Mode::kSimple},
                                            {"extended", Mode::kExtended},
                                            {"prepared", Mode::kPrepared},
                                            {"idle", Mode::kIdle},
                                            {"arrive", Mode::kArrive}};

/// How many logins run at a time where arrival is not what is measured.
constexpr int kParallelLogins = 32;
constexpr long long kSecond = 1'000'000'000;
constexpr long long kDrainNs = 5 * kSecond;
/// A unix socket's full backlog refuses at once instead of waiting.
constexpr long long kRetryNs = kSecond / 1000;

struct Options {
  Endpoint target{"127.0.0.1", 6432};
  std::string user = "bench";
  std::string database = "bench";
  std::string sql = "select 1";
  Mode mode = Mode::kSimple;
  unsigned clients = 50;
  double seconds = 5;
  double warmup_seconds = 0;
  unsigned long long transactions = 0;  // of each client; 0: as many as fit in the time
  double timeout_seconds = 120;         // for the logins, and for --transactions and arrive as a whole
  int watch_pid = 0;
};

struct Client {
  enum class State { kUnconnected, kConnecting, kLoggingIn, kPreparing, kIdle, kBusy, kLost };
  int fd = -1;
  State state = State::kUnconnected;
  ReplyReader reply;
  long long sent_ns = 0;
  unsigned long long done = 0;
  std::string unsent;  // of a request that the socket did not take whole
};

class LoadGenerator {
 public:
  explicit LoadGenerator(const Options& options);
  ~LoadGenerator();
  LoadGenerator(const LoadGenerator&) = delete;
  LoadGenerator& operator=(const LoadGenerator&) = delete;

  /// The process's exit code: 0 when every client was answered as it should.
  int run();

 private:
  bool log_in_all();
  void arrive();
  void measure();
  void hold();
  bool holding(long long end_ns) { return !stopped_ && lost_ == 0 && monotonic_ns() < end_ns; }

  void turn(long long until_ns);
  void connect_more();
  void connect(Client& client);
  void handle(Client& client, uint32_t events);
  void advance(Client& client);
  void on_answer(Client& client, long long now_ns);
  void on_reply(Client& client, bool good, long long now_ns);
  void send_transaction(Client& client, long long now_ns);
  void send_bytes(Client& client, std::string_view bytes);
  void watch(const Client& client, uint32_t events, int operation);
  void lose(Client& client, const std::string& why);
  void count_error(const std::string& why);
  void mark_begin();
  void mark_end();
  nlohmann::json result() const;
  long long deadline_after(double seconds) const { return monotonic_ns() + static_cast<long long>(seconds * 1e9); }

  Options options_;
  Request request_;
  std::string startup_;
  int epoll_ = epoll_create1(EPOLL_CLOEXEC);
  int stop_ = stop_signals();
  bool stopped_ = false;
  std::vector<Client> clients_;
  std::deque<Client*> unconnected_;
  long long retry_ns_ = 0;  // when connecting may go on after a full backlog
  unsigned logging_in_ = 0;
  unsigned parallel_logins_max_ = kParallelLogins;
  unsigned ready_ = 0;  // logged in (and prepared)
  unsigned lost_ = 0;
  unsigned outstanding_ = 0;
  bool sending_ = false;  // whether an answered client sends its next transaction
  bool in_window_ = false;
  unsigned long long answered_ = 0;
  unsigned long long transactions_ = 0;         // answered rightly
  unsigned long long window_transactions_ = 0;  // those while measuring
  unsigned long long errors_ = 0;
  std::string first_error_;
  LatencyHistogram latency_;
  LatencyHistogram login_latency_;  // since the start
  long long start_ns_ = 0;
  long long all_logged_in_ns_ = 0;
  long long all_answered_ns_ = 0;
  long long window_begin_ns_ = 0;
  long long window_end_ns_ = 0;
  std::optional<ProcessCost> cost_begin_;
  std::optional<ProcessCost> cost_end_;
  std::array<char, 65536> buffer_;
};

QueryProtocol protocol_of(Mode mode) {
  if (mode == Mode::kExtended) return QueryProtocol::kExtended;
  return mode == Mode::kPrepared ? QueryProtocol::kPrepared : QueryProtocol::kSimple;
}

void print_event(const nlohmann::json& event) {
  std::puts(event.dump().c_str());
  std::fflush(stdout);
}

LoadGenerator::LoadGenerator(const Options& options)
    : options_(options),
      request_(make_request(protocol_of(options.mode), options.sql)),
      startup_(startup_message(options.user, options.database, "load_generator")),
      clients_(options.clients) {
  for (auto& client : clients_) unconnected_.push_back(&client);
  if (options.mode == Mode::kArrive) parallel_logins_max_ = options.clients;
  epoll_event event{};
  event.events = EPOLLIN;
  event.data.ptr = nullptr;
  epoll_ctl(epoll_, EPOLL_CTL_ADD, stop_, &event);
}

LoadGenerator::~LoadGenerator() {
  std::string terminate;
  append_frame(terminate, 'X', "");
  for (const auto& client : clients_) {
    if (client.fd < 0) continue;
    if (client.state == Client::State::kIdle)
      send(client.fd, terminate.data(), terminate.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
    close(client.fd);
  }
}

int LoadGenerator::run() {
  raise_open_files();
  start_ns_ = monotonic_ns();
  if (options_.mode == Mode::kArrive) {
    arrive();
  } else if (log_in_all()) {
    options_.mode == Mode::kIdle ? hold() : measure();
  }
  const auto outcome = result();
  print_event(outcome);
  if (errors_ > 0) std::fprintf(stderr, "load_generator: %llu errors, the first: %s\n", errors_, first_error_.c_str());
  return errors_ == 0 ? 0 : 1;
}

bool LoadGenerator::log_in_all() {
  const long long deadline_ns = deadline_after(options_.timeout_seconds);
  while (ready_ + lost_ < clients_.size() && !stopped_ && monotonic_ns() < deadline_ns) turn(deadline_ns);
  if (ready_ == clients_.size()) return true;
  count_error("only " + std::to_string(ready_) + " of " + std::to_string(clients_.size()) + " clients logged in");
  return false;
}

void LoadGenerator::arrive() {
  sending_ = true;
  options_.transactions = 1;
  const long long deadline_ns = deadline_after(options_.timeout_seconds);
  in_window_ = true;
  window_begin_ns_ = start_ns_;
  while (answered_ + lost_ < clients_.size() && !stopped_ && monotonic_ns() < deadline_ns) turn(deadline_ns);
  window_end_ns_ = monotonic_ns();
  if (transactions_ < clients_.size()) count_error("not every client was answered");
}

void LoadGenerator::measure() {
  const bool timed = options_.transactions == 0;
  sending_ = true;
  const long long now_ns = monotonic_ns();
  if (!timed || options_.warmup_seconds <= 0) mark_begin();
  for (auto& client : clients_) send_transaction(client, now_ns);
  const long long begin_ns = deadline_after(options_.warmup_seconds);
  const long long end_ns =
      timed ? begin_ns + static_cast<long long>(options_.seconds * 1e9) : deadline_after(options_.timeout_seconds);
  while (outstanding_ > 0 && !stopped_ && monotonic_ns() < end_ns) {
    turn(in_window_ ? end_ns : begin_ns);
    if (!in_window_ && monotonic_ns() >= begin_ns) mark_begin();
  }
  mark_end();
  sending_ = false;
  const long long drain_ns = monotonic_ns() + kDrainNs;
  while (outstanding_ > 0 && monotonic_ns() < drain_ns) turn(drain_ns);
  if (outstanding_ > 0) count_error(std::to_string(outstanding_) + " requests were never answered");
}

void LoadGenerator::hold() {
  if (options_.transactions > 0) {
    sending_ = true;
    const long long deadline_ns = deadline_after(options_.timeout_seconds);
    const long long now_ns = monotonic_ns();
    for (auto& client : clients_) send_transaction(client, now_ns);
    while (outstanding_ > 0 && !stopped_ && monotonic_ns() < deadline_ns) turn(deadline_ns);
    if (outstanding_ > 0) count_error(std::to_string(outstanding_) + " requests were never answered");
  }
  print_event({{"event", "holding"}, {"clients", ready_ - lost_}});
  const long long end_ns = deadline_after(options_.seconds);
  while (holding(end_ns)) turn(end_ns);
}

void LoadGenerator::turn(long long until_ns) {
  connect_more();
  long long wait_ns = until_ns - monotonic_ns();
  if (!unconnected_.empty() && logging_in_ < parallel_logins_max_) wait_ns = std::min(wait_ns, kRetryNs);
  const int timeout_ms = static_cast<int>(std::clamp((wait_ns + 999'999) / 1'000'000, 0LL, 1000LL));
  std::array<epoll_event, 256> events;
  const int count = epoll_wait(epoll_, events.data(), static_cast<int>(events.size()), timeout_ms);
  for (int i = 0; i < count; ++i) {
    const auto& event = events[static_cast<std::size_t>(i)];
    if (event.data.ptr == nullptr) {
      stopped_ = true;
    } else {
      handle(*static_cast<Client*>(event.data.ptr), event.events);
    }
  }
}

void LoadGenerator::connect_more() {
  while (!unconnected_.empty() && logging_in_ < parallel_logins_max_ && monotonic_ns() >= retry_ns_) {
    Client& client = *unconnected_.front();
    unconnected_.pop_front();
    connect(client);
  }
}

void LoadGenerator::connect(Client& client) {
  const auto connection = start_connect(options_.target);
  if (!connection.ok() && connection.error_code == EAGAIN) {
    unconnected_.push_front(&client);
    retry_ns_ = monotonic_ns() + kRetryNs;
    return;
  }
  ++logging_in_;
  client.state = Client::State::kConnecting;
  if (!connection.ok()) return lose(client, connection.error);
  client.fd = connection.fd;
  watch(client, EPOLLOUT, EPOLL_CTL_ADD);
}

void LoadGenerator::watch(const Client& client, uint32_t events, int operation) {
  epoll_event event{};
  event.events = events;
  event.data.ptr = const_cast<Client*>(&client);
  epoll_ctl(epoll_, operation, client.fd, &event);
}

void LoadGenerator::handle(Client& client, uint32_t events) {
  if (client.state == Client::State::kLost) return;
  if (client.state == Client::State::kConnecting) return advance(client);
  if ((events & EPOLLOUT) != 0) {
    const std::string rest = std::move(client.unsent);
    client.unsent.clear();
    watch(client, EPOLLIN, EPOLL_CTL_MOD);
    send_bytes(client, rest);
    return;
  }
  const ssize_t received = recv(client.fd, buffer_.data(), buffer_.size(), 0);
  if (received < 0 && (errno == EAGAIN || errno == EINTR)) return;
  if (received < 0) return lose(client, std::string("connection lost: ") + std::strerror(errno));
  if (received == 0) return lose(client, client.reply.error().empty() ? "connection closed" : client.reply.error());
  const long long now_ns = monotonic_ns();
  switch (client.reply.consume({buffer_.data(), static_cast<std::size_t>(received)})) {
    case ReplyReader::Result::kPending:
      return;
    case ReplyReader::Result::kReady:
      return on_answer(client, now_ns);
    case ReplyReader::Result::kFailed:
      break;
  }
  if (!client.reply.can_continue()) return lose(client, client.reply.error());
  count_error(client.reply.error());
  on_reply(client, false, now_ns);
}

/// The connect is through, or has failed.
void LoadGenerator::advance(Client& client) {
  int code = 0;
  socklen_t length = sizeof(code);
  getsockopt(client.fd, SOL_SOCKET, SO_ERROR, &code, &length);
  if (code != 0) return lose(client, std::string("connect: ") + std::strerror(code));
  client.state = Client::State::kLoggingIn;
  client.reply.expect_login();
  watch(client, EPOLLIN, EPOLL_CTL_MOD);
  send_bytes(client, startup_);
}

void LoadGenerator::on_answer(Client& client, long long now_ns) {
  if (client.state == Client::State::kBusy) return on_reply(client, true, now_ns);
  if (client.state == Client::State::kLoggingIn && !request_.preparation.empty()) {
    client.state = Client::State::kPreparing;
    client.reply.expect_preparation();
    return send_bytes(client, request_.preparation);
  }
  client.state = Client::State::kIdle;
  client.reply.expect_nothing();
  --logging_in_;
  ++ready_;
  login_latency_.add(static_cast<uint64_t>((now_ns - start_ns_) / 1000));
  all_logged_in_ns_ = now_ns;
  if (options_.mode == Mode::kArrive) send_transaction(client, now_ns);
}

void LoadGenerator::on_reply(Client& client, bool good, long long now_ns) {
  --outstanding_;
  ++answered_;
  if (good) ++transactions_;
  ++client.done;
  client.state = Client::State::kIdle;
  client.reply.expect_nothing();
  all_answered_ns_ = now_ns;
  if (in_window_ && good) {
    ++window_transactions_;
    const long long since_ns = options_.mode == Mode::kArrive ? start_ns_ : client.sent_ns;
    latency_.add(static_cast<uint64_t>((now_ns - since_ns) / 1000));
  }
  if (sending_ && (options_.transactions == 0 || client.done < options_.transactions)) send_transaction(client, now_ns);
}

void LoadGenerator::send_transaction(Client& client, long long now_ns) {
  if (client.state != Client::State::kIdle) return;
  client.state = Client::State::kBusy;
  client.sent_ns = now_ns;
  client.reply.expect_reply(request_.protocol);
  ++outstanding_;
  send_bytes(client, request_.transaction);
}

void LoadGenerator::send_bytes(Client& client, std::string_view bytes) {
  const ssize_t sent = send(client.fd, bytes.data(), bytes.size(), MSG_NOSIGNAL);
  if (sent < 0 && errno != EAGAIN) return lose(client, std::string("send: ") + std::strerror(errno));
  const auto taken = static_cast<std::size_t>(std::max<ssize_t>(sent, 0));
  if (taken == bytes.size()) return;
  client.unsent = bytes.substr(taken);
  watch(client, EPOLLIN | EPOLLOUT, EPOLL_CTL_MOD);
}

void LoadGenerator::lose(Client& client, const std::string& why) {
  const auto state = client.state;
  if (state == Client::State::kConnecting || state == Client::State::kLoggingIn || state == Client::State::kPreparing)
    --logging_in_;
  if (state == Client::State::kBusy) --outstanding_;
  client.state = Client::State::kLost;
  if (client.fd >= 0) close(client.fd);
  client.fd = -1;
  ++lost_;
  count_error(why);
}

void LoadGenerator::count_error(const std::string& why) {
  if (errors_++ == 0) first_error_ = why;
}

void LoadGenerator::mark_begin() {
  in_window_ = true;
  window_begin_ns_ = monotonic_ns();
  if (options_.watch_pid > 0) cost_begin_ = read_process_cost(options_.watch_pid);
}

void LoadGenerator::mark_end() {
  // With a number of transactions the window ends with the last answer, not with the turn that saw it.
  window_end_ns_ = options_.transactions > 0 && all_answered_ns_ > 0 ? all_answered_ns_ : monotonic_ns();
  if (!in_window_) window_begin_ns_ = window_end_ns_;  // every client was lost in the warm-up
  in_window_ = false;
  if (options_.watch_pid > 0) cost_end_ = read_process_cost(options_.watch_pid);
}

nlohmann::json latency_summary(const LatencyHistogram& latency) {
  return {{"count", latency.count()},
          {"p50", latency.quantile_us(0.50)},
          {"p99", latency.quantile_us(0.99)},
          {"max", latency.max_us()}};
}

nlohmann::json LoadGenerator::result() const {
  const double window_s = static_cast<double>(window_end_ns_ - window_begin_ns_) / 1e9;
  const auto since_start_us = [&](long long at_ns) { return at_ns > 0 ? (at_ns - start_ns_) / 1000 : -1; };
  nlohmann::json outcome = {{"event", "result"},
                            {"clients", clients_.size()},
                            {"logged_in", ready_},
                            {"lost", lost_},
                            {"transactions", transactions_},
                            {"window_transactions", window_transactions_},
                            {"window_seconds", window_s},
                            {"tps", window_s > 0 ? static_cast<double>(window_transactions_) / window_s : 0.0},
                            {"latency_us", latency_summary(latency_)},
                            {"login_us", latency_summary(login_latency_)},
                            {"errors", errors_},
                            {"start_monotonic_ns", start_ns_},
                            {"all_logged_in_us", ready_ == clients_.size() ? since_start_us(all_logged_in_ns_) : -1},
                            {"all_answered_us", since_start_us(all_answered_ns_)}};
  if (errors_ > 0) outcome["first_error"] = first_error_;
  if (cost_begin_ && cost_end_) {
    const auto cost = *cost_end_ - *cost_begin_;
    outcome["watched"] = {{"cpu_us", cost.cpu_us},
                          {"voluntary_switches", cost.voluntary_switches},
                          {"involuntary_switches", cost.involuntary_switches}};
  } else if (options_.watch_pid > 0) {
    outcome["watched"] = nullptr;
  }
  return outcome;
}

}  // namespace
}  // namespace bezel::bench

int main(int argc, char** argv) {
  using bezel::bench::kModes;
  bezel::bench::Options options;
  CLI::App app("Puts a PostgreSQL pooler or server under load; prints JSON");
  app.add_option("--host", options.target.host, "IPv4 address or, beginning with '/', folder of the unix socket");
  app.add_option("--port", options.target.port, "port")->check(CLI::Range(1, 65535));
  app.add_option("--user", options.user, "user; the login must be trust");
  app.add_option("--database", options.database, "database");
  app.add_option("--query", options.sql, "the one statement of each transaction");
  app.add_option("--mode", options.mode, "simple, extended, prepared, idle or arrive")
      ->transform(CLI::CheckedTransformer(kModes));
  app.add_option("--clients", options.clients, "clients")->check(CLI::Range(1, 100'000));
  app.add_option("--seconds", options.seconds, "how long to measure, or to hold idle clients")
      ->check(CLI::Range(0.0, 86'400.0));
  app.add_option("--warmup", options.warmup_seconds, "seconds of load before measuring")
      ->check(CLI::Range(0.0, 3600.0));
  app.add_option("--transactions", options.transactions,
                 "transactions of each client, instead of a time; with idle: before they are held");
  app.add_option("--timeout", options.timeout_seconds, "seconds for all logins; also for --transactions and arrive")
      ->check(CLI::Range(0.001, 86'400.0));
  app.add_option("--watch-pid", options.watch_pid, "report what this process spends while measuring");
  CLI11_PARSE(app, argc, argv);
  return bezel::bench::LoadGenerator(options).run();
}
