#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "pool/byte_stream.h"
#include "pool/intrusive_list.h"
#include "src/net/deadline.h"
#include "src/net/poller.h"
#include "src/net/socket_address.h"
#include "src/net/submitter.h"
#include "src/net/tls_state.h"
#include "src/net/turn_memory.h"
#include "src/net/unsent_buffer.h"

namespace bezel::net {

class Dial;
class EventLoop;

/// A connection on its way between two loops: an open descriptor and who is at its other end.
class DetachedDescriptor final : public pool::DetachedStream {
 public:
  DetachedDescriptor(int descriptor, const PeerAddress& peer, std::unique_ptr<TlsState> tls = nullptr,
                     UnsentBuffer unsent = {})
      : descriptor_(descriptor), peer_(peer), tls_(std::move(tls)), unsent_(std::move(unsent)) {}
  DetachedDescriptor(const DetachedDescriptor&) = delete;
  DetachedDescriptor& operator=(const DetachedDescriptor&) = delete;
  ~DetachedDescriptor() override;
  int take();
  const PeerAddress& peer() const { return peer_; }
  std::unique_ptr<TlsState> take_tls() { return std::move(tls_); }
  UnsentBuffer take_unsent() { return std::move(unsent_); }

 private:
  int descriptor_;
  PeerAddress peer_;
  std::unique_ptr<TlsState> tls_;
  UnsentBuffer unsent_;
};

/// A socket of one loop: pool::ByteStream on a non-blocking descriptor. Every idle client has one, so it is small.
///
/// Life: born by EventLoop (dialling or open); `open` until the peer or an error ends it (`ended`) or the pool releases
/// it (`lingering` while what was written is sent and the peer has not closed, then `closed`). The loop destroys it
/// between turns, so that what happens within a turn may still refer to it.
///
/// Invariants: bytes leave in the order of writing (unsent_ first, then this turn's slices); while blocked_ the kernel
/// does not take more and interest in writing is armed; on_closed() is called once at most, nothing after release().
class Connection final : public pool::ByteStream, private Poller::Watcher {
 public:
  /// A connection that is to be dialled: `dial_` is set by the loop.
  Connection(EventLoop& loop, Events* events);
  /// One that is connected.
  Connection(EventLoop& loop, Events* events, int descriptor, const PeerAddress& peer);
  /// One that was detached.
  Connection(EventLoop& loop, Events* events, DetachedDescriptor& detached);
  Connection(const Connection&) = delete;
  Connection& operator=(const Connection&) = delete;

  // pool::ByteStream
  void write(std::string_view bytes) override;
  void write_copy(std::string_view bytes) override;
  size_t unsent_bytes() const override { return unsent_.size() + queued_bytes_; }
  uint64_t taken_bytes() const override { return taken_bytes_; }
  bool peer_owes_acknowledgements() const override;
  void wipe_received() override;
  void drop_unsent() override;
  void pause_reading() override { paused_ = true; }
  void resume_reading() override;
  void set_events(Events& events) override { events_ = &events; }
  std::unique_ptr<pool::DetachedStream> detach() override;
  pool::StreamEnds ends() const override;
  std::optional<pool::IpAddress> peer_ip() const override { return peer_.ip(); }
  bool is_local() const override { return peer_.family == AF_UNIX; }
  void start_tls(const pool::TlsStart& start) override;
  const pool::TlsFacts* tls_facts() const override;
  void peer_has_ended() override { peer_has_ended_ = true; }
  void release() override;

 private:
  friend class Dial;
  friend class EventLoop;
  class Linger;

  enum class State : uint8_t { dialling, open, lingering, ended, closed };

  ~Connection();

  // Called by the loop.
  /// Polls for `interest` (EPOLLIN, EPOLLOUT, EPOLLPRI; 0: not at all) from now on. False (and errno is kept as the
  /// failure) when the kernel refuses.
  bool poll_for(uint32_t interest);
  /// Makes this turn's send, if there is one to be made; its pieces go to `pieces`, which has room for all.
  bool gather(Send& send, iovec* pieces);
  /// What became of that send.
  void account(const Send& send);
  /// After the sends of the round: events, what to poll for, and the next step of a release.
  void settle();
  /// The turn is over and the sends were not made: takes over the borrowed bytes.
  void keep_slices();
  /// A failure that could not be told when it happened.
  void tell_failure();

  void on_ready(uint32_t events) override;
  void on_poll_error();
  void receive();
  void receive_tls();
  /// Decrypts and delivers.
  void deliver(std::string_view ciphertext);
  void step_handshake();
  void handshake_stepped(tls::Session::Progress progress);
  void encrypt_slices();
  /// Whether there was any.
  bool keep_tls_output();
  void end_of_stream();
  bool is_handshaking() const { return tls_ != nullptr && tls_->is_working; }
  bool can_receive() const { return state_ == State::open && !paused_ && !eof_ && error_ == 0 && !is_handshaking(); }
  void unmute();
  void queue(std::string_view bytes);
  bool takes_bytes() const {
    return (state_ == State::open || state_ == State::dialling) && error_ == 0 && (tls_ == nullptr || tls_->is_ready);
  }
  uint32_t list_pieces(iovec* pieces);
  /// Fewer pieces, where that is cheaper or the kernel would refuse.
  uint32_t merge_pieces(iovec* pieces, uint32_t count, size_t bytes);
  void keep_unsent(const Send& send, size_t sent_bytes);
  void forget_slices();
  void update_interest();
  /// The connection is over: polls no more and tells it.
  void end(std::string_view reason);
  void connected();
  void finish_sending();
  void discard_received();
  void close_now();
  /// Polls no more, and the descriptor is closed.
  void close_descriptor();
  void dismiss_slot();

  EventLoop& loop_;
  Events* events_;
  Connection* next_dirty_ = nullptr;
  pool::ListHook<Connection> in_loop_;
  std::unique_ptr<Dial> dial_;
  std::unique_ptr<Linger> linger_;
  std::unique_ptr<TlsState> tls_;
  UnsentBuffer unsent_;
  size_t queued_bytes_ = 0;  ///< in this turn's slices
  uint64_t taken_bytes_ = 0;
  uint32_t first_slice_ = SliceLists::kNone;
  uint32_t last_slice_ = SliceLists::kNone;
  int descriptor_ = -1;
  int slot_ = Send::kNoSlot;
  PeerAddress peer_;
  int16_t error_ = 0;  ///< errno of a failed send or set-up; nothing is written any more
  uint8_t armed_ = 0;  ///< what is polled for
  uint8_t sends_ = 0;  ///< until it is worth a slot
  State state_;
  bool dialled_ : 1 = false;  ///< by us: to a server, not from a client
  bool dirty_ : 1 = false;    ///< in one of the loop's lists of connections to flush
  bool failing_ : 1 = false;  ///< in the loop's list of failures to tell
  bool released_ : 1 = false;
  bool paused_ : 1 = false;  ///< the pool does not want bytes
  bool muted_ : 1 = false;   ///< and some have come: not polled for
  bool blind_ : 1 = false;   ///< and urgent data too: not polled at all
  bool blocked_ : 1 = false;
  bool congested_ : 1 = false;
  bool eof_ : 1 = false;
  bool told_closed_ : 1 = false;
  bool peer_has_ended_ : 1 = false;
  bool shut_ : 1 = false;  ///< lingering: our side is closed
};

static_assert(sizeof(Connection) <= 160, "every idle client pays for this");

}  // namespace bezel::net
