#include "admin/wall_time.h"

#include <fmt/chrono.h>

#include <ctime>

namespace bezel::admin {

std::string wall_time(int64_t wall_clock_us) {
  const auto seconds = static_cast<time_t>(wall_clock_us / 1'000'000);
  tm local{};
  localtime_r(&seconds, &local);
  return fmt::format("{:%Y-%m-%d %H:%M:%S} {}", local, local.tm_zone);
}

}  // namespace bezel::admin
