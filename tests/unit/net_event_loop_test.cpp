#include <pthread.h>

#include <algorithm>
#include <array>

#include "net_loops.h"

namespace bezel::net {
namespace {

TEST_CASE("net: tasks run in the order of posting, on the worker they are for, and never at once") {
  TestLoops loops(2);
  std::vector<int> order;
  std::promise<void> done;
  loops.runtime(1).post(0, [&] {
    order.push_back(1);
    loops.runtime(0).post(0, [&] {
      order.push_back(3);
      done.set_value();
    });
    order.push_back(2);
  });
  REQUIRE(done.get_future().wait_for(kPatience) == std::future_status::ready);
  CHECK(order == std::vector<int>{1, 2, 3});
  for (int worker = 0; worker < 2; worker++) {
    std::array<char, 32> name{};
    loops.on(worker, [&] { ::pthread_getname_np(::pthread_self(), name.data(), name.size()); });
    CHECK(std::string(name.data()) == "bezel-worker-" + std::to_string(worker));
  }
}

TEST_CASE("net: tasks from many threads are all run, in the order of each") {
  TestLoops loops(1);
  constexpr int kThreads = 4;
  constexpr int kTasks = 2000;
  std::array<int, kThreads> last{};
  int ran = 0;
  bool in_order = true;
  std::vector<std::thread> posters;
  for (size_t thread = 0; thread < kThreads; thread++) {
    posters.emplace_back([&, thread] {
      for (int i = 1; i <= kTasks; i++) {
        loops.runtime().post(0, [&, thread, i] {
          in_order = in_order && last[thread] == i - 1;
          last[thread] = i;
          ran++;
        });
      }
    });
  }
  for (auto& poster : posters) poster.join();
  loops.until(0, [&] { return ran == kThreads * kTasks; });
  loops.on(0, [&] { CHECK(in_order); });
}

TEST_CASE("net: offloaded work runs elsewhere, its end here") {
  TestLoops loops(1);
  std::thread::id worker, elsewhere, end;
  std::promise<void> done;
  loops.runtime().post(0, [&] {
    worker = std::this_thread::get_id();
    loops.runtime().offload([&] { elsewhere = std::this_thread::get_id(); },
                            [&] {
                              end = std::this_thread::get_id();
                              done.set_value();
                            });
  });
  REQUIRE(done.get_future().wait_for(kPatience) == std::future_status::ready);
  CHECK(worker == end);
  CHECK(worker != elsewhere);
}

TEST_CASE("net: timers run when due, in a turn that sends what they write") {
  TestLoops loops(1);
  auto recorded = std::make_shared<RecordedStream>();
  const int end = loops.pair(0, recorded);
  int64_t due_us = 0, ran_us = 0;
  loops.on(0, [&] {
    due_us = loops.runtime().now_us() + 20'000;
    loops.client().timer_at_us = due_us;
    loops.client().timers_hook = [&] {
      ran_us = loops.runtime().now_us();
      recorded->stream->write("tick");
    };
  });
  CHECK(receive_exactly(end, 4) == "tick");
  loops.on(0, [&] {
    CHECK(ran_us >= due_us);
    // In the past is at once; a later one after an earlier one; and none at all.
    loops.client().timer_at_us = 1;
  });
  CHECK(receive_exactly(end, 4) == "tick");
  ::close(end);
}

TEST_CASE("net: what is written at the end of a turn leaves with it") {
  TestLoops loops(1);
  auto recorded = std::make_shared<RecordedStream>();
  const int end = loops.pair(0, recorded);
  loops.on(0, [&] {
    loops.client().end_of_turn_hook = [&] {
      loops.client().end_of_turn_hook = nullptr;
      recorded->stream->write_copy("last thing");
    };
  });
  CHECK(receive_exactly(end, 10) == "last thing");
  ::close(end);
}

TEST_CASE("net: streams that keep writing to each other at the end of a turn do not stop the loop") {
  int left = 100;  // outlives the loops, whose last turn looks at it
  TestLoops loops(1);
  auto first = std::make_shared<RecordedStream>();
  auto second = std::make_shared<RecordedStream>();
  const int first_end = loops.pair(0, first);
  const int second_end = loops.pair(0, second);
  loops.on(0, [&] {
    loops.client().end_of_turn_hook = [&] {
      if (left-- > 0) (left % 2 == 0 ? first : second)->stream->write_copy("x");
    };
    first->stream->write("begin");
  });
  loops.until(0, [&] { return left < 0; });
  CHECK(receive_exactly(first_end, 55) == "begin" + std::string(50, 'x'));
  CHECK(receive_exactly(second_end, 50) == std::string(50, 'x'));
  ::close(first_end);
  ::close(second_end);
}

TEST_CASE("net: the clock stands still in a turn, and goes on between turns") {
  TestLoops loops(1);
  int64_t first = 0, second = 0, later = 0;
  loops.on(0, [&] {
    first = loops.runtime().now_us();
    std::this_thread::sleep_for(std::chrono::milliseconds(3));
    second = loops.runtime().now_us();
  });
  loops.on(0, [&] { later = loops.runtime().now_us(); });
  CHECK(first == second);
  CHECK(later >= first + 3000);
  CHECK(loops.runtime().wall_clock_us() > 1'600'000'000'000'000);
}

TEST_CASE("net: random bytes differ, log lines arrive") {
  TestLoops loops(1);
  std::array<unsigned char, 600> one{}, other{};
  loops.runtime().random_bytes(one.data(), one.size());
  loops.runtime().random_bytes(other.data(), other.size());
  CHECK(one != other);
  loops.runtime().log(pool::LogLevel::info, "a line");
  CHECK(loops.log() == "a line\n");
  CHECK(loops.runtime().log_enabled(pool::LogLevel::trace));
}

TEST_CASE("net: at the end of a loop what was written is still sent, tasks are dropped") {
  const std::string all = pattern(300'000, 1);
  std::thread reader;
  std::string got;
  bool ran = false;
  {
    auto recorded = std::make_shared<RecordedStream>();
    TestLoops loops(1);
    const int end = loops.pair(0, recorded, 4096);
    loops.on(0, [&] { recorded->stream->write(all); });
    reader = std::thread([&got, end] {
      got = receive_to_end(end);
      ::close(end);
    });
    loops.threads().stop();
    loops.runtime().post(0, [&ran] { ran = true; });
  }
  reader.join();
  CHECK(got == all);
  CHECK_FALSE(ran);
}

TEST_CASE("net: loops that were never started, and ones stopped with work under way, end cleanly") {
  { WorkerThreads threads(3, Log{}); }
  for (int i = 0; i < 5; i++) {
    bool ended = false;
    {
      TestLoops loops(2);
      loops.runtime(0).post(0, [&] {
        loops.runtime(0).offload([] { std::this_thread::sleep_for(std::chrono::milliseconds(10)); },
                                 [&] { ended = !loops.log().empty(); });
        loops.client(0).own_streams.push_back(std::make_shared<RecordedStream>());
        RecordedStream& dialled = *loops.client(0).own_streams.back();
        dialled.stream = loops.runtime(0).dial({"localhost", 1}, pool::Settings{}, dialled);
      });
    }
    CHECK_FALSE(ended);
  }
}

/// Keeps its streams beyond the end, which it must not.
class ForgetfulClient final : public LoopClient {
 public:
  std::vector<std::shared_ptr<RecordedStream>> streams;
  pool::ByteStream::Events* accepted(pool::StreamPtr) override { return nullptr; }
  void run_timers() override {}
  int64_t next_timer_us() const override { return std::numeric_limits<int64_t>::max(); }
  void end_of_turn() override {}
  void stopping() override {}
};

TEST_CASE("net: streams that outlive their loop get no events and can be released") {
  std::string log;
  ForgetfulClient client;
  int ends[2];
  REQUIRE(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ends) == 0);
  {
    WorkerThreads threads(
        1, Log{[&](pool::LogLevel, std::string_view line) { log += line; }, [](pool::LogLevel) { return true; }});
    threads.runtime(0).set_client(client);
    REQUIRE(threads.start(pool::BatchedSends::off, nullptr) == "");
    std::promise<void> attached;
    threads.runtime(0).post(0, [&] {
      client.streams.push_back(std::make_shared<RecordedStream>());
      auto detached = std::make_unique<DetachedDescriptor>(ends[0], PeerAddress::of_unix(1));
      client.streams[0]->stream = threads.runtime(0).attach(std::move(detached), *client.streams[0]);
      attached.set_value();
    });
    attached.get_future().wait();
  }
  CHECK(log == "1 streams were not released at the end of a worker");
  CHECK_FALSE(client.streams[0]->closed);
  client.streams[0]->stream->write("never sent");
  client.streams.clear();
  char byte;
  CHECK(::read(ends[1], &byte, 1) == 0);
  ::close(ends[1]);
}

TEST_CASE("net: a fixed number of sends for many pieces, one batch for many streams") {
  for (const pool::BatchedSends mode : sending_modes()) {
    TestLoops loops(1, mode);
    CHECK(loops.runtime().batched_sends() == mode);
    std::vector<std::shared_ptr<RecordedStream>> streams;
    std::vector<int> ends;
    for (int i = 0; i < 10; i++) {
      streams.push_back(std::make_shared<RecordedStream>());
      ends.push_back(loops.pair(0, streams.back()));
    }
    LoopFigures before, after;
    loops.on(0, [&] {
      before = loops.runtime().figures();
      for (int piece = 0; piece < 5; piece++) {
        for (auto& one : streams) one->stream->write_copy("piece");
      }
    });
    for (const int end : ends) {
      CHECK(receive_exactly(end, 25) == "piecepiecepiecepiecepiece");
      ::close(end);
    }
    loops.on(0, [&] { after = loops.runtime().figures(); });
    CHECK(after.sends - before.sends == 10);
    CHECK(after.batches - before.batches == 1);
  }
}

}  // namespace
}  // namespace bezel::net
