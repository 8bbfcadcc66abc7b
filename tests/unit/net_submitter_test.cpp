#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>

#include <algorithm>
#include <cstddef>

#include "net_loops.h"
#include "src/net/aio_submitter.h"
#include "src/net/plain_submitter.h"
#include "src/net/uring_submitter.h"

namespace bezel::net {
namespace {

struct Pair {
  Descriptor ours, theirs;
  explicit Pair(int send_buffer_bytes = 0) {
    int ends[2];
    REQUIRE(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ends) == 0);
    ours = Descriptor(ends[0]);
    theirs = Descriptor(ends[1]);
    if (send_buffer_bytes > 0) {
      ::setsockopt(ends[0], SOL_SOCKET, SO_SNDBUF, &send_buffer_bytes, sizeof send_buffer_bytes);
    }
  }
  std::string take() const {
    std::string all;
    char part[65536];
    for (;;) {
      const ssize_t got = ::recv(theirs.get(), part, sizeof part, MSG_DONTWAIT);
      if (got <= 0) return all;
      all.append(part, static_cast<size_t>(got));
    }
  }
};

iovec piece(std::string_view bytes) {
  return {const_cast<char*>(bytes.data()), bytes.size()};
}

/// Every result that a send can have, in one batch; `enrolls`: by way of the kernel's table of descriptors.
void check_results(Submitter& submitter, bool enrolls) {
  Pair good, in_pieces, slow(4096), full(4096), gone;
  gone.theirs.reset();
  const std::string much = pattern(1'000'000, 1);
  while (::send(full.ours.get(), much.data(), much.size(), MSG_DONTWAIT) > 0) {
  }
  const iovec hello = piece("hello");
  const iovec parts[3] = {piece("one,"), piece("two,"), piece("three")};
  const iovec all = piece(much);
  const auto slot = [&](const Pair& pair) { return enrolls ? submitter.enroll(pair.ours.get()) : Send::kNoSlot; };
  Send sends[] = {
      {nullptr, &hello, 1, gone.ours.get(), slot(gone), 5, 0},
      {nullptr, &hello, 1, good.ours.get(), slot(good), 5, 0},
      {nullptr, &all, 1, slow.ours.get(), slot(slow), much.size(), 0},
      {nullptr, parts, 3, in_pieces.ours.get(), slot(in_pieces), 13, 0},
      {nullptr, &hello, 1, full.ours.get(), slot(full), 5, 0},
  };
  submitter.submit(sends);
  CHECK(sends[0].result == -EPIPE);
  CHECK(sends[1].result == 5);
  CHECK(sends[2].result > 0);
  CHECK(sends[2].result < static_cast<ssize_t>(much.size()));
  CHECK(sends[3].result == 13);
  CHECK(sends[4].result == -EAGAIN);
  CHECK(good.take() == "hello");
  CHECK(in_pieces.take() == "one,two,three");
  CHECK(slow.take() == much.substr(0, static_cast<size_t>(sends[2].result)));
  for (const Send& send : sends) {
    if (send.slot != Send::kNoSlot) submitter.dismiss(send.slot);
  }
}

/// From now on this thread, and those it makes, may not use the system call.
bool forbid(uint32_t system_call) {
  sock_filter program[] = {
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr)),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, system_call, 0, 1),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
  };
  const sock_fprog filter{static_cast<unsigned short>(std::size(program)), program};
  return ::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 && ::prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter) == 0;
}

const std::string kNoUring = "the kernel does not allow io_uring: Operation not permitted";
const std::string kNoAio = "the kernel does not allow asynchronous I/O: Operation not permitted";

/// Two workers that choose their way of sending themselves: which it is, and that it works.
void check_automatic(pool::BatchedSends way, const std::string& log) {
  TestLoops loops(2, pool::BatchedSends::automatic);
  CHECK(loops.runtime().batched_sends() == way);
  CHECK(loops.log() == log);
  auto recorded = std::make_shared<RecordedStream>();
  const int end = loops.pair(0, recorded);
  loops.on(0, [&] { recorded->stream->write("sent all the same"); });
  CHECK(receive_exactly(end, 17) == "sent all the same");
  ::close(end);
}

TEST_CASE("net: a way of sending that is forbidden: automatic takes the next, to insist is an error") {
  std::thread forbidden([] {
    // As in most containers.
    REQUIRE(forbid(SYS_io_uring_setup));
    check_automatic(pool::BatchedSends::aio, "");
    WorkerThreads threads(2, Log{});
    CHECK(threads.start(pool::BatchedSends::io_uring, nullptr) == "batched_sends: " + kNoUring);
    REQUIRE(forbid(SYS_io_setup));
    check_automatic(pool::BatchedSends::off, "sends are not batched: " + kNoUring + "; " + kNoAio + "\n");
    CHECK(threads.start(pool::BatchedSends::aio, nullptr) == "batched_sends: " + kNoAio);
  });
  forbidden.join();
}

TEST_CASE("net: plain sends report what became of them") {
  PlainSubmitter submitter;
  check_results(submitter, false);
}

TEST_CASE("net: io_uring reports the same as plain sends, at once") {
  std::string why_not;
  const auto submitter = UringSubmitter::make(why_not);
  if (submitter == nullptr) {
    CHECK(why_not != "");
    WARN_MESSAGE(false, "io_uring cannot be tested here: " << why_not);
    return;
  }
  for (int i = 0; i < 3; i++) {
    check_results(*submitter, false);
    check_results(*submitter, true);
  }
}

TEST_CASE("net: asynchronous I/O reports the same as plain sends, at once") {
  std::string why_not;
  const auto submitter = AioSubmitter::make(why_not);
  if (submitter == nullptr) {
    CHECK(why_not != "");
    WARN_MESSAGE(false, "asynchronous I/O cannot be tested here: " << why_not);
    return;
  }
  for (int i = 0; i < 3; i++) check_results(*submitter, false);
}

TEST_CASE("net: asynchronous I/O: more sends than one submission takes") {
  std::string why_not;
  const auto submitter = AioSubmitter::make(why_not);
  if (submitter == nullptr) return;
  std::vector<Pair> pairs(400);
  const iovec hello = piece("hello");
  std::vector<Send> sends;
  for (const Pair& pair : pairs) sends.push_back({nullptr, &hello, 1, pair.ours.get(), Send::kNoSlot, 5, 0});
  for (int round = 0; round < 100; round++) {
    for (Send& send : sends) send.result = 0;
    submitter->submit(sends);
    size_t wrong = 0;
    for (size_t i = 0; i < pairs.size(); i++) wrong += sends[i].result != 5 || pairs[i].take() != "hello";
    CHECK(wrong == 0);
  }
}

TEST_CASE("net: io_uring: more sends than the ring has entries, and a table that grows") {
  std::string why_not;
  const auto submitter = UringSubmitter::make(why_not);
  if (submitter == nullptr) return;
  rlimit open_files{};
  ::getrlimit(RLIMIT_NOFILE, &open_files);
  const size_t count = std::min<size_t>(700, (open_files.rlim_cur - 100) / 2);
  std::vector<Pair> pairs(count);
  const iovec hello = piece("hello");
  const size_t slots_before = submitter->slots();
  std::vector<Send> sends;
  for (const Pair& pair : pairs) {
    const int slot = submitter->enroll(pair.ours.get());
    CHECK(slot != Send::kNoSlot);
    sends.push_back({nullptr, &hello, 1, pair.ours.get(), slot, 5, 0});
  }
  CHECK(submitter->slots() > slots_before);
  for (int round = 0; round < 3; round++) {
    submitter->submit(sends);
    size_t wrong = 0;
    for (size_t i = 0; i < count; i++) wrong += sends[i].result != 5 || pairs[i].take() != "hello";
    CHECK(wrong == 0);
  }
  // A dismissed descriptor is really closed, and its slot is used again.
  submitter->dismiss(sends[0].slot);
  pairs[0].ours.reset();
  char byte;
  CHECK(::recv(pairs[0].theirs.get(), &byte, 1, 0) == 0);
  const Pair next;
  CHECK(submitter->enroll(next.ours.get()) == sends[0].slot);
}

}  // namespace
}  // namespace bezel::net
