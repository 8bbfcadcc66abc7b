#include <poll.h>
#include <sys/resource.h>

#include <random>

#include "net_loops.h"

namespace bezel::net {
namespace {

/// Sends back what comes in, wanders between the workers, and sometimes leaves. Used by the thread of the worker where
/// it is, one after the other.
class Wanderer final : public pool::ByteStream::Events, public std::enable_shared_from_this<Wanderer> {
 public:
  Wanderer(TestLoops& loops, uint32_t seed, bool leaves) : loops_(loops), random_(seed), leaves_(leaves) {}

  void arrive(int worker, std::unique_ptr<pool::DetachedStream> from) {
    worker_ = worker;
    stream_ = loops_.runtime(worker).attach(std::move(from), *this);
  }
  void leave() { stream_.reset(); }
  int worker() const { return worker_; }

  void on_bytes(std::string_view bytes) override {
    // Half of it borrowed, half of it copied.
    const size_t half = random_() % (bytes.size() + 1);
    stream_->write(bytes.substr(0, half));
    stream_->write_copy(bytes.substr(half));
    moves_ = random_() % 16 == 0;
    if (moves_) stream_->pause_reading();
    if (moves_) move_when_sent();
    if (leaves_ && random_() % 64 == 0) stream_.reset();
  }
  void on_congested() override { stream_->pause_reading(); }
  void on_drained() override {
    if (!moves_) stream_->resume_reading();
  }
  void on_closed(std::string_view) override { stream_.reset(); }

 private:
  /// Only a stream with nothing unsent may move; until then a task looks again.
  void move_when_sent() {
    loops_.runtime(worker_).post(worker_, [self = shared_from_this()] {
      if (self->stream_ == nullptr) return;
      if (self->stream_->unsent_bytes() > 0) return self->move_when_sent();
      self->moves_ = false;
      self->move();
    });
  }
  void move() {
    std::shared_ptr<pool::DetachedStream> moving = stream_->detach();
    stream_.reset();
    const int to = 1 - worker_;
    loops_.runtime(worker_).post(to, [self = shared_from_this(), moving, to] {
      auto& descriptor = static_cast<DetachedDescriptor&>(*moving);
      const PeerAddress peer = descriptor.peer();
      self->arrive(to, std::make_unique<DetachedDescriptor>(descriptor.take(), peer));
    });
  }

  TestLoops& loops_;
  std::minstd_rand random_;
  bool leaves_;
  bool moves_ = false;
  int worker_ = 0;
  pool::StreamPtr stream_;
};

/// One peer: sends and receives in pieces of random sizes. False: what came back was wrong.
bool talk(int end, uint32_t seed, size_t bytes, bool vanishes, bool may_be_left) {
  std::minstd_rand random(seed);
  const std::string all = pattern(bytes, seed);
  size_t sent = 0, received = 0;
  std::vector<char> part(100'000);
  while (received < bytes) {
    if (vanishes && random() % 400 == 0) {
      reset_connection(end);
      return true;
    }
    pollfd ready{end, static_cast<short>(sent < bytes ? POLLIN | POLLOUT : POLLIN), 0};
    if (::poll(&ready, 1, 30'000) != 1) break;
    if ((ready.revents & POLLOUT) != 0) {
      const size_t size = std::min<size_t>(bytes - sent, 1 + random() % 30'000);
      const ssize_t done = ::send(end, all.data() + sent, size, MSG_NOSIGNAL | MSG_DONTWAIT);
      if (done > 0) sent += static_cast<size_t>(done);
    }
    if ((ready.revents & (POLLIN | POLLHUP | POLLERR)) != 0) {
      const ssize_t got = ::recv(end, part.data(), 1 + random() % part.size(), MSG_DONTWAIT);
      if (got == 0 || (got < 0 && errno != EAGAIN)) break;
      if (got > 0 && all.compare(received, static_cast<size_t>(got), part.data(), static_cast<size_t>(got)) != 0) {
        ::close(end);
        return false;
      }
      if (got > 0) received += static_cast<size_t>(got);
    }
  }
  ::close(end);
  return received == bytes || may_be_left;
}

TEST_CASE("net: streams that echo, wander between workers, vanish and are left: every byte comes back in order") {
  for (const pool::BatchedSends mode : sending_modes()) {
    CAPTURE(static_cast<int>(mode));
    constexpr uint32_t kStreams = 24;
    constexpr size_t kBytes = 300'000;
    TestLoops loops(2, mode);
    std::vector<std::shared_ptr<Wanderer>> wanderers;
    std::vector<std::thread> peers;
    std::vector<char> right(kStreams);
    for (uint32_t i = 0; i < kStreams; i++) {
      int ends[2];
      REQUIRE(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ends) == 0);
      const int small = 8192;
      ::setsockopt(ends[0], SOL_SOCKET, SO_SNDBUF, &small, sizeof small);
      const bool leaves = i % 6 == 4;
      const bool vanishes = i % 6 == 5;
      wanderers.push_back(std::make_shared<Wanderer>(loops, i, leaves));
      loops.on(
          0, [&] { wanderers[i]->arrive(0, std::make_unique<DetachedDescriptor>(ends[0], PeerAddress::of_unix(1))); });
      peers.emplace_back(
          [&right, i, end = ends[1], vanishes, leaves] { right[i] = talk(end, i, kBytes, vanishes, leaves); });
    }
    for (auto& peer : peers) peer.join();
    for (uint32_t i = 0; i < kStreams; i++) CHECK_MESSAGE(right[i], "stream " << i);
    for (int worker = 0; worker < 2; worker++) {
      loops.until(worker, [&] { return loops.runtime(worker).connection_count() == 0; });
    }
  }
}

}  // namespace
}  // namespace bezel::net
