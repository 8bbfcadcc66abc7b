// What a turn of the event loop borrows, and what of it is left afterwards.

#include <doctest/doctest.h>

#include <algorithm>
#include <cstring>
#include <string>

#include "src/net/turn_memory.h"

using namespace bezel::net;

TEST_CASE("turn memory: copies that hold a secret are overwritten at the end of the turn, others are not") {
  const std::string secret(10'000, 's');
  for (const bool holds_secret : {true, false}) {
    CAPTURE(holds_secret);
    CopyArena copies;
    // More than one piece of memory holds.
    const char* first = nullptr;
    for (int i = 0; i < 10; i++) {
      const char* copy = copies.copy(secret).data();
      if (first == nullptr) first = copy;
    }
    std::memset(copies.allocate(100'000), 's', 100'000);  // has memory of its own, which is freed
    if (holds_secret) copies.wipe_at_reset();
    copies.reset();
    // The pieces are kept, and are lent in the same order.
    for (int i = 0; i < 10; i++) {
      char* const again = copies.allocate(secret.size());
      if (i == 0) REQUIRE(again == first);
      CHECK(std::count(again, again + secret.size(), 's') == (holds_secret ? 0 : 10'000));
    }
  }
}

TEST_CASE("turn memory: what is received and holds a secret is overwritten at the end of the turn") {
  ReceiveArena arena;
  std::memset(arena.head(), 's', 1000);
  const char* const received = arena.head();
  arena.advance(1000);
  arena.wipe_at_reset();
  arena.reset();
  CHECK(arena.head() == received);
  CHECK(std::count(received, received + 1000, 's') == 0);
}
