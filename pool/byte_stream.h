#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "pool/ip_address.h"
#include "pool/tls.h"

namespace bezel::pool {

/// Both ends of a connection, for people: SHOW CLIENTS, SHOW SERVERS, logs.
struct StreamEnds {
  std::string peer_address;  ///< "unix" for a Unix socket
  uint16_t peer_port = 0;    ///< for a Unix socket the port of its name
  std::string local_address;
  uint16_t local_port = 0;
  /// Who connected the Unix socket, as the kernel knows it; nothing for TCP. The process may be gone by now.
  std::optional<uint32_t> peer_pid = {}, peer_user_id = {};
};

/// A connection taken off its worker, on its way to another one. Holds nothing but the open descriptor.
class DetachedStream {
 public:
  virtual ~DetachedStream() = default;
};

/// One byte stream to a client or a server, as the pool sees it. It belongs to one worker and is used by its thread
/// only.
///
/// Time passes in turns: in a turn the streams that are ready deliver what they received, timers fire, and at its end
/// all that was written leaves together. Received bytes and copies made by write_copy() live until the turn has ended,
/// so that what comes in on one stream can be written to another without a copy.
class ByteStream {
 public:
  /// What happens on a stream; every call comes from the worker's thread and never from inside a call to the stream.
  class Events {
   public:
    /// A dialled stream is connected. Not called for accepted or attached streams.
    virtual void on_connected() {}
    /// After start_tls(): the stream is encrypted, and the peer verified if that was asked for.
    virtual void on_secured() {}
    /// Bytes arrived; they stay valid until the end of the turn.
    virtual void on_bytes(std::string_view bytes) = 0;
    /// A turn has ended with more than kCongestedBytes unsent: whoever feeds this stream must stop until on_drained().
    virtual void on_congested() = 0;
    /// After on_congested(): all is sent.
    virtual void on_drained() = 0;
    /// The peer closed (empty reason) or the connection failed. The last event; the stream must still be released.
    virtual void on_closed(std::string_view reason) = 0;

   protected:
    ~Events() = default;
  };

  /// Unsent bytes at the end of a turn above which a stream is congested.
  static constexpr size_t kCongestedBytes = 64 * 1024;

  /// Queues bytes that stay valid and unchanged until the end of the turn; what is unsent then is copied by the stream.
  virtual void write(std::string_view bytes) = 0;
  /// Queues a copy of the bytes, which may be gone after the call.
  virtual void write_copy(std::string_view bytes) = 0;
  /// Bytes written and not yet taken by the kernel.
  virtual size_t unsent_bytes() const = 0;
  /// Grows with whatever leaves this process for the kernel (of an encrypted stream: for encryption). As long as it is
  /// the same as at a moment when nothing was unsent, nothing that was written since has left. Also after on_closed().
  virtual uint64_t taken_bytes() const = 0;
  /// Whether the peer's host owes acknowledgements, and has sent none for a second. False where that cannot be known.
  virtual bool peer_owes_acknowledgements() const = 0;
  /// What on_bytes() gives in this turn holds a secret: it is overwritten at the end of the turn.
  virtual void wipe_received() {}
  /// Takes back what was written and has not left. For a stream that is about to be released: an encrypted one is of no
  /// more use.
  virtual void drop_unsent() = 0;
  /// Stops and restarts on_bytes(). A stream reads from its birth. While stopped only a failure is noticed.
  virtual void pause_reading() = 0;
  virtual void resume_reading() = 0;
  /// From now on events go to another object.
  virtual void set_events(Events& events) = 0;
  /// Takes the connection off this worker, and with it what is unsent. The stream must be released afterwards as usual.
  virtual std::unique_ptr<DetachedStream> detach() = 0;
  /// Makes texts and may ask the kernel: for people, not for each login.
  virtual StreamEnds ends() const = 0;
  /// Nothing for a Unix socket.
  virtual std::optional<IpAddress> peer_ip() const = 0;
  /// Whether it is a Unix socket.
  virtual bool is_local() const = 0;
  /// Turns to TLS. What was written before leaves in plain text; what is written from now on is lost, until
  /// on_secured(); or on_closed() says why not. REQUIRES: connected, not done before; `start.context` is of the right
  /// side.
  virtual void start_tls(const TlsStart& start) = 0;
  /// After on_secured(): what is known; nullptr: the stream is not encrypted.
  virtual const TlsFacts* tls_facts() const = 0;
  /// The peer has said that it goes (Terminate), and what it sent has been read: release() then need not see to it that
  /// bytes still on their way to us do not cost the peer our last ones.
  virtual void peer_has_ended() = 0;
  /// Releases the stream: what is queued is still sent if the peer takes it within a few seconds; no events any more.
  virtual void release() = 0;

 protected:
  ~ByteStream() = default;
};

/// Sole owner of a stream; releases it.
struct StreamReleaser {
  void operator()(ByteStream* stream) const { stream->release(); }
};
using StreamPtr = std::unique_ptr<ByteStream, StreamReleaser>;

}  // namespace bezel::pool
