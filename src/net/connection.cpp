#include "src/net/connection.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cassert>
#include <cerrno>
#include <cstring>

#include "src/net/dial.h"
#include "src/net/event_loop.h"

namespace bezel::net {
namespace {

/// Below this, copying pieces together costs less than handing the kernel a list of them.
constexpr size_t kMergedBytesMax = 4096;
/// The kernel's UIO_MAXIOV is 1024.
constexpr uint32_t kPiecesMax = 512;
/// A connection that sends once in a while is not worth a slot.
constexpr uint8_t kSendsBeforeSlot = 16;
constexpr int kDiscardsPerTurn = 4;
constexpr int kDiscardsMax = 64;

int pending_socket_error(int descriptor) {
  int error = 0;
  socklen_t size = sizeof error;
  if (::getsockopt(descriptor, SOL_SOCKET, SO_ERROR, &error, &size) != 0) return errno;
  return error;
}

}  // namespace

DetachedDescriptor::~DetachedDescriptor() {
  if (descriptor_ >= 0) ::close(descriptor_);
}

int DetachedDescriptor::take() {
  const int descriptor = descriptor_;
  descriptor_ = -1;
  return descriptor;
}

/// The patience with a released connection.
class Connection::Linger final : public Deadline {
 public:
  explicit Linger(Connection& connection) : connection_(connection) {
    connection_.loop_.lingering_++;
    arm(connection_.loop_.deadlines_, connection_.loop_.now_us() + connection_.loop_.linger_us_);
  }
  ~Linger() override { connection_.loop_.lingering_--; }
  /// Counts reads of bytes that nobody wants. False: enough.
  bool may_discard() { return ++discards_ <= kDiscardsMax; }

 private:
  void expire() override { connection_.close_now(); }

  Connection& connection_;
  int discards_ = 0;
};

Connection::Connection(EventLoop& loop, Events* events) : loop_(loop), events_(events), state_(State::dialling) {
  dialled_ = true;
  loop_.connections_.push_back(*this);
}

Connection::Connection(EventLoop& loop, Events* events, int descriptor, const PeerAddress& peer)
    : loop_(loop), events_(events), descriptor_(descriptor), peer_(peer), state_(State::open) {
  loop_.connections_.push_back(*this);
}

Connection::Connection(EventLoop& loop, Events* events, DetachedDescriptor& detached)
    : Connection(loop, events, detached.take(), detached.peer()) {
  tls_ = detached.take_tls();
  unsent_ = detached.take_unsent();
  if (!unsent_.empty()) loop_.mark_dirty(*this);
}

Connection::~Connection() {
  assert(armed_ == 0 && !dirty_ && !failing_);
  loop_.connections_.remove(*this);
}

bool Connection::poll_for(uint32_t interest) {
  if (interest == armed_) return true;
  int error = 0;
  if (interest == 0) {
    loop_.poller_.remove(descriptor_);
  } else if (armed_ == 0) {
    error = loop_.poller_.add(descriptor_, interest, *this);
  } else {
    error = loop_.poller_.modify(descriptor_, interest, *this);
  }
  if (error != 0) {
    error_ = static_cast<int16_t>(error);
    return false;
  }
  armed_ = static_cast<uint8_t>(interest);
  return true;
}

// ---------------------------------------------------------------------------------------------------------------------
// Writing.

void Connection::write(std::string_view bytes) {
  if (!bytes.empty() && takes_bytes()) queue(bytes);
}

void Connection::write_copy(std::string_view bytes) {
  if (!bytes.empty() && takes_bytes()) queue(loop_.copies_.copy(bytes));
}

void Connection::queue(std::string_view bytes) {
  queued_bytes_ += bytes.size();
  SliceLists& slices = loop_.slices_;
  if (last_slice_ != SliceLists::kNone) {
    SliceLists::Slice& last = slices.at(last_slice_);
    if (last.data + last.size == bytes.data()) {
      last.size += bytes.size();
      return;
    }
    const uint32_t added = slices.add(bytes);
    slices.at(last_slice_).next = added;
    last_slice_ = added;
    return;
  }
  first_slice_ = last_slice_ = slices.add(bytes);
  loop_.mark_dirty(*this);
}

void Connection::forget_slices() {
  first_slice_ = last_slice_ = SliceLists::kNone;
  queued_bytes_ = 0;
}

bool Connection::peer_owes_acknowledgements() const {
  if (descriptor_ < 0 || is_local()) return false;
  tcp_info info{};
  socklen_t size = sizeof info;
  if (::getsockopt(descriptor_, IPPROTO_TCP, TCP_INFO, &info, &size) != 0) return false;
  constexpr uint32_t kOwesForMs = 1000;
  return info.tcpi_unacked > 0 && info.tcpi_last_ack_recv >= kOwesForMs;
}

void Connection::wipe_received() {
  loop_.arena_.wipe_at_reset();
  loop_.copies_.wipe_at_reset();  // where deliver() decrypts what that has no room for
}

void Connection::drop_unsent() {
  forget_slices();
  unsent_.clear();
}

void Connection::keep_slices() {
  if (queued_bytes_ == 0) return;
  if (tls_ != nullptr) return encrypt_slices();
  unsent_.reserve(queued_bytes_);
  for (uint32_t i = first_slice_; i != SliceLists::kNone;) {
    const SliceLists::Slice& slice = loop_.slices_.at(i);
    unsent_.append({slice.data, slice.size});
    i = slice.next;
  }
  forget_slices();
}

uint32_t Connection::list_pieces(iovec* pieces) {
  uint32_t count = 0;
  if (!unsent_.empty()) pieces[count++] = {unsent_.data(), unsent_.size()};
  for (uint32_t i = first_slice_; i != SliceLists::kNone;) {
    const SliceLists::Slice& slice = loop_.slices_.at(i);
    pieces[count++] = {const_cast<char*>(slice.data), slice.size};
    i = slice.next;
  }
  return count;
}

uint32_t Connection::merge_pieces(iovec* pieces, uint32_t count, size_t bytes) {
  if (count > kPiecesMax) {
    keep_slices();
    pieces[0] = {unsent_.data(), unsent_.size()};
    return 1;
  }
  if (count == 1 || bytes > kMergedBytesMax || !unsent_.empty()) return count;
  char* const merged = loop_.copies_.allocate(bytes);
  char* to = merged;
  for (uint32_t i = 0; i < count; i++) {
    std::memcpy(to, pieces[i].iov_base, pieces[i].iov_len);
    to += pieces[i].iov_len;
  }
  pieces[0] = {merged, bytes};
  return 1;
}

bool Connection::gather(Send& send, iovec* pieces) {
  if (tls_ != nullptr && queued_bytes_ > 0 && error_ == 0) encrypt_slices();
  if (state_ == State::dialling || blocked_) {
    keep_slices();
    return false;
  }
  if ((state_ != State::open && state_ != State::lingering) || error_ != 0) {
    forget_slices();
    return false;
  }
  const size_t bytes = unsent_bytes();
  if (bytes == 0) return false;
  if (sends_ < kSendsBeforeSlot && ++sends_ == kSendsBeforeSlot) slot_ = loop_.submitter_->enroll(descriptor_);
  const uint32_t count = merge_pieces(pieces, list_pieces(pieces), bytes);
  forget_slices();
  send = {this, pieces, count, descriptor_, slot_, bytes, 0};
  return true;
}

void Connection::account(const Send& send) {
  if (send.result > 0) taken_bytes_ += static_cast<uint64_t>(send.result);
  if (send.result == static_cast<ssize_t>(send.bytes)) {
    unsent_.clear();
    return;
  }
  if (send.result >= 0) {
    keep_unsent(send, static_cast<size_t>(send.result));
  } else if (send.result == -EAGAIN || send.result == -EINTR || send.result == -ENOBUFS || send.result == -ENOMEM) {
    keep_unsent(send, 0);
  } else {
    unsent_.clear();
    error_ = static_cast<int16_t>(-send.result);
  }
}

void Connection::keep_unsent(const Send& send, size_t sent_bytes) {
  blocked_ = true;
  size_t skip = sent_bytes;
  uint32_t i = 0;
  if (!unsent_.empty()) {
    // Then it was the first piece.
    const size_t own = std::min(skip, unsent_.size());
    unsent_.consume(own);
    skip -= own;
    i = 1;
  }
  size_t rest = 0;
  for (uint32_t k = i; k < send.piece_count; k++) rest += send.pieces[k].iov_len;
  if (rest > skip) unsent_.reserve(rest - skip);
  for (; i < send.piece_count; i++) {
    const size_t skipped = std::min(skip, send.pieces[i].iov_len);
    skip -= skipped;
    unsent_.append({static_cast<const char*>(send.pieces[i].iov_base) + skipped, send.pieces[i].iov_len - skipped});
  }
}

void Connection::settle() {
  if (state_ == State::lingering) {
    if (error_ != 0) return close_now();
    if (unsent_bytes() == 0) finish_sending();
    if (state_ == State::lingering) update_interest();
    return;
  }
  if (state_ != State::open && state_ != State::dialling) return;
  if (state_ == State::open) {
    if (error_ != 0) loop_.tell_failure_later(*this);
    update_interest();
  }
  if (!congested_ && unsent_.size() > kCongestedBytes) {
    congested_ = true;
    events_->on_congested();
  } else if (congested_ && unsent_.empty() && error_ == 0) {
    congested_ = false;
    events_->on_drained();
  }
}

// ---------------------------------------------------------------------------------------------------------------------
// Reading.

void Connection::on_ready(uint32_t events) {
  // What is polled for may have changed since the turn began, and the connection may have ended.
  if (armed_ == 0) return;
  loop_.enter_callback();
  if (state_ == State::dialling) return dial_->on_ready();
  if ((events & EPOLLERR) != 0) return on_poll_error();
  events &= armed_;
  // EPOLLHUP alone: whatever is waited for will not come in any other way.
  if (events == 0) events = armed_;
  if ((events & EPOLLOUT) != 0) {
    blocked_ = false;
    loop_.mark_dirty(*this);
  }
  if ((events & EPOLLIN) != 0) {
    receive();
  } else if ((events & EPOLLPRI) != 0) {
    blind_ = true;
    update_interest();
  }
}

void Connection::on_poll_error() {
  if (state_ == State::lingering) return close_now();
  if (state_ != State::open) return;
  if (!can_receive()) {
    const int error = pending_socket_error(descriptor_);
    return end(std::strerror(error != 0 ? error : ECONNRESET));
  }
  // What came before the error may say why: it is delivered first, the error follows in one of the next turns.
  receive();
  if (state_ == State::open) update_interest();
}

void Connection::receive() {
  if (can_receive()) loop_.make_room();
  if (!can_receive()) {
    if (state_ == State::lingering) {
      discard_received();
    } else if (state_ == State::open && (paused_ || is_handshaking()) && !muted_) {
      muted_ = true;
      update_interest();
    }
    return;
  }
  loop_.figures_.receives++;
  if (tls_ != nullptr) return receive_tls();
  ReceiveArena& arena = loop_.arena_;
  const ssize_t received =
      ::recv(descriptor_, arena.head(), std::min(arena.room(), ReceiveArena::kReceiveBytesMax), MSG_DONTWAIT);
  if (received > 0) {
    const std::string_view bytes(arena.head(), static_cast<size_t>(received));
    arena.advance(bytes.size());
    events_->on_bytes(bytes);
  } else if (received == 0) {
    end_of_stream();
  } else if (errno != EAGAIN && errno != EINTR) {
    end(std::strerror(errno));
  }
}

void Connection::end_of_stream() {
  eof_ = true;
  told_closed_ = true;
  update_interest();
  events_->on_closed({});
}

void Connection::tell_failure() {
  if (state_ == State::dialling) {
    const std::string reason = dial_->error();
    dial_.reset();
    return end(reason);
  }
  if (state_ != State::open) return;
  if (!paused_ && !eof_ && tls_ == nullptr) {
    // A server that closes says why before; its words may still be in our queue when sending has failed.
    ReceiveArena& arena = loop_.arena_;
    if (arena.is_full()) return loop_.tell_failure_later(*this);
    const ssize_t received =
        ::recv(descriptor_, arena.head(), std::min(arena.room(), ReceiveArena::kReceiveBytesMax), MSG_DONTWAIT);
    if (received > 0) {
      const std::string_view bytes(arena.head(), static_cast<size_t>(received));
      arena.advance(bytes.size());
      events_->on_bytes(bytes);
      if (state_ == State::open) loop_.tell_failure_later(*this);
      return;
    }
  }
  end(std::strerror(error_));
}

void Connection::resume_reading() {
  paused_ = false;
  if (!is_handshaking()) unmute();
}

void Connection::unmute() {
  if (!muted_) return;
  muted_ = false;
  blind_ = false;
  if (state_ == State::open) update_interest();
}

void Connection::update_interest() {
  uint32_t wanted = blocked_ ? uint32_t{EPOLLOUT} : 0;
  if (state_ == State::lingering) {
    if (shut_) wanted |= EPOLLIN;
  } else if (!eof_ && error_ == 0) {
    // A muted connection must be polled for something, or its failure would not be noticed; urgent data never come.
    if (!muted_) {
      wanted |= EPOLLIN;
    } else if (!blind_) {
      wanted |= EPOLLPRI;
    }
  }
  if (!poll_for(wanted)) loop_.tell_failure_later(*this);
}

// ---------------------------------------------------------------------------------------------------------------------
// Beginning and end.

void Connection::connected() {
  dial_.reset();
  state_ = State::open;
  if (!unsent_.empty()) loop_.mark_dirty(*this);
  update_interest();
  events_->on_connected();
}

void Connection::end(std::string_view reason) {
  state_ = State::ended;
  forget_slices();
  unsent_.clear();
  blocked_ = false;
  dismiss_slot();
  poll_for(0);
  if (told_closed_) return;
  told_closed_ = true;
  events_->on_closed(reason);
}

std::unique_ptr<pool::DetachedStream> Connection::detach() {
  assert(state_ == State::open);
  keep_slices();
  assert(tls_ == nullptr || tls_->is_ready);
  auto detached = std::make_unique<DetachedDescriptor>(descriptor_, peer_, std::move(tls_), std::move(unsent_));
  dismiss_slot();
  poll_for(0);
  descriptor_ = -1;
  state_ = State::ended;
  told_closed_ = true;
  return detached;
}

pool::StreamEnds Connection::ends() const {
  pool::StreamEnds ends;
  ends.peer_address = peer_.text();
  ends.peer_port = peer_.port;
  if (peer_.family == AF_UNIX) {
    ends.local_address = ends.peer_address;
    ends.local_port = ends.peer_port;
    ucred credentials{};
    socklen_t credentials_size = sizeof credentials;
    if (descriptor_ >= 0 && ::getsockopt(descriptor_, SOL_SOCKET, SO_PEERCRED, &credentials, &credentials_size) == 0) {
      ends.peer_pid = static_cast<uint32_t>(credentials.pid);
      ends.peer_user_id = credentials.uid;
    }
    return ends;
  }
  SocketAddress local;
  socklen_t size = SocketAddress::kSizeMax;
  if (descriptor_ >= 0 && ::getsockname(descriptor_, local.get(), &size) == 0) {
    ends.local_address = local.host_text();
    ends.local_port = local.port();
  }
  return ends;
}

void Connection::release() {
  assert(!released_);
  released_ = true;
  events_ = nullptr;
  dial_.reset();
  if (state_ != State::open || error_ != 0 || (eof_ && unsent_bytes() == 0)) return close_now();
  if (peer_has_ended_ && unsent_bytes() == 0 && tls_ == nullptr) return close_now();
  if (tls_ != nullptr) {
    if (!tls_->is_ready) return close_now();
    keep_slices();
    tls_->session->close();
    keep_tls_output();
  }
  state_ = State::lingering;
  linger_ = std::make_unique<Linger>(*this);
  loop_.mark_dirty(*this);
}

void Connection::finish_sending() {
  if (shut_) return;
  if (eof_ || loop_.lingering_ > EventLoop::kLingeringMax) return close_now();
  // Closing now would answer what the peer still sends with a reset, and a reset makes the peer's kernel throw away
  // what it has not read yet: our last words. So only our side is closed, until the peer closes too.
  ::shutdown(descriptor_, SHUT_WR);
  shut_ = true;
  discard_received();
}

void Connection::discard_received() {
  for (int i = 0; i < kDiscardsPerTurn && linger_->may_discard(); i++) {
    const ssize_t received =
        ::recv(descriptor_, loop_.arena_.discard_area(), ReceiveArena::kDiscardBytes, MSG_DONTWAIT);
    if (received > 0) {
      if (i + 1 == kDiscardsPerTurn) return;
      continue;
    }
    if (received < 0 && (errno == EAGAIN || errno == EINTR)) return;
    break;
  }
  close_now();
}

void Connection::close_now() {
  if (state_ == State::closed) return;
  state_ = State::closed;
  forget_slices();
  unsent_.clear();
  linger_.reset();
  tls_.reset();
  close_descriptor();
  loop_.bury(*this);
}

void Connection::dismiss_slot() {
  if (slot_ == Send::kNoSlot) return;
  loop_.submitter_->dismiss(slot_);
  slot_ = Send::kNoSlot;
}

void Connection::close_descriptor() {
  if (descriptor_ < 0) return;
  if (slot_ != Send::kNoSlot) {
    // The submitter's table may refer to the socket for a while yet, which would keep it polled.
    poll_for(0);
    dismiss_slot();
  }
  ::close(descriptor_);
  descriptor_ = -1;
  armed_ = 0;
}

}  // namespace bezel::net
