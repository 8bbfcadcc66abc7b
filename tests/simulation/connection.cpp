#include "tests/simulation/connection.h"

#include <algorithm>

#include "tests/simulation/world.h"

namespace bezel::simulation {

namespace {

uint64_t checksum(std::string_view bytes) {
  uint64_t sum = 1469598103934665603u;
  for (const char c : bytes) sum = (sum ^ static_cast<unsigned char>(c)) * 1099511628211u;
  return sum;
}

/// As much as one recv() gives.
constexpr size_t kReceivedBytesMax = 16 * 1024;

}  // namespace

// ---- Connection ----------------------------------------------------------------------------------------------------

Connection::Connection(World& world, int worker) : world_(world), worker_(worker) {
  ends = {"10.0.0.1", static_cast<uint16_t>(1024 + world.random().below(60000)), "10.0.0.2", 6432};
}

int64_t Connection::delay_us() {
  if (bytewise_) return 1;
  return world_.random().chance(5) ? world_.random().between(200, 5000) : world_.random().between(5, 100);
}

void Connection::send(std::string_view bytes) {
  if (peer_closed_) return;
  to_pooler_.append(bytes);
  schedule_to_pooler();
}

void Connection::peer_closes(bool reset) {
  if (peer_closed_) return;
  peer_closed_ = true;
  // Whoever closes without having read everything sends a reset.
  reset = reset || !to_peer_.empty() || (stream_ != nullptr && stream_->unsent_bytes() > 0);
  reset_ = reset;
  peer_ = nullptr;
  to_peer_.clear();
  if (reset) to_pooler_.clear();
  schedule_to_pooler();
}

void Connection::set_peer_reads(bool reads) {
  peer_reads_ = reads;
  if (reads) schedule_to_peer();
}

void Connection::set_cut(bool cut) {
  cut_ = cut;
  schedule_to_pooler();
  schedule_to_peer();
}

void Connection::schedule_to_pooler() {
  const bool something = !to_pooler_.empty() || (peer_closed_ && !end_told_);
  if (to_pooler_scheduled_ || released_ || cut_ || !something || stream_ == nullptr) return;
  if (!stream_->reading() && !reset_) return;
  to_pooler_scheduled_ = true;
  world_.after(delay_us(), worker_, [self = shared_from_this()] { self->deliver_to_pooler(); });
}

void Connection::deliver_to_pooler() {
  to_pooler_scheduled_ = false;
  if (cut_) return;
  // A stream that was released in this very turn gets no events any more.
  if (stream_ == nullptr || stream_->released() || (!stream_->reading() && !reset_)) return;
  if (to_pooler_.empty()) {
    if (!peer_closed_ || end_told_) return;
    end_told_ = true;
    stream_->closed(reset_ ? "Connection reset by peer" : "");
    return;
  }
  size_t size = std::min(to_pooler_.size(), kReceivedBytesMax);
  if (bytewise_) {
    size = 1;
  } else if (world_.random().chance(40)) {
    size = 1 + world_.random().below(size);
  } else if (world_.random().chance(20)) {
    size = std::min(size, 1 + world_.random().below(8));
  }
  // Memory that ends with the turn.
  const std::string_view bytes = world_.keep_for_turn(to_pooler_.substr(0, size));
  to_pooler_.erase(0, size);
  Peer* peer = peer_;
  stream_->received(bytes);
  if (to_pooler_.empty() && peer != nullptr && peer == peer_) {
    world_.after(1, World::kNobody, [self = shared_from_this()] {
      if (self->peer_ != nullptr && self->to_pooler_.empty()) self->peer_->on_sent();
    });
  }
  schedule_to_pooler();
}

void Connection::attach_stream(Stream* stream, int worker) {
  stream_ = stream;
  worker_ = worker;
  schedule_to_pooler();
}

void Connection::detach_stream() {
  stream_ = nullptr;
}

void Connection::take(std::string& unsent) {
  if (peer_closed_) {
    // Written to a peer that is gone: the next thing that comes is a reset.
    if (!unsent.empty() && !reset_) {
      reset_ = true;
      to_pooler_.clear();
      schedule_to_pooler();
    }
    unsent.clear();
    return;
  }
  size_t size = std::min(unsent.size(), window_ - std::min(window_, to_peer_.size()));
  if (size > 1 && to_peer_.size() > 0 && world_.random().chance(5)) size = 1 + world_.random().below(size);
  to_peer_.append(unsent, 0, size);
  unsent.erase(0, size);
  schedule_to_peer();
}

void Connection::release(std::string rest) {
  released_ = true;
  stream_ = nullptr;
  lingering_ = std::move(rest);
  take(lingering_);
  schedule_to_peer();
}

void Connection::schedule_to_peer() {
  if (to_peer_scheduled_ || peer_ == nullptr || !peer_reads_ || cut_) return;
  if (to_peer_.empty() && !released_ && (stream_ == nullptr || stream_->unsent_bytes() == 0)) return;
  to_peer_scheduled_ = true;
  world_.after(delay_us(), World::kNobody, [self = shared_from_this()] { self->deliver_to_peer(); });
}

void Connection::deliver_to_peer() {
  to_peer_scheduled_ = false;
  if (peer_ == nullptr || !peer_reads_ || cut_) return;
  if (!to_peer_.empty()) {
    size_t size = to_peer_.size();
    if (bytewise_) {
      size = 1;
    } else if (world_.random().chance(30)) {
      size = 1 + world_.random().below(size);
    }
    const std::string bytes = to_peer_.substr(0, size);
    to_peer_.erase(0, size);
    peer_->on_received(bytes);
    if (peer_ == nullptr) return;
  } else if (released_ && lingering_.empty()) {
    Peer* peer = std::exchange(peer_, nullptr);
    peer_closed_ = true;
    peer->on_end();
    return;
  }
  if (released_) {
    take(lingering_);
  } else if (stream_ != nullptr && stream_->unsent_bytes() > 0) {
    world_.after(world_.random().between(1, 50), worker_, [self = shared_from_this()] {
      if (self->stream_ != nullptr) self->stream_->writable();
    });
  }
  schedule_to_peer();
}

Parcel::~Parcel() {
  if (connection_) connection_->release("");
}

// ---- Stream --------------------------------------------------------------------------------------------------------

Stream::Stream(std::shared_ptr<Connection> connection, int worker, Events* events)
    : connection_(std::move(connection)), world_(connection_->world()), worker_(worker), events_(events) {
  connection_->attach_stream(this, worker);
}

void Stream::touch() {
  if (released_ || detached_) world_.fail("the pooler writes to a stream that it has released");
  if (world_.current_worker() != worker_) world_.fail("a stream is used by another worker's thread");
  world_.mark_dirty(*this, worker_);
}

void Stream::write(std::string_view bytes) {
  if (bytes.empty()) return;
  touch();
  pending_.push_back({bytes, "", checksum(bytes)});
}

void Stream::write_copy(std::string_view bytes) {
  if (bytes.empty()) return;
  touch();
  pending_.push_back({{}, std::string(bytes), 0});
}

size_t Stream::unsent_bytes() const {
  size_t size = unsent_.size();
  for (const Pending& one : pending_) size += one.bytes.size() + one.copy.size();
  return size;
}

void Stream::resume_reading() {
  reading_ = true;
  if (!released_ && !detached_) connection_->resume_delivery();
}

std::unique_ptr<pool::DetachedStream> Stream::detach() {
  if (unsent_bytes() > 0) world_.fail("a stream is detached with unsent bytes");
  detached_ = true;
  connection_->detach_stream();
  return std::make_unique<Parcel>(connection_);
}

pool::StreamEnds Stream::ends() const {
  return connection_->ends;
}

const pool::TlsFacts* Stream::tls_facts() const {
  const std::optional<pool::TlsFacts>& facts = connection_->world().scenario().tls_facts;
  return facts ? &*facts : nullptr;
}

void Stream::release() {
  released_ = true;
  world_.mark_dirty(*this, worker_);
}

void Stream::closed(std::string_view reason) {
  if (released_) return;
  closed_ = true;
  events_->on_closed(reason);
}

void Stream::collect() {
  for (const Pending& one : pending_) {
    if (one.bytes.empty()) {
      unsent_ += one.copy;
      continue;
    }
    if (checksum(one.bytes) != one.checksum) world_.fail("written bytes have changed before the end of the turn");
    unsent_ += one.bytes;
  }
  pending_.clear();
}

void Stream::drop_unsent() {
  pending_.clear();
  unsent_.clear();
}

void Stream::flush() {
  if (detached_) return;
  collect();
  if (released_) {
    if (connection_->stream() == this) connection_->release(std::exchange(unsent_, {}));
    return;
  }
  if (closed_) {
    unsent_.clear();
    return;
  }
  const size_t before = unsent_.size();
  connection_->take(unsent_);
  taken_bytes_ += before - unsent_.size();
  if (unsent_.empty() && std::exchange(congested_, false)) events_->on_drained();
  if (unsent_.size() > kCongestedBytes && !std::exchange(congested_, true)) events_->on_congested();
}

void Stream::writable() {
  world_.mark_dirty(*this, worker_);
}

}  // namespace bezel::simulation
