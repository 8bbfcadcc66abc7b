#include <doctest/doctest.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <functional>

#include "src/net/poller.h"

using namespace bezel::net;

namespace {

struct Told final : Poller::Watcher {
  int times = 0;
  uint32_t events = 0;
  std::function<void()> then = [] {};
  void on_ready(uint32_t its_events) override {
    times++;
    events = its_events;
    then();
  }
};

struct Pair {
  Descriptor ours, theirs;
  Pair() {
    std::array<int, 2> ends{};
    REQUIRE(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, ends.data()) == 0);
    ours = Descriptor(ends[0]);
    theirs = Descriptor(ends[1]);
  }
  void say() const { REQUIRE(::send(theirs.get(), "x", 1, 0) == 1); }
};

}  // namespace

TEST_CASE("poller: tells what was asked for, again and again, until it is removed") {
  Poller poller;
  const Pair pair;
  Told told;
  REQUIRE(poller.add(pair.ours.get(), EPOLLIN, told) == 0);
  poller.wait(0);
  CHECK(told.times == 0);
  pair.say();
  poller.wait(-1);
  poller.wait(-1);
  CHECK(told.times == 2);
  CHECK(told.events == EPOLLIN);
  REQUIRE(poller.modify(pair.ours.get(), EPOLLOUT, told) == 0);
  poller.wait(-1);
  CHECK(told.events == EPOLLOUT);
  poller.remove(pair.ours.get());
  poller.wait(0);
  CHECK(told.times == 3);
}

TEST_CASE("poller: says why a descriptor cannot be polled") {
  Poller poller;
  const Pair pair;
  Told told;
  CHECK(poller.add(-1, EPOLLIN, told) == EBADF);
  CHECK(poller.modify(pair.ours.get(), EPOLLIN, told) == ENOENT);
  REQUIRE(poller.add(pair.ours.get(), EPOLLIN, told) == 0);
  CHECK(poller.add(pair.ours.get(), EPOLLIN, told) == EEXIST);
}

TEST_CASE("poller: a closed descriptor is gone; who is removed within a turn is still told of it") {
  Poller poller;
  Pair first, second;
  Told one, other;
  REQUIRE(poller.add(first.ours.get(), EPOLLIN, one) == 0);
  REQUIRE(poller.add(second.ours.get(), EPOLLIN, other) == 0);
  one.then = [&] { second.ours.reset(); };
  other.then = [&] { first.ours.reset(); };
  first.say();
  second.say();
  poller.wait(-1);
  CHECK(one.times == 1);
  CHECK(other.times == 1);
  poller.wait(0);
  CHECK(one.times + other.times == 2);
}
