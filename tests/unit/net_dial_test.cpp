#include <arpa/inet.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/un.h>

#include <filesystem>
#include <fstream>

#include "fake_dns/fake_dns_server.h"
#include "net_loops.h"
#include "src/net/name_cache.h"

namespace bezel::net {
namespace {

/// A listening socket of the test's side.
class Listener {
 public:
  /// On loopback: 127.0.0.<last>, a free port unless given.
  explicit Listener(int last = 1, uint16_t port = 0) : descriptor_(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(port);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK + static_cast<uint32_t>(last) - 1);
    socklen_t size = sizeof address;
    REQUIRE(::bind(descriptor_, reinterpret_cast<sockaddr*>(&address), size) == 0);
    REQUIRE(::listen(descriptor_, 16) == 0);
    REQUIRE(::getsockname(descriptor_, reinterpret_cast<sockaddr*>(&address), &size) == 0);
    port_ = ntohs(address.sin_port);
  }
  /// A Unix socket.
  Listener(const std::string& path, int backlog) : descriptor_(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    std::strncpy(address.sun_path, path.c_str(), sizeof address.sun_path - 1);
    REQUIRE(::bind(descriptor_, reinterpret_cast<sockaddr*>(&address), sizeof address) == 0);
    REQUIRE(::listen(descriptor_, backlog) == 0);
  }
  Listener(const Listener&) = delete;
  Listener& operator=(const Listener&) = delete;
  ~Listener() { ::close(descriptor_); }
  int accept_one() const { return ::accept4(descriptor_, nullptr, nullptr, SOCK_CLOEXEC); }
  uint16_t port() const { return port_; }

 private:
  int descriptor_;
  uint16_t port_ = 0;
};

/// A port of loopback where nobody listens (any more).
uint16_t dead_port() {
  return Listener().port();
}

class TemporaryFolder {
 public:
  TemporaryFolder() {
    std::string path = (std::filesystem::temp_directory_path() / "bezel-net-XXXXXX").string();
    REQUIRE(::mkdtemp(path.data()) != nullptr);
    path_ = path;
  }
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;
  ~TemporaryFolder() { std::filesystem::remove_all(path_); }
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

std::shared_ptr<RecordedStream> dial(TestLoops& loops, const std::string& host, uint16_t port,
                                     const pool::Settings& settings = {}) {
  auto recorded = std::make_shared<RecordedStream>();
  loops.on(0, [&] {
    recorded->stream = loops.runtime().dial({host, port}, settings, *recorded);
    loops.client().own_streams.push_back(recorded);
    CHECK_FALSE(recorded->connected);
    CHECK_FALSE(recorded->closed);
  });
  return recorded;
}

std::string failure_of(TestLoops& loops, const std::string& host, uint16_t port, const pool::Settings& settings = {}) {
  const auto recorded = dial(loops, host, port, settings);
  loops.until(0, [&] { return recorded->closed; });
  std::string reason;
  loops.on(0, [&] {
    CHECK_FALSE(recorded->connected);
    reason = recorded->reason;
    recorded->stream.reset();
  });
  return reason;
}

NameAnswer answer(std::initializer_list<const char*> addresses) {
  NameAnswer result;
  for (const char* one : addresses) result.addresses.push_back(*SocketAddress::from_literal(one, 0));
  return result;
}

/// Tells which of some descriptors, none of them readable yet, becomes so first.
class FirstReadable {
 public:
  FirstReadable(std::initializer_list<int> descriptors) {
    REQUIRE(waiting_ >= 0);
    for (const int one : descriptors) {
      epoll_event interest{};
      interest.events = EPOLLIN;
      interest.data.fd = one;
      REQUIRE(::epoll_ctl(waiting_, EPOLL_CTL_ADD, one, &interest) == 0);
    }
  }
  FirstReadable(const FirstReadable&) = delete;
  FirstReadable& operator=(const FirstReadable&) = delete;
  ~FirstReadable() { ::close(waiting_); }
  /// The kernel lists what is ready in the order in which it became so.
  int wait() const {
    epoll_event first{};
    CHECK(::epoll_wait(waiting_, &first, 1, 30'000) == 1);
    return first.data.fd;
  }

 private:
  int waiting_ = ::epoll_create1(EPOLL_CLOEXEC);
};

TEST_CASE("net: what is for servers leaves a turn before what is for clients, whatever was written first") {
  for (const pool::BatchedSends mode : sending_modes()) {
    CAPTURE(static_cast<int>(mode));
    const Listener listener;
    TestLoops loops(1, mode);
    auto client = std::make_shared<RecordedStream>();
    const int client_end = loops.pair(0, client);
    const auto server = dial(loops, "127.0.0.1", listener.port());
    const int server_end = listener.accept_one();
    loops.until(0, [&] { return server->connected; });
    for (int round = 0; round < 40; round++) {  // more than it takes to become known to the kernel
      const FirstReadable first({client_end, server_end});
      loops.on(0, [&] {
        client->stream->write("answer");
        server->stream->write("query");
      });
      CHECK(first.wait() == server_end);
      CHECK(receive_exactly(client_end, 6) == "answer");
      CHECK(receive_exactly(server_end, 5) == "query");
    }
    ::close(client_end);
    ::close(server_end);
  }
}

TEST_CASE("net: a dialled stream connects, by address and by name, and sends what was written before") {
  const Listener listener;
  TestLoops loops(1);
  for (const char* host : {"127.0.0.1", "localhost"}) {
    CAPTURE(host);
    auto recorded = std::make_shared<RecordedStream>();
    pool::Settings settings;
    settings.tcp_keepidle_us = 77'000'000;
    loops.on(0, [&] {
      recorded->stream = loops.runtime().dial({host, listener.port()}, settings, *recorded);
      loops.client().own_streams.push_back(recorded);
      recorded->stream->write_copy("startup ");
      recorded->connected_hook = [&] { recorded->stream->write("and more"); };
    });
    const int end = listener.accept_one();
    CHECK(receive_exactly(end, 16) == "startup and more");
    send_all(end, "welcome");
    loops.until(0, [&] { return recorded->received == "welcome"; });
    loops.on(0, [&] {
      CHECK(recorded->connected);
      const pool::StreamEnds ends = recorded->stream->ends();
      CHECK(ends.peer_address == "127.0.0.1");
      CHECK(ends.peer_port == listener.port());
      CHECK(ends.local_address == "127.0.0.1");
      CHECK(ends.local_port != 0);
    });
    ::close(end);
    loops.until(0, [&] { return recorded->closed; });
    loops.on(0, [&] { CHECK(recorded->reason == ""); });
  }
}

TEST_CASE("net: dials that fail say why") {
  TestLoops loops(1);
  const TemporaryFolder folder;
  CHECK(failure_of(loops, "127.0.0.1", dead_port()) == "Connection refused");
  CHECK(failure_of(loops, folder.path(), 5432) == "No such file or directory");
  CHECK(failure_of(loops, "/" + std::string(200, 'x'), 5432) ==
        "the path of the Unix socket in /" + std::string(200, 'x') + " is too long");
  fake_dns::FakeDnsServer names;
  pool::Settings settings;
  settings.resolv_conf = folder.path() + "/resolv.conf";
  std::ofstream(settings.resolv_conf) << names.line();
  CHECK(failure_of(loops, "no-such-host.example", 5432, settings) ==
        "could not resolve \"no-such-host.example\": the name does not exist");
  CHECK(failure_of(loops, "", 5432, settings) == "could not resolve \"\": this is no name");
  CHECK(failure_of(loops, "255.255.255.255", 5432) != "");
  loops.until(0, [&] { return loops.runtime().connection_count() == 0; });
}

TEST_CASE("net: a dial that is released before it ends leaves nothing behind") {
  TestLoops loops(1);
  for (const char* host : {"127.0.0.1", "localhost", "no-such-host.invalid", "/nowhere"}) {
    loops.on(0, [&] {
      RecordedStream recorded;
      recorded.stream = loops.runtime().dial({host, 1}, pool::Settings{}, recorded);
      recorded.stream->write_copy("never sent");
      recorded.stream.reset();
    });
  }
  loops.until(0, [&] { return loops.runtime().connection_count() == 0; });
}

TEST_CASE("net: Unix sockets, by their directory") {
  const TemporaryFolder folder;
  const Listener listener(folder.path() + "/.s.PGSQL.5433", 16);
  TestLoops loops(1);
  const auto recorded = dial(loops, folder.path(), 5433);
  const int end = listener.accept_one();
  loops.until(0, [&] { return recorded->connected; });
  loops.on(0, [&] {
    recorded->stream->write("hello");
    CHECK(recorded->stream->ends().peer_address == "unix");
    CHECK(recorded->stream->ends().peer_port == 5433);
  });
  CHECK(receive_exactly(end, 5) == "hello");
  ::close(end);
}

TEST_CASE("net: a Unix socket whose queue is full is tried again") {
  const TemporaryFolder folder;
  const Listener listener(folder.path() + "/.s.PGSQL.5433", 0);
  TestLoops loops(1);
  std::vector<std::shared_ptr<RecordedStream>> dialled;
  for (int i = 0; i < 5; i++) dialled.push_back(dial(loops, folder.path(), 5433));
  std::vector<int> ends;
  for (int i = 0; i < 5; i++) ends.push_back(listener.accept_one());
  for (const auto& one : dialled) loops.until(0, [&] { return one->connected; });
  for (const int end : ends) ::close(end);
}

TEST_CASE("net: all addresses of a name are tried, beginning with another one each time") {
  // The same port on two addresses, and nobody on the third.
  const Listener first(1);
  const Listener second(2, first.port());
  TestLoops loops(1);
  const pool::Settings settings;
  loops.on(0, [&] {
    loops.runtime().loop().resolver().names().store("several.test", answer({"127.0.0.1", "127.0.0.2", "127.0.0.3"}),
                                                    loops.runtime().now_us(), {3600'000'000, 1});
    loops.runtime().loop().resolver().names().store("dead.test", answer({"127.0.0.3", "127.0.0.4"}),
                                                    loops.runtime().now_us(), {3600'000'000, 1});
  });
  int by_first = 0, by_second = 0;
  for (int i = 0; i < 6; i++) {
    const auto recorded = dial(loops, "several.test", first.port(), settings);
    loops.until(0, [&] { return recorded->connected; });
    loops.on(0, [&] {
      const std::string peer = recorded->stream->ends().peer_address;
      by_first += peer == "127.0.0.1";
      by_second += peer == "127.0.0.2";
    });
  }
  CHECK(by_first >= 2);
  CHECK(by_second >= 2);
  CHECK(by_first + by_second == 6);
  CHECK(failure_of(loops, "dead.test", first.port()) == "Connection refused");
}

TEST_CASE("net: an address that does not answer leaves time for the next") {
  // A listener whose queue is full drops what comes: to the client nobody answers.
  const Listener silent(1);
  const Listener answering(2, silent.port());
  std::vector<int> filling;
  for (int i = 0; i < 40; i++) {
    const int one = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(silent.port());
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    ::connect(one, reinterpret_cast<sockaddr*>(&address), sizeof address);
    filling.push_back(one);
  }
  TestLoops loops(1);
  pool::Settings settings;
  settings.server_connect_timeout_us = 1;  // each address has its least time
  loops.on(0, [&] {
    loops.runtime().loop().resolver().names().store("half.test", answer({"127.0.0.1", "127.0.0.2"}),
                                                    loops.runtime().now_us(), {3600'000'000, 1});
  });
  for (int i = 0; i < 2; i++) {
    const auto recorded = dial(loops, "half.test", silent.port(), settings);
    loops.until(0, [&] { return recorded->connected; });
    loops.on(0, [&] { CHECK(recorded->stream->ends().peer_address == "127.0.0.2"); });
  }
  for (const int one : filling) ::close(one);
}

TEST_CASE("net: what is known of a name grows old; a passing failure does not take it away") {
  NameCache names;
  CHECK(names.find("a", 0) == nullptr);
  names.store("a", answer({"192.0.2.1"}), 1000, {500, 50});
  REQUIRE(names.find("a", 1499) != nullptr);
  CHECK(names.find("a", 1499)->addresses[0].host_text() == "192.0.2.1");
  CHECK(names.find("a", 1500) == nullptr);

  // Nobody could say: the old addresses, but asked again soon.
  const auto kept = names.store("a", NameAnswer{{}, "try again", false}, 2000, {500, 50});
  CHECK(kept->addresses.size() == 1);
  CHECK(names.find("a", 2049) != nullptr);
  CHECK(names.find("a", 2050) == nullptr);

  // The name is gone.
  const auto gone = names.store("a", NameAnswer{{}, "no such name", true}, 3000, {500, 50});
  CHECK(gone->addresses.empty());
  CHECK(gone->error == "no such name");
  CHECK(names.find("a", 3049) == gone);

  names.store("b", answer({"192.0.2.1", "192.0.2.2"}), 0, {500, 50});
  CHECK(names.next_turn("b") == 0);
  CHECK(names.next_turn("b") == 1);
  for (int i = 0; i < 5000; i++) names.store("host" + std::to_string(i), answer({"192.0.2.1"}), 0, {500, 50});
  names.clear();
  CHECK(names.find("b", 0) == nullptr);
}

TEST_CASE("net: addresses are kept for their time to live, within bounds") {
  NameCache names;
  constexpr int64_t kSecond = 1'000'000;
  const NameTtls ttls{15 * kSecond, 3 * kSecond};
  const auto kept_us = [&](int64_t ttl_us, const NameTtls& bounds) {
    NameAnswer one = answer({"192.0.2.1"});
    one.ttl_us = ttl_us;
    names.store("a", std::move(one), 1000, bounds);
    return names.list(1000).at(0).ttl_us;
  };
  CHECK(kept_us(5 * kSecond, ttls) == 5 * kSecond);
  CHECK(kept_us(3600 * kSecond, ttls) == 15 * kSecond);
  CHECK(kept_us(INT64_MAX, ttls) == 15 * kSecond);
  CHECK(kept_us(0, ttls) == kSecond);
  CHECK(kept_us(5 * kSecond, {kSecond / 4, 0}) == kSecond / 4);

  // What one loop could not find out does not make older what another one has.
  names.store("b", answer({"192.0.2.2"}), 0, ttls);
  names.store("b", NameAnswer{.error = "try again"}, 14 * kSecond, ttls);
  CHECK(names.list(14 * kSecond).at(1).ttl_us == kSecond);
  CHECK(names.find("b", 15 * kSecond) == nullptr);

  // However old.
  CHECK(names.find_stale("b")->addresses.size() == 1);
  names.store("b", NameAnswer{.error = "try again"}, int64_t{1'000'000} * kSecond, ttls);
  CHECK(names.find_stale("b")->addresses.size() == 1);
  CHECK(names.find_stale("c") == nullptr);
  names.store("c", NameAnswer{.error = "gone", .is_final_failure = true}, 0, ttls);
  CHECK(names.find_stale("c") == nullptr);

  const auto all = names.list(int64_t{1'000'001} * kSecond);
  REQUIRE(all.size() == 3);
  CHECK(all[0].host == "a");
  CHECK(all[0].ttl_us == 0);
  CHECK(all[0].answer->addresses[0].host_text() == "192.0.2.1");
  CHECK(all[1].ttl_us == 2 * kSecond);
  CHECK(all[2].answer->error == "gone");
}

TEST_CASE("net: addresses as text") {
  CHECK(SocketAddress::from_literal("192.0.2.1", 5432)->text() == "192.0.2.1:5432");
  CHECK(SocketAddress::from_literal("[2001:db8::1]", 1)->text() == "[2001:db8::1]:1");
  CHECK(SocketAddress::from_literal("::1", 7)->port() == 7);
  CHECK_FALSE(SocketAddress::from_literal("localhost", 7).has_value());
  CHECK_FALSE(SocketAddress::from_literal("", 7).has_value());
  CHECK_FALSE(SocketAddress::from_literal("fe80::1%nosuchlink", 7).has_value());
  CHECK(SocketAddress::from_socket_directory("/run", 5432)->text() == "/run/.s.PGSQL.5432");
  CHECK(PeerAddress::of(*SocketAddress::from_literal("2001:db8::1", 9)).text() == "2001:db8::1");
}

}  // namespace
}  // namespace bezel::net
