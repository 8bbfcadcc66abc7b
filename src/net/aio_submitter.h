#pragma once

#include <libaio.h>

#include <memory>
#include <string>
#include <vector>

#include "src/net/submitter.h"

namespace bezel::net {

/// All sends of a flush in one system call, by Linux's older asynchronous I/O (io_submit(2), by libaio): for
/// containers, whose usual rules forbid io_uring but not this. Made, used and destroyed by one thread.
///
/// A write to a non-blocking socket is over when io_submit() has returned; what remains is to fetch the results.
/// REQUIRES that descriptors are non-blocking and that the process ignores SIGPIPE: there is no place for send(2)'s
/// flags. make() tries on the running kernel whether it does what is needed.
class AioSubmitter final : public Submitter {
 public:
  /// Null and `error` says why when the kernel does not allow or do what is needed.
  static std::unique_ptr<AioSubmitter> make(std::string& error);
  AioSubmitter(const AioSubmitter&) = delete;
  AioSubmitter& operator=(const AioSubmitter&) = delete;
  ~AioSubmitter() override;

  void submit(std::span<Send> sends) override;
  int enroll(int) override { return Send::kNoSlot; }
  void dismiss(int) override {}

 private:
  /// What is asked of the kernel counts against fs.aio-max-nr, 65536 for the whole system.
  static constexpr size_t kEntries = 128;
  static constexpr int kSubmitTriesMax = 100;

  AioSubmitter();
  void submit_some(std::span<Send> sends);
  /// How many of the first `count` requests the kernel has taken.
  size_t enter(size_t count);
  void reap(std::span<Send> sends, size_t count);
  void give_up();

  io_context_t context_ = nullptr;
  std::vector<iocb> requests_;
  std::vector<iocb*> queue_;
  std::vector<io_event> completions_;
};

}  // namespace bezel::net
