#include "src/net/submitter_trial.h"

#include <fmt/format.h>
#include <sys/socket.h>

#include <cerrno>
#include <cstring>

#include "src/net/socket_options.h"

namespace bezel::net {
namespace {

/// A pair of connected sockets, the first of them with a small buffer.
bool make_pair(Descriptor& ours, Descriptor& theirs) {
  int ends[2];
  if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ends) != 0) return false;
  ours = Descriptor(ends[0]);
  theirs = Descriptor(ends[1]);
  const int small = 4096;
  return ::setsockopt(ends[0], SOL_SOCKET, SO_SNDBUF, &small, sizeof small) == 0;
}

}  // namespace

std::string refusal(const char* what, int error) {
  return fmt::format("{}: {}", what, std::strerror(error));
}

std::string try_out(Submitter& submitter) {
  Descriptor ours, theirs;
  if (!make_pair(ours, theirs)) return refusal("sending could not be tried out", errno);
  const std::string much(1024 * 1024, 'x');
  const iovec all{const_cast<char*>("all"), 3};
  const iovec pieces[2] = {{const_cast<char*>(much.data()), much.size() / 2},
                           {const_cast<char*>(much.data()), much.size() / 2}};
  const int slot = submitter.enroll(ours.get());
  const auto try_one = [&](const iovec* memory, uint32_t count, size_t bytes) {
    Send send{nullptr, memory, count, ours.get(), slot, bytes, 0};
    submitter.submit({&send, 1});
    return send.result;
  };
  std::string problem;
  char received[4] = "";
  if (try_one(&all, 1, 3) != 3 || ::recv(theirs.get(), received, 3, 0) != 3) problem = "it does not send at once";
  const ssize_t part = try_one(pieces, 2, much.size());
  if (problem.empty() && (part <= 0 || part >= static_cast<ssize_t>(much.size()))) {
    problem = "it does not report a short send";
  }
  if (problem.empty() && try_one(&all, 1, 3) != -EAGAIN) problem = "it does not report a full socket";
  theirs.reset();
  if (problem.empty() && try_one(&all, 1, 3) != -EPIPE) problem = "it does not report a failure";
  if (slot != Send::kNoSlot) submitter.dismiss(slot);
  return problem;
}

}  // namespace bezel::net
