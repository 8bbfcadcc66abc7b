#include <doctest/doctest.h>
#include <sys/eventfd.h>

#include <memory>
#include <thread>
#include <vector>

#include "src/net/mailbox.h"
#include "src/net/poller.h"

using namespace bezel::net;

namespace {

uint64_t wakes(const Mailbox& mailbox) {
  eventfd_t count = 0;
  return ::eventfd_read(mailbox.descriptor(), &count) == 0 ? count : 0;
}

}  // namespace

TEST_CASE("mailbox: what comes into the empty box wakes the loop once") {
  Mailbox mailbox;
  std::vector<int> ran;
  CHECK(wakes(mailbox) == 0);
  for (int i = 0; i < 3; i++) mailbox.post([&ran, i] { ran.push_back(i); });
  CHECK(wakes(mailbox) == 1);
  const auto letters = mailbox.take();
  REQUIRE(letters.tasks.size() == 3);
  for (const auto& task : letters.tasks) task();
  CHECK(ran == std::vector<int>{0, 1, 2});
  CHECK(mailbox.take().tasks.empty());
  CHECK(wakes(mailbox) == 0);
  mailbox.request_stop();
  CHECK(wakes(mailbox) == 1);
  CHECK(mailbox.take().stop);
}

TEST_CASE("mailbox: closed to tasks, it drops them, and finished work still comes") {
  Mailbox mailbox;
  const auto owned = std::make_shared<int>(1);
  mailbox.post([owned] {});
  CHECK(owned.use_count() == 2);
  mailbox.close_to_tasks();
  CHECK(owned.use_count() == 1);
  mailbox.post([owned] {});
  CHECK(owned.use_count() == 1);
  mailbox.finished(std::make_unique<Mailbox::Offload>());
  const auto letters = mailbox.take();
  CHECK(letters.tasks.empty());
  CHECK(letters.finished.size() == 1);
}

TEST_CASE("mailbox: no task of many threads is lost or overtakes another of its thread") {
  constexpr int kThreads = 4, kTasks = 20'000;
  struct Reader final : Poller::Watcher {
    Mailbox& mailbox;
    size_t count = 0;
    explicit Reader(Mailbox& its_mailbox) : mailbox(its_mailbox) {}
    void on_ready(uint32_t) override {
      for (const auto& task : mailbox.take().tasks) {
        task();
        count++;
      }
    }
  };
  Mailbox mailbox;
  Poller poller;
  Reader reader(mailbox);
  REQUIRE(poller.add(mailbox.descriptor(), EPOLLIN | EPOLLET, reader) == 0);
  std::vector<int> next(kThreads, 0);
  bool in_order = true;
  std::vector<std::thread> threads;
  for (size_t t = 0; t < kThreads; t++) {
    threads.emplace_back([&, t] {
      for (int i = 0; i < kTasks; i++) mailbox.post([&, t, i] { in_order = in_order && next[t]++ == i; });
    });
  }
  // A wake that is lost ends the test here, after minutes.
  for (int waits = 0; reader.count < kThreads * kTasks && waits < 1'000'000; waits++) poller.wait(60'000);
  for (auto& thread : threads) thread.join();
  CHECK(reader.count == kThreads * kTasks);
  CHECK(in_order);
}
