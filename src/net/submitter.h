#pragma once

#include <sys/types.h>
#include <sys/uio.h>

#include <cstddef>
#include <cstdint>
#include <span>

namespace bezel::net {

class Connection;

/// One send to one connection: pieces of memory that stay unchanged until submit() has returned.
struct Send {
  static constexpr int kNoSlot = -1;

  Connection* connection;
  const iovec* pieces;
  uint32_t piece_count;
  int descriptor;
  int slot;        ///< what enroll() gave for the descriptor, or kNoSlot
  size_t bytes;    ///< of all pieces
  ssize_t result;  ///< out: how much the kernel took, or a negative errno
};

/// How a loop's sends reach the kernel. Belongs to the loop's thread.
class Submitter {
 public:
  virtual ~Submitter() = default;
  /// Tries each send once, without waiting, and fills in every `result`. At most one send for a connection. When it
  /// returns the kernel is done with all the memory.
  virtual void submit(std::span<Send> sends) = 0;
  /// A connection that sends often may be made known; its slot makes sending cheaper. kNoSlot: not useful.
  virtual int enroll(int descriptor) = 0;
  /// REQUIRED before an enrolled descriptor is closed.
  virtual void dismiss(int slot) = 0;
};

}  // namespace bezel::net
