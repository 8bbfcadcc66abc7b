#pragma once

#include <functional>
#include <string_view>

#include "pool/runtime.h"

namespace bezel::net {

/// Where this layer's log lines go. Both functions may be called by any thread.
struct Log {
  std::function<void(pool::LogLevel level, std::string_view line)> write = [](pool::LogLevel, std::string_view) {};
  std::function<bool(pool::LogLevel level)> enabled = [](pool::LogLevel) { return false; };
};

}  // namespace bezel::net
