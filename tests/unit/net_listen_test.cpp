#include <fcntl.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/un.h>

#include <filesystem>
#include <fstream>

#include "net_loops.h"

namespace bezel::net {
namespace {

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

pool::Settings tcp_settings(uint16_t port = 0) {
  pool::Settings settings;
  settings.listen_addr = "127.0.0.1";
  settings.listen_port = port;
  settings.unix_socket_dir = "";
  return settings;
}

int integer_option(int descriptor, int level, int option) {
  int value = -1;
  socklen_t size = sizeof value;
  ::getsockopt(descriptor, level, option, &value, &size);
  return value;
}

/// How many clients a worker has taken.
size_t accepted_by(TestLoops& loops, int worker) {
  size_t count = 0;
  loops.on(worker, [&] { count = loops.client(worker).accepted_streams.size(); });
  return count;
}

void wait_for_clients(TestLoops& loops, size_t count) {
  const auto give_up = std::chrono::steady_clock::now() + kPatience;
  for (;;) {
    size_t all = 0;
    for (int i = 0; i < loops.threads().size(); i++) all += accepted_by(loops, i);
    if (all == count) return;
    REQUIRE(std::chrono::steady_clock::now() < give_up);
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
}

TEST_CASE("net: each worker accepts over TCP and says who is at the other end") {
  ListenSockets sockets;
  REQUIRE(sockets.open(tcp_settings(), 2, Log{}) == "");
  REQUIRE(sockets.port() != 0);
  TestLoops loops(2, pool::BatchedSends::off, &sockets);
  std::vector<int> ends;
  for (int i = 0; i < 60; i++) ends.push_back(connect_tcp(sockets.port()));
  wait_for_clients(loops, 60);
  size_t spread_over = 0;
  for (int worker = 0; worker < 2; worker++) {
    loops.on(worker, [&] {
      spread_over += !loops.client(worker).accepted_streams.empty();
      for (const auto& one : loops.client(worker).accepted_streams) {
        const pool::StreamEnds stream_ends = one->stream->ends();
        CHECK(stream_ends.peer_address == "127.0.0.1");
        CHECK(stream_ends.local_address == "127.0.0.1");
        CHECK(stream_ends.local_port == sockets.port());
        CHECK(stream_ends.peer_port != 0);
        CHECK_FALSE(stream_ends.peer_pid);
        CHECK_FALSE(stream_ends.peer_user_id);
        one->stream->write("hello");
      }
    });
  }
  CHECK(spread_over == 2);
  for (const int end : ends) {
    CHECK(receive_exactly(end, 5) == "hello");
    ::close(end);
  }
}

TEST_CASE("net: what is wrong with a listening address is said") {
  ListenSockets sockets;
  REQUIRE(sockets.open(tcp_settings(), 1, Log{}) == "");
  const std::string where = "127.0.0.1:" + std::to_string(sockets.port());
  ListenSockets other;
  CHECK(other.open(tcp_settings(sockets.port()), 2, Log{}) ==
        "could not listen on " + where + ": Address already in use");
  pool::Settings settings = tcp_settings();
  settings.listen_addr = "no-such-host.invalid";
  settings.listen_port = 6432;
  CHECK(other.open(settings, 1, Log{}).rfind("could not listen on no-such-host.invalid:6432: ", 0) == 0);
  settings.listen_addr = "192.0.2.1";
  CHECK(other.open(settings, 1, Log{}) == "could not listen on 192.0.2.1:6432: Cannot assign requested address");
  // Nothing is left open after an error: the port is free as soon as its owner closes.
  const uint16_t port = sockets.port();
  sockets.close();
  CHECK(other.open(tcp_settings(port), 2, Log{}) == "");
  CHECK(other.port() == port);
}

TEST_CASE("net: lists of addresses, and all of them") {
  ListenSockets sockets;
  pool::Settings settings = tcp_settings();
  settings.listen_addr = " 127.0.0.1 , 127.0.0.2,";
  REQUIRE(sockets.open(settings, 1, Log{}) == "");
  CHECK(sockets.tcp(0).size() == 2);
  settings.listen_addr = "*";
  REQUIRE(sockets.open(settings, 3, Log{}) == "");
  CHECK(sockets.tcp(2).size() >= 1);
  ::close(connect_tcp(sockets.port()));
  settings.listen_addr = "";
  REQUIRE(sockets.open(settings, 1, Log{}) == "");
  CHECK(sockets.tcp(0).empty());
}

TEST_CASE("net: accepted sockets have the options of the settings, also after a reload") {
  ListenSockets sockets;
  pool::Settings settings = tcp_settings();
  settings.tcp_keepcnt = 4;
  settings.tcp_keepidle_us = 31'000'000;
  settings.tcp_keepintvl_us = 7'000'000;
  settings.tcp_user_timeout_us = 12'345'000;
  REQUIRE(sockets.open(settings, 1, Log{}) == "");
  const int listening = sockets.tcp(0)[0].get();
  const auto accept_one = [&] {
    const int end = connect_tcp(sockets.port());
    int accepted = -1;
    while (accepted < 0) accepted = ::accept(listening, nullptr, nullptr);
    ::close(end);
    return accepted;
  };
  const int first = accept_one();
  CHECK(integer_option(first, SOL_SOCKET, SO_KEEPALIVE) == 1);
  CHECK(integer_option(first, IPPROTO_TCP, TCP_NODELAY) == 1);
  CHECK(integer_option(first, IPPROTO_TCP, TCP_KEEPCNT) == 4);
  CHECK(integer_option(first, IPPROTO_TCP, TCP_KEEPIDLE) == 31);
  CHECK(integer_option(first, IPPROTO_TCP, TCP_KEEPINTVL) == 7);
  CHECK(integer_option(first, IPPROTO_TCP, TCP_USER_TIMEOUT) == 12345);
  settings.tcp_keepalive = false;
  settings.tcp_defer_accept_us = 45'000'000;
  sockets.apply(settings);
  CHECK(integer_option(listening, IPPROTO_TCP, TCP_DEFER_ACCEPT) >= 45);
  settings.tcp_defer_accept_us = 0;
  sockets.apply(settings);
  CHECK(integer_option(listening, IPPROTO_TCP, TCP_DEFER_ACCEPT) == 0);
  const int second = accept_one();
  CHECK(integer_option(second, SOL_SOCKET, SO_KEEPALIVE) == 0);
  sockets.apply(tcp_settings());
  const int third = accept_one();
  const int untouched = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  CHECK(integer_option(third, SOL_SOCKET, SO_KEEPALIVE) == 1);
  for (const int option : {TCP_KEEPCNT, TCP_KEEPIDLE, TCP_KEEPINTVL, TCP_USER_TIMEOUT}) {
    CHECK(integer_option(third, IPPROTO_TCP, option) == integer_option(untouched, IPPROTO_TCP, option));
  }
  ::close(third);
  ::close(untouched);
  ::close(first);
  ::close(second);
}

TEST_CASE("net: the Unix socket: mode, stale files, its removal, and clients spread over the workers") {
  const TemporaryFolder folder;
  pool::Settings settings = tcp_settings(7777);
  settings.listen_addr = "";
  settings.unix_socket_dir = folder.path();
  settings.unix_socket_mode = 0640;
  const std::string path = folder.path() + "/.s.PGSQL.7777";

  // What a killed process leaves behind.
  const int stale = ::socket(AF_UNIX, SOCK_STREAM, 0);
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  std::strncpy(address.sun_path, path.c_str(), sizeof address.sun_path - 1);
  REQUIRE(::bind(stale, reinterpret_cast<sockaddr*>(&address), sizeof address) == 0);
  ::close(stale);

  ListenSockets sockets;
  REQUIRE(sockets.open(settings, 2, Log{}) == "");
  struct stat file {};
  REQUIRE(::stat(path.c_str(), &file) == 0);
  CHECK((file.st_mode & 0777) == 0640);
  {
    TestLoops loops(2, pool::BatchedSends::off, &sockets);
    std::vector<int> ends;
    for (int i = 0; i < 10; i++) ends.push_back(connect_unix(path));
    wait_for_clients(loops, 10);
    CHECK(accepted_by(loops, 0) == 5);
    CHECK(accepted_by(loops, 1) == 5);
    loops.on(1, [&] {
      auto& stream = *loops.client(1).accepted_streams[0]->stream;
      CHECK(stream.ends().peer_address == "unix");
      CHECK(stream.ends().local_port == 7777);
      CHECK(stream.ends().peer_pid == static_cast<uint32_t>(::getpid()));
      CHECK(stream.ends().peer_user_id == ::getuid());
    });
    for (const int end : ends) ::close(end);
  }
  {
    ListenSockets other;
    CHECK(other.open(settings, 1, Log{}) == "could not listen on " + path + ": Address already in use");
  }
  CHECK(std::filesystem::exists(path));
  sockets.close();
  CHECK_FALSE(std::filesystem::exists(path));

  std::ofstream(path) << "not a socket";
  CHECK(sockets.open(settings, 1, Log{}) == "could not listen on " + path + ": the file exists and is not a socket");
  CHECK(std::filesystem::exists(path));
  std::filesystem::remove(path);

  // Another process may have taken the place meanwhile: its file stays.
  REQUIRE(sockets.open(settings, 1, Log{}) == "");
  std::filesystem::remove(path);
  ListenSockets successor;
  REQUIRE(successor.open(settings, 1, Log{}) == "");
  sockets.close();
  CHECK(std::filesystem::exists(path));

  settings.unix_socket_group = "no such group";
  successor.close();
  CHECK(successor.open(settings, 1, Log{}) == "unix_socket_group: there is no group \"no such group\"");
  CHECK_FALSE(std::filesystem::exists(path));
  settings.unix_socket_dir = folder.path() + "/missing";
  settings.unix_socket_group = "";
  CHECK(successor.open(settings, 1, Log{}) ==
        "could not listen on " + folder.path() + "/missing/.s.PGSQL.7777: No such file or directory");
}

TEST_CASE("net: accepting pauses and resumes; who came meanwhile is served") {
  ListenSockets sockets;
  REQUIRE(sockets.open(tcp_settings(), 1, Log{}) == "");
  TestLoops loops(1, pool::BatchedSends::off, &sockets);
  loops.on(0, [&] { loops.runtime().pause_accepting(); });
  const int end = connect_tcp(sockets.port());
  for (int i = 0; i < 20; i++) CHECK(accepted_by(loops, 0) == 0);
  loops.on(0, [&] { loops.runtime().resume_accepting(); });
  wait_for_clients(loops, 1);
  loops.on(0, [&] { loops.runtime().stop_accepting(); });
  const int late = connect_tcp(sockets.port());
  for (int i = 0; i < 20; i++) CHECK(accepted_by(loops, 0) == 1);
  loops.on(0, [&] { loops.runtime().resume_accepting(); });
  for (int i = 0; i < 20; i++) CHECK(accepted_by(loops, 0) == 1);
  ::close(end);
  ::close(late);
}

TEST_CASE("net: a client that is not wanted is released at once") {
  ListenSockets sockets;
  REQUIRE(sockets.open(tcp_settings(), 1, Log{}) == "");
  TestLoops loops(1, pool::BatchedSends::off, &sockets);
  loops.on(0, [&] {
    loops.client().accepted_hook = [](RecordedStream& accepted) {
      accepted.stream->write("no");
      accepted.stream.reset();
    };
  });
  const int end = connect_tcp(sockets.port());
  CHECK(receive_to_end(end) == "no");
  ::close(end);
  loops.until(0, [&] { return loops.runtime().connection_count() == 0; });
}

TEST_CASE("net: without free descriptors clients wait and nothing spins; then they are served") {
  ListenSockets sockets;
  REQUIRE(sockets.open(tcp_settings(), 1, Log{}) == "");
  TestLoops loops(1, pool::BatchedSends::off, &sockets);
  std::vector<int> ends;
  for (int i = 0; i < 20; i++) ends.push_back(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  rlimit before{};
  REQUIRE(::getrlimit(RLIMIT_NOFILE, &before) == 0);
  // The next free number is the limit: nothing can be opened any more.
  const int next = ::dup(ends[0]);
  ::close(next);
  rlimit none = before;
  none.rlim_cur = static_cast<rlim_t>(next);
  REQUIRE(::setrlimit(RLIMIT_NOFILE, &none) == 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(sockets.port());
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  for (const int end : ends) REQUIRE(::connect(end, reinterpret_cast<sockaddr*>(&address), sizeof address) == 0);
  uint64_t turns = 0;
  loops.on(0, [&] { turns = loops.runtime().figures().turns; });
  const auto give_up = std::chrono::steady_clock::now() + kPatience;
  while (loops.log().empty() && std::chrono::steady_clock::now() < give_up) {
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  std::this_thread::sleep_for(std::chrono::milliseconds(250));
  loops.on(0, [&] { turns = loops.runtime().figures().turns - turns; });
  REQUIRE(::setrlimit(RLIMIT_NOFILE, &before) == 0);
  CHECK(turns < 50);
  CHECK(loops.log() == "could not accept a connection: Too many open files; trying again every 100 ms\n");
  wait_for_clients(loops, ends.size());
  for (const int end : ends) ::close(end);
}

TEST_CASE("net: thousands of connections, each echoing, some vanishing") {
  rlimit open_files{};
  ::getrlimit(RLIMIT_NOFILE, &open_files);
  const size_t count = std::min<size_t>(3000, (open_files.rlim_cur - 200) / 2);
  for (const pool::BatchedSends mode : sending_modes()) {
    CAPTURE(static_cast<int>(mode));
    ListenSockets sockets;
    pool::Settings settings = tcp_settings();
    settings.listen_backlog = 4096;
    REQUIRE(sockets.open(settings, 2, Log{}) == "");
    TestLoops loops(2, mode, &sockets);
    for (int worker = 0; worker < 2; worker++) {
      loops.on(worker, [&loops, worker] {
        loops.client(worker).accepted_hook = [](RecordedStream& one) {
          one.bytes_hook = [&one](std::string_view bytes) { one.stream->write(bytes); };
          one.closed_hook = [&one] { one.stream.reset(); };
        };
      });
    }
    std::vector<int> ends;
    for (size_t i = 0; i < count; i++) ends.push_back(connect_tcp(sockets.port()));
    size_t wrong = 0;
    // Often enough for the connections to be worth a slot of the kernel's table, which so grows.
    for (int round = 0; round < 20; round++) {
      for (size_t i = 0; i < count; i++) send_all(ends[i], "ping " + std::to_string(i) + "\n");
      for (size_t i = 0; i < count; i++) {
        const std::string expected = "ping " + std::to_string(i) + "\n";
        wrong += receive_exactly(ends[i], expected.size()) != expected;
      }
    }
    CHECK(wrong == 0);
    for (size_t i = 0; i < count; i++) {
      i % 3 == 0 ? reset_connection(ends[i]) : static_cast<void>(::close(ends[i]));
    }
    for (int worker = 0; worker < 2; worker++) {
      loops.until(worker, [&] { return loops.runtime(worker).connection_count() == 0; });
    }
  }
}

}  // namespace
}  // namespace bezel::net
