#include "src/net/plain_submitter.h"

#include <sys/socket.h>

#include <cerrno>

namespace bezel::net {

ssize_t PlainSubmitter::send_one(const Send& send) {
  constexpr int kFlags = MSG_NOSIGNAL | MSG_DONTWAIT;
  ssize_t sent;
  if (send.piece_count == 1) {
    sent = ::send(send.descriptor, send.pieces[0].iov_base, send.pieces[0].iov_len, kFlags);
  } else {
    msghdr message{};
    message.msg_iov = const_cast<iovec*>(send.pieces);
    message.msg_iovlen = send.piece_count;
    sent = ::sendmsg(send.descriptor, &message, kFlags);
  }
  return sent >= 0 ? sent : -errno;
}

void PlainSubmitter::submit(std::span<Send> sends) {
  for (Send& send : sends) send.result = send_one(send);
}

}  // namespace bezel::net
