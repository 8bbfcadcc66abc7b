#pragma once

#include <cstddef>
#include <string>
#include <utility>
#include <vector>

namespace bezel::config {

/// One thing that is wrong, or doubtful, in the configuration. It never holds a password.
struct Problem {
  std::string file;     ///< as it was given, or as the include found it; empty: no file to blame
  int line = 0;         ///< from 1; 0: the file as a whole
  std::string key;      ///< e.g. "listen_port", "databases.app.port"; empty: no key to blame
  std::string message;  ///< what was expected, what was found

  /// "file:line: key: message", without the parts that are empty.
  std::string text() const;
};

/// Collects problems up to a bound, so that a file that is not a configuration at all does not flood the terminal.
class ProblemList {
 public:
  static constexpr size_t kProblemsMax = 50;

  /// Keeps the problem, or counts it only when the list is full.
  void add(Problem problem) {
    if (problems_.size() < kProblemsMax) {
      problems_.push_back(std::move(problem));
    } else {
      ++left_out_;
    }
  }

  bool empty() const { return problems_.empty(); }
  /// Those kept, by file and line; the last one says how many were left out, if any.
  std::vector<Problem> take();

 private:
  std::vector<Problem> problems_;
  size_t left_out_ = 0;
};

}  // namespace bezel::config
