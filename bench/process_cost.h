#pragma once

#include <optional>

namespace bezel::bench {

/// What a process has cost so far, all its threads together.
struct ProcessCost {
  long long cpu_us = 0;  ///< user and system time; the kernel counts in ticks, 10 ms as a rule
  long long voluntary_switches = 0;
  long long involuntary_switches = 0;
};

/// Reads /proc/<pid>/stat (proc(5): utime and stime of the whole thread group) and the switches of the threads that
/// live now. nullopt when there is no such process.
std::optional<ProcessCost> read_process_cost(int pid);

/// What was spent between two readings.
ProcessCost operator-(const ProcessCost& later, const ProcessCost& earlier);

}  // namespace bezel::bench
