#pragma once

#include <cstdint>
#include <cstdlib>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "pool/byte_stream.h"

namespace bezel::simulation {

class Stream;
class World;

/// The far end of a connection: a simulated client or server.
class Peer {
 public:
  virtual ~Peer() = default;
  virtual void on_received(std::string_view bytes) = 0;
  /// The pooler has closed (or reset) the connection; nothing comes any more.
  virtual void on_end() = 0;
  /// All that was sent has been taken.
  virtual void on_sent() {}
};

/// A connection between the pooler and a peer: two pipes in which bytes travel in random pieces. Lives as long as an
/// event or an end of it needs it.
class Connection : public std::enable_shared_from_this<Connection> {
 public:
  Connection(World& world, int worker);

  // ---- For the peer ----

  void set_peer(Peer* peer) { peer_ = peer; }
  void send(std::string_view bytes);
  size_t unsent_by_peer() const { return to_pooler_.size(); }
  /// The peer goes: orderly, after what it has sent, or by a reset, at once.
  void peer_closes(bool reset);
  void set_peer_reads(bool reads);
  /// Everything comes byte by byte, in both directions.
  void set_bytewise(bool bytewise) { bytewise_ = bytewise; }
  /// How many bytes the network takes from the pooler before the peer has read some.
  void set_window(size_t bytes) { window_ = bytes; }
  /// The network between the two swallows everything, until it does not any more.
  void set_cut(bool cut);
  /// Something that the pooler has sent is not acknowledged.
  bool owes_acknowledgements() const { return cut_ && !to_peer_.empty(); }
  bool pooler_gone() const { return released_; }

  // ---- For the pooler's end ----

  Stream* stream() const { return stream_; }
  int worker() const { return worker_; }
  void attach_stream(Stream* stream, int worker);
  void detach_stream();
  /// Takes as much as fits of `unsent` and removes it.
  void take(std::string& unsent);
  void release(std::string rest);
  void resume_delivery() { schedule_to_pooler(); }
  World& world() { return world_; }
  pool::StreamEnds ends;

 private:
  void schedule_to_pooler();
  void deliver_to_pooler();
  void schedule_to_peer();
  void deliver_to_peer();
  int64_t delay_us();

  World& world_;
  int worker_;
  Stream* stream_ = nullptr;
  Peer* peer_ = nullptr;

  std::string to_pooler_;
  bool to_pooler_scheduled_ = false;
  bool peer_closed_ = false, reset_ = false, end_told_ = false;

  std::string to_peer_;
  std::string lingering_;  // unsent when the pooler released it
  bool to_peer_scheduled_ = false;
  bool peer_reads_ = true;
  bool released_ = false;
  bool bytewise_ = false;
  bool cut_ = false;
  size_t window_ = 64 * 1024;
};

/// A detached connection on its way to another worker.
class Parcel final : public pool::DetachedStream {
 public:
  explicit Parcel(std::shared_ptr<Connection> connection) : connection_(std::move(connection)) {}
  ~Parcel() override;
  std::shared_ptr<Connection> take() { return std::move(connection_); }

 private:
  std::shared_ptr<Connection> connection_;
};

/// The pooler's end, which keeps exactly to what pool/byte_stream.h promises, and checks that the pooler does too:
/// written bytes must not change until the end of the turn, and whoever uses received ones later finds rubbish.
class Stream final : public pool::ByteStream {
 public:
  Stream(std::shared_ptr<Connection> connection, int worker, Events* events);

  void write(std::string_view bytes) override;
  void write_copy(std::string_view bytes) override;
  size_t unsent_bytes() const override;
  uint64_t taken_bytes() const override { return taken_bytes_; }
  bool peer_owes_acknowledgements() const override { return connection_->owes_acknowledgements(); }
  void drop_unsent() override;
  void pause_reading() override { reading_ = false; }
  void resume_reading() override;
  void set_events(Events& events) override { events_ = &events; }
  std::unique_ptr<pool::DetachedStream> detach() override;
  pool::StreamEnds ends() const override;
  std::optional<pool::IpAddress> peer_ip() const override { return pool::IpAddress::parse(ends().peer_address); }
  bool is_local() const override { return false; }
  /// Encryption is below what is simulated: no settings ask for it.
  void start_tls(const pool::TlsStart&) override { std::abort(); }
  /// But what encryption tells may be there without it, so that logins can be bound to it.
  const pool::TlsFacts* tls_facts() const override;
  void peer_has_ended() override {}
  void release() override;

  // ---- For the simulation ----

  bool reading() const { return reading_; }
  bool released() const { return released_; }
  void connected() {
    if (!released_) events_->on_connected();
  }
  void received(std::string_view bytes) { events_->on_bytes(bytes); }
  void closed(std::string_view reason);
  /// The end of a turn: sends what can be sent, and tells of congestion.
  void flush();
  /// The network has room again.
  void writable();
  bool has_pending() const { return !pending_.empty(); }

 private:
  struct Pending {
    std::string_view bytes;
    std::string copy;  // of write_copy
    uint64_t checksum;
  };
  void touch();
  void collect();

  std::shared_ptr<Connection> connection_;
  World& world_;
  int worker_;
  Events* events_;
  std::vector<Pending> pending_;
  std::string unsent_;
  uint64_t taken_bytes_ = 0;
  bool reading_ = true;
  bool released_ = false, detached_ = false, closed_ = false;
  bool congested_ = false;
};

}  // namespace bezel::simulation
