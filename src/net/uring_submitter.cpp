#include "src/net/uring_submitter.h"

#include <sys/resource.h>

#include <algorithm>
#include <cerrno>
#include <initializer_list>

#include "src/net/plain_submitter.h"
#include "src/net/submitter_trial.h"

namespace bezel::net {

std::unique_ptr<UringSubmitter> UringSubmitter::make(std::string& error) {
  std::unique_ptr<UringSubmitter> made(new UringSubmitter);
  error = made->set_up();
  if (error.empty()) error = try_out(*made);
  if (error.empty() && !made->is_open_) error = "the kernel's io_uring takes no sends";
  if (!error.empty()) return nullptr;
  return made;
}

UringSubmitter::~UringSubmitter() {
  give_up();
}

std::string UringSubmitter::set_up() {
  // The best the kernel knows: no interrupts of this thread for completions (6.1, 5.19), or as it was before.
  constexpr unsigned kAlways = IORING_SETUP_SUBMIT_ALL;
  constexpr unsigned kQuiet = IORING_SETUP_COOP_TASKRUN;
  constexpr unsigned kDeferred = IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN;
  int status = -EINVAL;
  for (const unsigned flags : {kAlways | kQuiet | kDeferred, kAlways | kQuiet, kAlways, 0U}) {
    ring_ = {};
    status = io_uring_queue_init(kEntries, &ring_, flags);
    if (status != -EINVAL) break;
  }
  if (status < 0) return refusal("the kernel does not allow io_uring", -status);
  is_open_ = true;
  if ((ring_.features & IORING_FEAT_CQE_SKIP) == 0) return "the kernel's io_uring is too old (Linux 5.17 is needed)";
  if (!grow()) return "the kernel's io_uring takes no table of descriptors";
  io_uring_register_ring_fd(&ring_);  // only makes it cheaper
  messages_.reserve(kEntries);
  return {};
}

void UringSubmitter::submit(std::span<Send> sends) {
  while (!sends.empty()) {
    const size_t count = std::min<size_t>(sends.size(), kEntries);
    submit_some(sends.first(count));
    sends = sends.subspan(count);
  }
}

void UringSubmitter::submit_some(std::span<Send> sends) {
  size_t taken = 0;
  if (is_open_) {
    messages_.clear();
    for (size_t i = 0; i < sends.size(); i++) stage(sends[i], i);
    taken = enter(sends.size());
    reap(sends);
  }
  if (taken == sends.size()) return;
  give_up();
  for (Send& send : sends.subspan(taken)) send.result = PlainSubmitter::send_one(send);
}

void UringSubmitter::stage(Send& send, size_t index) {
  constexpr int kFlags = MSG_NOSIGNAL | MSG_DONTWAIT | MSG_WAITALL;
  // There is always one: the ring has kEntries, all taken by the kernel when the last submission returned.
  io_uring_sqe* const entry = io_uring_get_sqe(&ring_);
  const bool is_enrolled = send.slot != Send::kNoSlot;
  const int target = is_enrolled ? send.slot : send.descriptor;
  if (send.piece_count == 1) {
    io_uring_prep_send(entry, target, send.pieces[0].iov_base, send.pieces[0].iov_len, kFlags);
  } else {
    msghdr& message = messages_.emplace_back();
    message.msg_iov = const_cast<iovec*>(send.pieces);
    message.msg_iovlen = send.piece_count;
    io_uring_prep_sendmsg(entry, target, &message, kFlags);
  }
  io_uring_sqe_set_flags(entry, IOSQE_CQE_SKIP_SUCCESS | (is_enrolled ? IOSQE_FIXED_FILE : 0U));
  io_uring_sqe_set_data64(entry, index);
  send.result = static_cast<ssize_t>(send.bytes);  // unless a completion says otherwise
}

size_t UringSubmitter::enter(size_t count) {
  size_t taken = 0;
  for (int tries = 0; taken < count && tries < kSubmitTriesMax; tries++) {
    const int status = io_uring_submit_and_get_events(&ring_);
    if (status > 0) taken += static_cast<size_t>(status);
    if (status < 0 && status != -EINTR && status != -EAGAIN && status != -EBUSY) break;
  }
  return taken;
}

void UringSubmitter::reap(std::span<Send> sends) {
  unsigned head;
  unsigned seen = 0;
  io_uring_cqe* completion;
  io_uring_for_each_cqe(&ring_, head, completion) {
    sends[completion->user_data].result = completion->res;
    seen++;
  }
  if (seen > 0) io_uring_cq_advance(&ring_, seen);
}

int UringSubmitter::enroll(int descriptor) {
  if (!is_open_ || (free_slots_.empty() && !grow())) return Send::kNoSlot;
  const int slot = free_slots_.back();
  int registered = descriptor;
  if (io_uring_register_files_update(&ring_, static_cast<unsigned>(slot), &registered, 1) != 1) return Send::kNoSlot;
  free_slots_.pop_back();
  slots_[static_cast<size_t>(slot)] = descriptor;
  return slot;
}

void UringSubmitter::dismiss(int slot) {
  slots_[static_cast<size_t>(slot)] = -1;
  free_slots_.push_back(slot);
  int nothing = -1;
  if (is_open_) io_uring_register_files_update(&ring_, static_cast<unsigned>(slot), &nothing, 1);
}

bool UringSubmitter::grow() {
  // The kernel allows as many as the process may have open.
  rlimit open_files{};
  ::getrlimit(RLIMIT_NOFILE, &open_files);
  const size_t size_max = std::min<size_t>(kSlotsMax, open_files.rlim_cur);
  const size_t size = std::min(size_max, std::max(kSlotsMin, slots_.size() * 2));
  if (size <= slots_.size()) return false;
  // A table cannot grow: it is taken away and given anew, with what was in it at the same places.
  if (has_table_ && io_uring_unregister_files(&ring_) != 0) return false;
  std::vector<int> table = slots_;
  table.resize(size, -1);
  has_table_ = io_uring_register_files(&ring_, table.data(), static_cast<unsigned>(size)) == 0;
  if (!has_table_) {
    give_up();
    return false;
  }
  for (size_t slot = size; slot-- > slots_.size();) free_slots_.push_back(static_cast<int>(slot));
  slots_ = std::move(table);
  return true;
}

void UringSubmitter::give_up() {
  if (is_open_) io_uring_queue_exit(&ring_);
  is_open_ = false;
}

}  // namespace bezel::net
