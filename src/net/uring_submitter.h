#pragma once

#include <liburing.h>
#include <sys/socket.h>

#include <memory>
#include <string>
#include <vector>

#include "src/net/submitter.h"

namespace bezel::net {

/// All sends of a flush in one system call, by io_uring. Made, used and destroyed by one thread.
///
/// Every request is tried at once and never waits (MSG_DONTWAIT), so that it is over when the submission returns. Full
/// success posts no completion (IOSQE_CQE_SKIP_SUCCESS); a short or failed send does, because MSG_WAITALL makes "not
/// all of it" a failure. Needs Linux 5.17; make() tries all this out on the running kernel.
class UringSubmitter final : public Submitter {
 public:
  /// Null and `error` says why when the kernel does not allow or do what is needed.
  static std::unique_ptr<UringSubmitter> make(std::string& error);
  UringSubmitter(const UringSubmitter&) = delete;
  UringSubmitter& operator=(const UringSubmitter&) = delete;
  ~UringSubmitter() override;

  void submit(std::span<Send> sends) override;
  int enroll(int descriptor) override;
  void dismiss(int slot) override;
  /// How many descriptors the kernel's table has room for now.
  size_t slots() const { return slots_.size(); }

 private:
  /// The kernel's table of descriptors begins small and doubles: it costs 8 bytes or more an entry.
  static constexpr size_t kSlotsMin = 256;
  static constexpr size_t kSlotsMax = 65536;
  static constexpr unsigned kEntries = 256;
  static constexpr int kSubmitTriesMax = 100;

  UringSubmitter() = default;

  /// "" or why not.
  std::string set_up();
  void submit_some(std::span<Send> sends);
  void stage(Send& send, size_t index);
  /// How many of `count` staged sends the kernel has taken.
  size_t enter(size_t count);
  void reap(std::span<Send> sends);
  bool grow();
  void give_up();

  io_uring ring_{};
  bool is_open_ = false;
  bool has_table_ = false;
  std::vector<msghdr> messages_;
  std::vector<int> slots_;  ///< descriptors by slot; -1: free
  std::vector<int> free_slots_;
};

}  // namespace bezel::net
