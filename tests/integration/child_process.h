#pragma once

#include <sys/types.h>

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace bezel::integration {

/// A program that a test has started. Killed and reaped with the object, and by the kernel should the test itself be
/// killed. Must be made by the main thread: the kernel counts the end of the thread that forked.
class ChildProcess {
 public:
  struct Program {
    std::vector<std::string> command;  ///< its first element is the path
    std::string log_path;              ///< gets standard output and standard error
    std::vector<std::string> environment_changes =
        {};                   ///< NAME=value; others are inherited but for libpq's own (PG...)
    std::string run_as = {};  ///< a user's name, when this process is root's
    int standard_input = -1;  ///< a descriptor, which stays the caller's; without one there is nothing to read
  };

  explicit ChildProcess(Program program);
  ~ChildProcess();
  ChildProcess(const ChildProcess&) = delete;
  ChildProcess& operator=(const ChildProcess&) = delete;

  pid_t pid() const { return pid_; }
  void signal(int number) const;
  /// Whether it still runs.
  bool running();
  /// Its exit status once it has ended (128 + the signal's number if one killed it); nothing if it goes on for longer
  /// than kPatience.
  std::optional<int> wait_for_end();
  std::string log() const;

  /// Resident memory, and the most that it ever was.
  uint64_t resident_bytes() const;
  uint64_t resident_bytes_peak() const;
  /// CPU time used so far, of all threads.
  uint64_t cpu_time_us() const;
  size_t descriptor_count() const;

 private:
  void reap(int options);
  uint64_t status_kilobytes(const char* key) const;

  pid_t pid_ = -1;
  std::optional<int> status_;
  std::string log_path_;
};

}  // namespace bezel::integration
