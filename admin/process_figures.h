#pragma once

#include <cstdint>

namespace bezel::admin {

/// What the kernel says of this process.
struct ProcessFigures {
  uint64_t resident_bytes = 0;
  uint64_t virtual_bytes = 0;
  uint64_t page_bytes = 0;
  double cpu_seconds = 0;         ///< user and system, all threads
  double start_time_seconds = 0;  ///< since 1970
  uint64_t open_fds = 0, max_fds = 0;
};

/// Reads /proc/self; what cannot be read is 0. Any thread; takes some microseconds.
ProcessFigures process_figures();

}  // namespace bezel::admin
