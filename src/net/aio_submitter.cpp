#include "src/net/aio_submitter.h"

#include <algorithm>
#include <cerrno>
#include <csignal>

#include "src/net/plain_submitter.h"
#include "src/net/submitter_trial.h"

namespace bezel::net {

std::unique_ptr<AioSubmitter> AioSubmitter::make(std::string& error) {
  struct sigaction on_broken_pipe {};
  if (::sigaction(SIGPIPE, nullptr, &on_broken_pipe) != 0 || on_broken_pipe.sa_handler != SIG_IGN) {
    error = "asynchronous I/O needs SIGPIPE to be ignored";
    return nullptr;
  }
  std::unique_ptr<AioSubmitter> made(new AioSubmitter);
  if (const int status = io_setup(kEntries, &made->context_); status < 0) {
    made->context_ = nullptr;
    error = refusal("the kernel does not allow asynchronous I/O", -status);
    return nullptr;
  }
  error = try_out(*made);
  if (error.empty() && made->context_ == nullptr) error = "the kernel's asynchronous I/O takes no socket";
  if (!error.empty()) return nullptr;
  return made;
}

AioSubmitter::AioSubmitter() : requests_(kEntries), queue_(kEntries), completions_(kEntries) {
  for (size_t i = 0; i < kEntries; i++) queue_[i] = &requests_[i];
}

AioSubmitter::~AioSubmitter() {
  give_up();
}

void AioSubmitter::submit(std::span<Send> sends) {
  while (!sends.empty()) {
    const size_t count = std::min(sends.size(), kEntries);
    submit_some(sends.first(count));
    sends = sends.subspan(count);
  }
}

void AioSubmitter::submit_some(std::span<Send> sends) {
  size_t taken = 0;
  if (context_ != nullptr) {
    for (size_t i = 0; i < sends.size(); i++) {
      const Send& send = sends[i];
      if (send.piece_count == 1) {
        io_prep_pwrite(&requests_[i], send.descriptor, send.pieces[0].iov_base, send.pieces[0].iov_len, 0);
      } else {
        io_prep_pwritev(&requests_[i], send.descriptor, send.pieces, static_cast<int>(send.piece_count), 0);
      }
      requests_[i].data = &sends[i];
    }
    taken = enter(sends.size());
    reap(sends, taken);
  }
  if (taken == sends.size()) return;
  give_up();
  for (Send& send : sends.subspan(taken)) send.result = PlainSubmitter::send_one(send);
}

size_t AioSubmitter::enter(size_t count) {
  size_t taken = 0;
  for (int tries = 0; taken < count && tries < kSubmitTriesMax; tries++) {
    const int status = io_submit(context_, static_cast<long>(count - taken), queue_.data() + taken);
    if (status > 0) taken += static_cast<size_t>(status);
    if (status < 0 && status != -EINTR && status != -EAGAIN) break;
  }
  return taken;
}

void AioSubmitter::reap(std::span<Send> sends, size_t count) {
  // Whose result is lost may have been sent: never again.
  for (Send& send : sends.first(count)) send.result = -EIO;
  size_t seen = 0;
  while (seen < count) {
    // They are all there: this only waits if the kernel breaks its promise, and then must, because the memory is in
    // use.
    const long left = static_cast<long>(count - seen);
    const int status = io_getevents(context_, left, left, completions_.data(), nullptr);
    if (status == -EINTR) continue;
    if (status <= 0) break;
    for (int i = 0; i < status; i++) {
      static_cast<Send*>(completions_[static_cast<size_t>(i)].data)->result =
          static_cast<ssize_t>(completions_[static_cast<size_t>(i)].res);
    }
    seen += static_cast<size_t>(status);
  }
}

void AioSubmitter::give_up() {
  if (context_ != nullptr) io_destroy(context_);
  context_ = nullptr;
}

}  // namespace bezel::net
