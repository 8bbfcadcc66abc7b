#include <doctest/doctest.h>

#include <atomic>
#include <chrono>
#include <future>
#include <memory>
#include <thread>
#include <vector>

#include "src/net/blocking_threads.h"

using namespace bezel::net;

namespace {

/// Work that goes on until it is let go. Shared with threads that may outlive the test.
struct Gate {
  std::promise<void> opened;
  std::shared_future<void> open{opened.get_future().share()};
  std::atomic<int> begun{0}, ended{0}, done{0};
};
using GatePtr = std::shared_ptr<Gate>;

BlockingThreads::Job waiting_job(const GatePtr& gate, bool unwanted = false) {
  return {.work =
              [gate] {
                gate->begun++;
                gate->open.wait();
                gate->ended++;
              },
          .done = [gate] { gate->done++; },
          .is_unwanted = [unwanted] { return unwanted; }};
}

void wait_for(const std::atomic<int>& counter, int value) {
  const auto limit = std::chrono::steady_clock::now() + std::chrono::seconds(30);
  while (counter < value && std::chrono::steady_clock::now() < limit) std::this_thread::yield();
  REQUIRE(counter == value);
}

}  // namespace

TEST_CASE("blocking threads: so many at once, and so many that wait") {
  const auto gate = std::make_shared<Gate>();
  BlockingThreads threads("test", {2, 3});
  for (int i = 0; i < 2; i++) REQUIRE(threads.run(waiting_job(gate)));
  wait_for(gate->begun, 2);
  for (int i = 0; i < 3; i++) CHECK(threads.run(waiting_job(gate)));
  CHECK_FALSE(threads.run(waiting_job(gate)));
  CHECK(gate->begun == 2);
  gate->opened.set_value();
  wait_for(gate->done, 5);
  CHECK(threads.run(waiting_job(gate)));
  wait_for(gate->done, 6);
  CHECK(threads.stop(std::chrono::seconds(30)));
  CHECK_FALSE(threads.run(waiting_job(gate)));
}

TEST_CASE("blocking threads: what nobody wants any more makes room, and is not begun") {
  const auto gate = std::make_shared<Gate>();
  BlockingThreads threads("test", {1, 2});
  REQUIRE(threads.run(waiting_job(gate)));
  wait_for(gate->begun, 1);
  CHECK(threads.run(waiting_job(gate, true)));
  CHECK(threads.run(waiting_job(gate)));
  CHECK(threads.run(waiting_job(gate, true)));
  CHECK(threads.run(waiting_job(gate)));
  gate->opened.set_value();
  wait_for(gate->done, 3);
  CHECK(threads.stop(std::chrono::seconds(30)));
  CHECK(gate->begun == 3);
}

TEST_CASE("blocking threads: what hangs does not keep them from stopping, and is not told of") {
  const auto gate = std::make_shared<Gate>();
  {
    BlockingThreads threads("test", {1, 2});
    REQUIRE(threads.run(waiting_job(gate)));
    wait_for(gate->begun, 1);
    REQUIRE(threads.run(waiting_job(gate)));
    CHECK_FALSE(threads.stop(std::chrono::milliseconds(1)));
  }
  gate->opened.set_value();
  wait_for(gate->ended, 1);
  CHECK(gate->begun == 1);
  CHECK(gate->done == 0);
}
