#include <fmt/format.h>
#include <sys/socket.h>

#include <cassert>
#include <cerrno>
#include <cstring>

#include "src/net/connection.h"
#include "src/net/event_loop.h"

namespace bezel::net {

void Connection::start_tls(const pool::TlsStart& start) {
  assert(state_ == State::open && tls_ == nullptr);
  keep_slices();
  std::unique_ptr<tls::Session> session = tls::Session::make(start);
  if (session == nullptr) {
    error_ = ENOMEM;
    return loop_.tell_failure_later(*this);
  }
  tls_ = std::make_unique<TlsState>(std::move(session));
  if (tls_->session->can_go_on()) step_handshake();
}

const pool::TlsFacts* Connection::tls_facts() const {
  return tls_ != nullptr && tls_->is_ready ? &tls_->session->facts() : nullptr;
}

void Connection::step_handshake() {
  // A signature or its check takes as long as serving dozens of queries: not on this thread.
  tls_->is_working = true;
  auto progress = std::make_shared<tls::Session::Progress>();
  loop_.offload([session = tls_->session, progress] { *progress = session->handshake(); },
                [this, alive = tls_->alive, progress] {
                  if (*alive) handshake_stepped(*progress);
                });
}

void Connection::handshake_stepped(tls::Session::Progress progress) {
  tls_->is_working = false;
  if (state_ != State::open) return;
  if (progress == tls::Session::Progress::failed) {
    // The alert, if the peer takes it; the connection is over anyway.
    const std::string alert = tls_->session->take_output();
    if (unsent_.empty()) ::send(descriptor_, alert.data(), alert.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
    return end(fmt::format("TLS handshake failed: {}", tls_->session->failure()));
  }
  if (keep_tls_output()) loop_.mark_dirty(*this);
  if (!paused_) unmute();
  if (progress == tls::Session::Progress::again) return;
  tls_->is_ready = true;
  tls_->alive.reset();
  const std::string early = tls_->session->take_input();
  events_->on_secured();
  if (state_ == State::open && !early.empty()) deliver(early);
}

void Connection::receive_tls() {
  // Ciphertext is needed for this call only, unlike what is in it.
  char* const memory = loop_.arena_.discard_area();
  const ssize_t received = ::recv(descriptor_, memory, ReceiveArena::kDiscardBytes, MSG_DONTWAIT);
  if (received < 0) {
    if (errno != EAGAIN && errno != EINTR) end(std::strerror(errno));
    return;
  }
  if (received == 0)
    return tls_->is_ready ? end_of_stream() : end("the connection was closed during the TLS handshake");
  const std::string_view ciphertext(memory, static_cast<size_t>(received));
  if (tls_->is_ready) return deliver(ciphertext);
  tls_->session->receive(ciphertext);
  if (tls_->session->can_go_on()) step_handshake();
}

void Connection::deliver(std::string_view ciphertext) {
  tls::Session& session = *tls_->session;
  const size_t room = ciphertext.size() + tls::Session::kKeptBytesMax;
  ReceiveArena& arena = loop_.arena_;
  const bool fits = arena.room() >= room;
  char* const to = fits ? arena.head() : loop_.copies_.allocate(room);
  size_t bytes = 0;
  const bool good = session.decrypt(ciphertext, to, bytes);
  if (fits) arena.advance(bytes);
  if (keep_tls_output()) loop_.mark_dirty(*this);  // an answer to the peer's wish for new keys
  const bool is_closed = session.is_closed();
  const std::string failure = session.failure();
  if (bytes > 0) events_->on_bytes({to, bytes});
  if (state_ != State::open) return;
  if (!good) return end(fmt::format("TLS failed: {}", failure));
  if (is_closed) end_of_stream();
}

void Connection::encrypt_slices() {
  assert(tls_->is_ready);
  taken_bytes_ += queued_bytes_;
  uint32_t at = first_slice_;
  std::string_view plaintext;
  if (first_slice_ == last_slice_) {
    plaintext = {loop_.slices_.at(at).data, loop_.slices_.at(at).size};
  } else {
    // A record for each piece would cost more than putting them together.
    char* const merged = loop_.copies_.allocate(queued_bytes_);
    char* to = merged;
    for (; at != SliceLists::kNone; at = loop_.slices_.at(at).next) {
      std::memcpy(to, loop_.slices_.at(at).data, loop_.slices_.at(at).size);
      to += loop_.slices_.at(at).size;
    }
    plaintext = {merged, queued_bytes_};
  }
  const bool good = tls_->session->encrypt(plaintext);
  forget_slices();
  keep_tls_output();
  if (good) return;
  error_ = EPROTO;
  loop_.tell_failure_later(*this);
}

bool Connection::keep_tls_output() {
  const std::string ciphertext = tls_->session->take_output();
  unsent_.append(ciphertext);
  return !ciphertext.empty();
}

}  // namespace bezel::net
