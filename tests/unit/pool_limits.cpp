#include <doctest/doctest.h>

#include <algorithm>
#include <atomic>
#include <thread>
#include <vector>

#include "pool/limits.h"

using bezel::pool::DerivedKeys;
using bezel::pool::Directory;
using bezel::pool::SlotCount;
using bezel::pool::SlotWaiters;

TEST_CASE("slots: a limit of 0 is none, and what is taken above a lowered limit stays") {
  SlotCount slots;
  CHECK(slots.take(2));
  CHECK(slots.take(2));
  CHECK_FALSE(slots.take(2));
  CHECK_FALSE(slots.take(1));
  CHECK(slots.take(0));
  CHECK(slots.taken() == 3);
  slots.give_back();
  slots.give_back();
  CHECK_FALSE(slots.take(1));
  CHECK(slots.take(2));
}

TEST_CASE("slots are never more than the limit, whoever asks at the same time") {
  SlotCount slots;
  constexpr int kLimit = 3;
  std::atomic<int> holders{0}, most{0}, taken{0};
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; i++) {
    threads.emplace_back([&] {
      for (int round = 0; round < 20'000; round++) {
        if (!slots.take(kLimit)) continue;
        const int now = ++holders;
        for (int seen = most.load(); now > seen && !most.compare_exchange_weak(seen, now);) {
        }
        taken++;
        holders--;
        slots.give_back();
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  CHECK(taken > 0);
  CHECK(most <= kLimit);
  CHECK(slots.taken() == 0);
}

TEST_CASE("who waits for a slot is woken in the order of asking, once") {
  SlotWaiters waiters;
  std::vector<int> woken;
  int a = 0, b = 0, c = 0;
  CHECK_FALSE(waiters.wake_next());
  waiters.wait(&a, [&] { woken.push_back(1); });
  waiters.wait(&b, [&] { woken.push_back(2); });
  waiters.wait(&a, [&] { woken.push_back(99); });  // waits already
  waiters.wait(&c, [&] { woken.push_back(3); });
  CHECK(waiters.has(&b));
  waiters.forget(&b);
  CHECK_FALSE(waiters.has(&b));
  CHECK(waiters.any());
  CHECK(waiters.wake_next());
  CHECK(waiters.wake_next());
  CHECK_FALSE(waiters.any());
  CHECK_FALSE(waiters.wake_next());
  CHECK(woken == std::vector{1, 3});
}

TEST_CASE("whoever is woken may ask again from inside the call") {
  SlotWaiters waiters;
  int a = 0, count = 0;
  waiters.wait(&a, [&] {
    count++;
    waiters.wait(&a, [&] { count++; });
  });
  CHECK(waiters.wake_next());
  CHECK(count == 1);
  CHECK(waiters.wake_next());
  CHECK(count == 2);
}

TEST_CASE("derived keys are found by password, salt and iterations, the newest few of them") {
  DerivedKeys keys;
  bezel::protocol::ScramKeys some;
  some.stored_key[0] = 7;
  CHECK_FALSE(keys.find("pw", "salt", 10));
  keys.add("pw", "salt", 10, some);
  REQUIRE(keys.find("pw", "salt", 10));
  CHECK(keys.find("pw", "salt", 10)->stored_key[0] == 7);
  CHECK_FALSE(keys.find("pw2", "salt", 10));
  CHECK_FALSE(keys.find("pw", "salt2", 10));
  CHECK_FALSE(keys.find("pw", "salt", 11));
  for (int i = 0; i < 10; i++) keys.add("pw", "other", i, some);
  CHECK_FALSE(keys.find("pw", "salt", 10));
  CHECK(keys.find("pw", "other", 9));
  CHECK(keys.own_salt("first") == "first");
  CHECK(keys.own_salt("second") == "first");
}

TEST_CASE("a database and a user are known by one object each") {
  Directory directory;
  const auto db = directory.database("db");
  CHECK(directory.database("db") == db);
  CHECK(directory.database("other") != db);
  CHECK(directory.user("db")->name == "db");
  CHECK(directory.databases().size() == 2);
}
