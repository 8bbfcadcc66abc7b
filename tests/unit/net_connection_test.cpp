#include <sys/resource.h>

#include <algorithm>

#include "net_loops.h"

namespace bezel::net {
namespace {

/// Runs a test once for each way of sending.
void for_each_mode(const std::function<void(pool::BatchedSends)>& test) {
  for (const pool::BatchedSends mode : sending_modes()) {
    CAPTURE(static_cast<int>(mode));
    test(mode);
  }
}

/// Writes `all` in pieces of many sizes, partly by write() and partly by write_copy(), a bounded amount at a time.
class Feeder {
 public:
  Feeder(RecordedStream& to, const std::string& all) : to_(to), all_(all) {
    to_.drained_hook = [this] { feed(); };
    to_.congested_hook = [this] { is_congested_ = true; };
  }
  void feed() {
    is_congested_ = false;
    while (at_ < all_.size() && to_.stream->unsent_bytes() < 300'000) {
      const size_t size = std::min<size_t>(all_.size() - at_, 1 + at_ % 7919);
      const std::string_view piece(all_.data() + at_, size);
      if (at_ % 3 == 0) {
        const std::string gone(piece);
        to_.stream->write_copy(gone);
      } else {
        to_.stream->write(piece);
      }
      at_ += size;
    }
  }
  bool done() const { return at_ == all_.size(); }
  bool is_congested() const { return is_congested_; }

 private:
  RecordedStream& to_;
  const std::string& all_;
  size_t at_ = 0;
  bool is_congested_ = false;
};

TEST_CASE("net: megabytes both ways at once through small socket buffers, in order and complete") {
  for_each_mode([](pool::BatchedSends mode) {
    for (const bool over_tcp : {false, true}) {
      CAPTURE(over_tcp);
      TestLoops loops(1, mode);
      constexpr size_t kStreams = 3;
      constexpr size_t kBytes = 2'000'000;
      std::vector<std::shared_ptr<RecordedStream>> streams;
      std::vector<std::string> down, up;
      std::vector<int> ends;
      for (size_t i = 0; i < kStreams; i++) {
        streams.push_back(std::make_shared<RecordedStream>());
        down.push_back(pattern(kBytes, static_cast<uint32_t>(i)));
        up.push_back(pattern(kBytes, static_cast<uint32_t>(100 + i)));
        ends.push_back(over_tcp ? loops.tcp_pair(0, streams[i], 4096) : loops.pair(0, streams[i], 4096));
      }
      std::vector<std::unique_ptr<Feeder>> feeders;
      std::vector<std::thread> peers;
      std::vector<std::string> got(kStreams);
      for (size_t i = 0; i < kStreams; i++) {
        peers.emplace_back([&, i] { send_all(ends[i], up[i]); });
        peers.emplace_back([&, i] { got[i] = receive_exactly(ends[i], kBytes); });
      }
      loops.on(0, [&] {
        for (size_t i = 0; i < kStreams; i++) {
          feeders.push_back(std::make_unique<Feeder>(*streams[i], down[i]));
          // Feeds on as bytes come in too, so that writes meet unsent bytes.
          streams[i]->bytes_hook = [&feeder = *feeders[i]](std::string_view) { feeder.feed(); };
          feeders[i]->feed();
        }
      });
      for (auto& peer : peers) peer.join();
      for (size_t i = 0; i < kStreams; i++) {
        loops.until(0, [&] { return streams[i]->received.size() == kBytes; });
        loops.on(0, [&] {
          CHECK(streams[i]->received == up[i]);
          CHECK(streams[i]->congested > 0);
          CHECK(streams[i]->stream->unsent_bytes() == 0);
        });
        CHECK(got[i] == down[i]);
        ::close(ends[i]);
      }
    }
  });
}

TEST_CASE("net: a stream whose peer does not read is congested once, and drained once when it does") {
  for_each_mode([](pool::BatchedSends mode) {
    const std::string all = pattern(1'000'000, 1);
    TestLoops loops(1, mode);
    auto recorded = std::make_shared<RecordedStream>();
    auto other = std::make_shared<RecordedStream>();
    const int end = loops.pair(0, recorded, 4096);
    const int other_end = loops.pair(0, other);
    loops.on(0, [&] {
      other->stream->write("small");
      recorded->stream->write(all);
      CHECK(recorded->congested == 0);
      CHECK(recorded->stream->unsent_bytes() == all.size());
    });
    CHECK(receive_exactly(other_end, 5) == "small");
    loops.until(0, [&] { return recorded->congested == 1; });
    loops.on(0, [&] {
      CHECK(recorded->drained == 0);
      CHECK(recorded->stream->unsent_bytes() > pool::ByteStream::kCongestedBytes);
      // More of it does not tell it again, and stays in order.
      recorded->stream->write_copy("the end");
    });
    CHECK(receive_exactly(end, all.size()) == all);
    CHECK(receive_exactly(end, 7) == "the end");
    loops.until(0, [&] { return recorded->drained == 1; });
    loops.on(0, [&] {
      CHECK(recorded->congested == 1);
      CHECK(recorded->stream->unsent_bytes() == 0);
    });
    ::close(end);
    ::close(other_end);
  });
}

TEST_CASE("net: what is written by on_drained and by on_congested leaves, however often") {
  for_each_mode([](pool::BatchedSends mode) {
    const std::string all = pattern(500'000, 1);
    TestLoops loops(1, mode);
    auto first = std::make_shared<RecordedStream>();
    auto second = std::make_shared<RecordedStream>();
    const int first_end = loops.pair(0, first, 4096);
    const int second_end = loops.pair(0, second);
    loops.on(0, [&] {
      first->congested_hook = [&] { second->stream->write("congested;"); };
      first->drained_hook = [&] {
        second->stream->write_copy("drained;");
        first->stream->write_copy("more");
      };
      first->stream->write(all);
    });
    CHECK(receive_exactly(second_end, 10) == "congested;");
    CHECK(receive_exactly(first_end, all.size()) == all);
    CHECK(receive_exactly(second_end, 8) == "drained;");
    CHECK(receive_exactly(first_end, 4) == "more");
    ::close(first_end);
    ::close(second_end);
  });
}

TEST_CASE("net: small pieces, neighbours and many pieces arrive as one stream") {
  for_each_mode([](pool::BatchedSends mode) {
    const std::string all = pattern(9000, 3);
    std::string expected;
    TestLoops loops(1, mode);
    auto recorded = std::make_shared<RecordedStream>();
    auto other = std::make_shared<RecordedStream>();
    const int end = loops.pair(0, recorded);
    const int other_end = loops.pair(0, other);
    std::thread reader([&] { receive_exactly(other_end, 5000); });
    loops.on(0, [&] {
      const std::string_view bytes(all);
      const auto write = [&](std::string_view piece, bool copy) {
        expected += piece;
        copy ? recorded->stream->write_copy(piece) : recorded->stream->write(piece);
      };
      write(bytes.substr(0, 10), false);
      write(bytes.substr(10, 10), false);  // a neighbour
      write(bytes.substr(5, 1), false);
      write("", false);
      write(bytes.substr(0, 6000), true);
      write(bytes.substr(100, 8000), false);
      for (size_t i = 0; i < 3000; i++) {
        write(bytes.substr(i * 3, 1), i % 2 == 0);
        other->stream->write(bytes.substr(i * 2, 1));
      }
      for (size_t i = 0; i < 2000; i++) other->stream->write("x");
    });
    CHECK(receive_exactly(end, expected.size()) == expected);
    reader.join();
    ::close(end);
    ::close(other_end);
  });
}

TEST_CASE("net: reading stops and restarts; nothing is lost between") {
  TestLoops loops(1);
  auto recorded = std::make_shared<RecordedStream>();
  const int end = loops.tcp_pair(0, recorded);
  loops.on(0, [&] {
    recorded->stream->pause_reading();
    recorded->stream->resume_reading();
  });
  send_all(end, "one");
  loops.until(0, [&] { return recorded->received == "one"; });
  loops.on(0, [&] { recorded->stream->pause_reading(); });
  send_all(end, "two");
  // A loop that answers posts has seen the socket readable in between.
  for (int i = 0; i < 20; i++) loops.on(0, [&] { CHECK(recorded->received == "one"); });
  // Urgent data must not make it spin, nor be taken for bytes.
  ::send(end, "!", 1, MSG_OOB);
  for (int i = 0; i < 20; i++) loops.on(0, [&] { CHECK(recorded->received == "one"); });
  ::shutdown(end, SHUT_WR);
  for (int i = 0; i < 20; i++) loops.on(0, [&] { CHECK_FALSE(recorded->closed); });
  uint64_t turns = 0;
  loops.on(0, [&] { turns = loops.runtime().figures().turns; });
  std::this_thread::sleep_for(std::chrono::milliseconds(50));
  loops.on(0, [&] {
    CHECK(loops.runtime().figures().turns < turns + 10);
    recorded->stream->resume_reading();
  });
  loops.until(0, [&] { return recorded->closed; });
  loops.on(0, [&] {
    CHECK(recorded->received == "onetwo");
    CHECK(recorded->reason == "");
  });
  ::close(end);
}

TEST_CASE("net: a failure is noticed while reading is stopped") {
  TestLoops loops(1);
  auto recorded = std::make_shared<RecordedStream>();
  const int end = loops.tcp_pair(0, recorded);
  loops.on(0, [&] { recorded->stream->pause_reading(); });
  send_all(end, "unread");
  for (int i = 0; i < 10; i++) loops.on(0, [] {});
  reset_connection(end);
  loops.until(0, [&] { return recorded->closed; });
  loops.on(0, [&] {
    CHECK(recorded->reason == "Connection reset by peer");
    CHECK(recorded->received == "");
  });
}

TEST_CASE("net: a reset by the peer ends a stream with its reason") {
  TestLoops loops(1);
  auto recorded = std::make_shared<RecordedStream>();
  const int end = loops.tcp_pair(0, recorded);
  reset_connection(end);
  loops.until(0, [&] { return recorded->closed; });
  loops.on(0, [&] {
    CHECK(recorded->reason == "Connection reset by peer");
    recorded->stream->write("into the void");
    CHECK(recorded->stream->unsent_bytes() == 0);
    recorded->stream.reset();
  });
  loops.until(0, [&] { return loops.runtime().connection_count() == 0; });
}

TEST_CASE("net: a peer that has closed only its side still gets what is written") {
  TestLoops loops(1);
  auto recorded = std::make_shared<RecordedStream>();
  const int end = loops.tcp_pair(0, recorded);
  loops.on(0, [&] { recorded->closed_hook = [&] { recorded->stream->write("answer"); }; });
  send_all(end, "question");
  ::shutdown(end, SHUT_WR);
  CHECK(receive_exactly(end, 6) == "answer");
  loops.on(0, [&] {
    CHECK(recorded->received == "question");
    CHECK(recorded->reason == "");
    recorded->stream->write("and more");
    recorded->stream.reset();
  });
  CHECK(receive_to_end(end) == "and more");
  loops.until(0, [&] { return loops.runtime().connection_count() == 0; });
  ::close(end);
}

TEST_CASE("net: sending fails, but what the peer said before is delivered first") {
  for_each_mode([](pool::BatchedSends mode) {
    TestLoops loops(1, mode);
    auto recorded = std::make_shared<RecordedStream>();
    auto other = std::make_shared<RecordedStream>();
    const int end = loops.pair(0, recorded);
    const int other_end = loops.pair(0, other);
    std::promise<void> go;
    loops.runtime().post(0, [&, ready = go.get_future().share()] {
      // The worker is held while the peer speaks and closes, so that sending is tried before receiving.
      ready.wait();
      recorded->stream->write("late");
      other->stream->write("fine");
    });
    send_all(end, "last words");
    ::close(end);
    go.set_value();
    loops.until(0, [&] { return recorded->closed; });
    loops.on(0, [&] {
      CHECK(recorded->received == "last words");
      CHECK(recorded->reason == "Broken pipe");
    });
    CHECK(receive_exactly(other_end, 4) == "fine");
    ::close(other_end);
  });
}

TEST_CASE("net: a released stream still sends what was written") {
  for_each_mode([](pool::BatchedSends mode) {
    const std::string all = pattern(2'000'000, 5);
    TestLoops loops(1, mode);
    auto recorded = std::make_shared<RecordedStream>();
    const int end = loops.tcp_pair(0, recorded, 4096);
    loops.on(0, [&] {
      recorded->stream->write(all);
      recorded->stream.reset();
    });
    CHECK(receive_to_end(end) == all);
    ::close(end);
    loops.until(0, [&] { return loops.runtime().connection_count() == 0; });
  });
}

TEST_CASE("net: last words are not lost by a reset when the peer still sends") {
  TestLoops loops(1);
  for (int i = 0; i < 20; i++) {
    auto recorded = std::make_shared<RecordedStream>();
    const int end = loops.tcp_pair(0, recorded);
    loops.on(0, [&] {
      recorded->bytes_hook = [&](std::string_view) {
        recorded->stream->write("FATAL: no");
        recorded->stream.reset();
      };
    });
    send_all(end, "hello");
    // These meet a stream that nobody reads any more.
    for (int k = 0; k < 10; k++) send_all(end, pattern(1000, 1));
    CHECK(receive_to_end(end) == "FATAL: no");
    ::close(end);
  }
  loops.until(0, [&] { return loops.runtime().connection_count() == 0; });
}

TEST_CASE("net: a released stream whose peer neither reads nor closes is given up") {
  const std::string all = pattern(2'000'000, 5);
  TestLoops loops(1);
  auto recorded = std::make_shared<RecordedStream>();
  auto quiet = std::make_shared<RecordedStream>();
  const int end = loops.tcp_pair(0, recorded, 4096);
  const int quiet_end = loops.tcp_pair(0, quiet);
  loops.on(0, [&] {
    loops.runtime().loop().set_linger_us(200'000);
    recorded->stream->write(all);
    recorded->stream.reset();
    quiet->stream.reset();
  });
  loops.until(0, [&] { return loops.runtime().connection_count() == 0; });
  ::close(end);
  ::close(quiet_end);
}

TEST_CASE("net: a stream whose peer has said that it goes is not waited for, but still sends what was written") {
  const std::string all = pattern(2'000'000, 5);
  TestLoops loops(1);
  loops.on(0, [&] { loops.runtime().loop().set_linger_us(3'600'000'000); });
  auto quiet = std::make_shared<RecordedStream>();
  const int quiet_end = loops.tcp_pair(0, quiet);
  loops.on(0, [&] {
    quiet->stream->peer_has_ended();
    quiet->stream.reset();
  });
  loops.until(0, [&] { return loops.runtime().connection_count() == 0; });
  CHECK(receive_to_end(quiet_end).empty());
  ::close(quiet_end);

  auto busy = std::make_shared<RecordedStream>();
  const int busy_end = loops.tcp_pair(0, busy, 4096);
  loops.on(0, [&] {
    busy->stream->write(all);
    busy->stream->peer_has_ended();
    busy->stream.reset();
  });
  CHECK(receive_to_end(busy_end) == all);
  ::close(busy_end);
  loops.until(0, [&] { return loops.runtime().connection_count() == 0; });
}

TEST_CASE("net: a stream moves between two workers") {
  for_each_mode([](pool::BatchedSends mode) {
    TestLoops loops(2, mode);
    auto recorded = std::make_shared<RecordedStream>();
    const int end = loops.tcp_pair(0, recorded);
    std::string expected;
    int worker = 0;
    for (int i = 0; i < 50; i++) {
      const std::string message = pattern(1000, static_cast<uint32_t>(i));
      send_all(end, message);
      expected += message;
      loops.until(worker, [&] { return recorded->received == expected; });
      std::shared_ptr<pool::DetachedStream> moving;
      loops.on(worker, [&] {
        moving = recorded->stream->detach();
        recorded->stream.reset();
      });
      // Comes while it belongs to nobody.
      send_all(end, "between");
      expected += "between";
      worker = 1 - worker;
      loops.on(worker, [&] {
        auto& descriptor = static_cast<DetachedDescriptor&>(*moving);
        const PeerAddress peer = descriptor.peer();
        recorded->stream =
            loops.runtime(worker).attach(std::make_unique<DetachedDescriptor>(descriptor.take(), peer), *recorded);
        recorded->stream->write("moved");
      });
      CHECK(receive_exactly(end, 5) == "moved");
      loops.until(worker, [&] { return recorded->received == expected; });
    }
    loops.on(0, [&] { CHECK(loops.runtime(0).connection_count() == 1); });
    loops.on(worker, [&] { recorded->stream.reset(); });
    ::close(end);
  });
}

TEST_CASE("net: a detached stream that nobody takes is closed") {
  TestLoops loops(1);
  auto recorded = std::make_shared<RecordedStream>();
  const int end = loops.pair(0, recorded);
  loops.on(0, [&] {
    const auto moving = recorded->stream->detach();
    recorded->stream.reset();
  });
  CHECK(receive_to_end(end) == "");
  ::close(end);
}

TEST_CASE("net: received bytes stay as they are until the end of the turn") {
  TestLoops loops(1);
  constexpr size_t kStreams = 12;
  std::vector<std::shared_ptr<RecordedStream>> streams;
  std::vector<int> ends;
  std::vector<std::string> sent;
  struct Kept {
    std::string_view bytes;
    std::string copy;
  };
  std::vector<Kept> kept;
  size_t kept_most = 0;
  for (size_t i = 0; i < kStreams; i++) {
    streams.push_back(std::make_shared<RecordedStream>());
    ends.push_back(loops.pair(0, streams[i]));
    sent.push_back(pattern(100'000, static_cast<uint32_t>(i)));
  }
  loops.on(0, [&] {
    for (auto& one : streams) {
      one->bytes_hook = [&](std::string_view bytes) { kept.push_back({bytes, std::string(bytes)}); };
    }
    loops.client().end_of_turn_hook = [&] {
      for (const Kept& one : kept) CHECK(one.bytes == one.copy);
      kept_most = std::max(kept_most, kept.size());
      kept.clear();
    };
  });
  std::promise<void> go;
  loops.runtime().post(0, [ready = go.get_future().share()] { ready.wait(); });
  std::vector<std::thread> peers;
  for (size_t i = 0; i < kStreams; i++) {
    peers.emplace_back([&, i] {
      send_all(ends[i], sent[i]);
      ::close(ends[i]);
    });
  }
  std::this_thread::sleep_for(std::chrono::milliseconds(20));
  go.set_value();
  for (auto& peer : peers) peer.join();
  for (size_t i = 0; i < kStreams; i++) {
    loops.until(0, [&] { return streams[i]->closed; });
    loops.on(0, [&] { CHECK(streams[i]->received == sent[i]); });
  }
  loops.on(0, [&] {
    CHECK(kept_most > 1);
    loops.client().end_of_turn_hook = nullptr;
  });
}

TEST_CASE("net: bytes go from one stream to another without a copy, and are unharmed when the other is slow") {
  for_each_mode([](pool::BatchedSends mode) {
    TestLoops loops(1, mode);
    constexpr size_t kPairs = 4;
    std::vector<std::shared_ptr<RecordedStream>> in, out;
    std::vector<int> in_ends, out_ends;
    std::vector<std::string> sent;
    for (size_t i = 0; i < kPairs; i++) {
      in.push_back(std::make_shared<RecordedStream>());
      out.push_back(std::make_shared<RecordedStream>());
      in_ends.push_back(loops.pair(0, in[i]));
      out_ends.push_back(loops.pair(0, out[i], 8192));
      sent.push_back(pattern(1'000'000, static_cast<uint32_t>(i)));
      loops.on(0, [&] {
        in[i]->bytes_hook = [to = out[i].get()](std::string_view bytes) { to->stream->write(bytes); };
        out[i]->congested_hook = [from = in[i].get()] { from->stream->pause_reading(); };
        out[i]->drained_hook = [from = in[i].get()] { from->stream->resume_reading(); };
      });
    }
    std::vector<std::thread> peers;
    std::vector<std::string> got(kPairs);
    for (size_t i = 0; i < kPairs; i++) {
      peers.emplace_back([&, i] { send_all(in_ends[i], sent[i]); });
      peers.emplace_back([&, i] { got[i] = receive_exactly(out_ends[i], sent[i].size()); });
    }
    for (auto& peer : peers) peer.join();
    for (size_t i = 0; i < kPairs; i++) {
      CHECK(got[i] == sent[i]);
      ::close(in_ends[i]);
      ::close(out_ends[i]);
    }
  });
}

}  // namespace
}  // namespace bezel::net
