#pragma once

#include <cstdint>
#include <string>

namespace bezel::admin {

/// A time since 1970 as the console shows it: "2026-11-22 19:03:23 UTC", in the process's time zone.
std::string wall_time(int64_t wall_clock_us);

}  // namespace bezel::admin
