#pragma once

#include <string>
#include <string_view>

#include "pool/runtime.h"
#include "pool/settings.h"

namespace bezel::program {

/// Where log lines go: standard error, or `logfile`, one line an event. Any thread may write.
class LogSink {
 public:
  /// Opens what the settings name. Returns "" or an error; after an error the previous target stays.
  std::string open(const pool::Settings& settings);
  void write(pool::LogLevel level, std::string_view line) const;
  bool enabled(pool::LogLevel level) const;
};

}  // namespace bezel::program
