#include <doctest/doctest.h>

#include "pool/outstanding.h"

using bezel::pool::Answer;
using bezel::pool::OutstandingQueue;
using bezel::pool::Request;
using bezel::pool::Statement;
using bezel::pool::StatementPtr;

TEST_CASE("requests are answered in the order in which they were sent, while the ring grows and turns") {
  OutstandingQueue queue;
  static constexpr Request kKinds[] = {Request::parse, Request::bind, Request::execute, Request::sync};
  size_t pushed = 0, popped = 0;
  for (int round = 0; round < 200; round++) {
    for (int i = 0; i < 1 + round % 7; i++) queue.push({kKinds[pushed++ % 4]});
    for (int i = 0; i < 1 + round % 5 && !queue.empty(); i++) {
      REQUIRE(queue.front().request == kKinds[popped++ % 4]);
      queue.pop();
    }
    REQUIRE(queue.size() == pushed - popped);
    for (size_t i = 0; i < queue.size(); i++) REQUIRE(queue.at(i).request == kKinds[(popped + i) % 4]);
  }
  queue.clear();
  CHECK(queue.empty());
}

TEST_CASE("one in the middle can be taken out") {
  OutstandingQueue queue;
  for (const Request request : {Request::execute, Request::sync, Request::sync, Request::copy_end})
    queue.push({request});
  queue.erase(1);
  CHECK(queue.size() == 3);
  CHECK(queue.at(0).request == Request::execute);
  CHECK(queue.at(1).request == Request::sync);
  CHECK(queue.at(2).request == Request::copy_end);
  queue.erase(2);
  CHECK(queue.size() == 2);
}

TEST_CASE("a request that is gone holds no statement") {
  const StatementPtr statement(new Statement{1, "bezel_ps_1", ""});
  OutstandingQueue queue;
  for (int i = 0; i < 3; i++) queue.push({Request::parse, Answer::forward, true, statement});
  CHECK(statement.use_count() == 4);
  queue.pop();
  CHECK(statement.use_count() == 3);
  queue.erase(0);
  CHECK(statement.use_count() == 2);
  queue.clear();
  CHECK(statement.use_count() == 1);
}
