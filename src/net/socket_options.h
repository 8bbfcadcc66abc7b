#pragma once

#include <cstdint>

#include "pool/settings.h"

namespace bezel::net {

/// What the settings say about every TCP socket. A copy, so that it outlives a reload.
struct SocketOptions {
  bool keepalive = true;
  int keepalive_count = 0;            ///< 0: the kernel's
  int64_t keepalive_idle_us = 0;      ///< 0: the kernel's
  int64_t keepalive_interval_us = 0;  ///< 0: the kernel's
  int64_t user_timeout_us = 0;        ///< 0: the kernel's

  static SocketOptions from(const pool::Settings& settings);
  /// For connections to servers: where keepalives are left to the kernel, they find a dead host in a few seconds. There
  /// are few such connections, and a client waits for each.
  static SocketOptions for_servers(const pool::Settings& settings);
  /// Sets them, and TCP_NODELAY, on a TCP socket; on a listening one, for all that it will accept (Linux hands them
  /// on). What the kernel refuses is left as it was: a connection without keepalive is better than none.
  void apply(int descriptor) const;
  /// The same for a listening socket that may have had other options before: where these say "the kernel's", it is
  /// given what a new socket has.
  void apply_anew(int descriptor) const;
};

/// An open descriptor with one owner.
class Descriptor {
 public:
  Descriptor() = default;
  explicit Descriptor(int descriptor) : descriptor_(descriptor) {}
  Descriptor(Descriptor&& other) noexcept : descriptor_(other.take()) {}
  Descriptor& operator=(Descriptor&& other) noexcept;
  ~Descriptor() { reset(); }

  int get() const { return descriptor_; }
  bool is_open() const { return descriptor_ >= 0; }
  /// Gives up ownership.
  int take();
  /// Closes it now.
  void reset();

 private:
  int descriptor_ = -1;
};

}  // namespace bezel::net
