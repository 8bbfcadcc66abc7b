#pragma once

#include <chrono>
#include <stdexcept>
#include <string>
#include <thread>

namespace bezel::integration {

/// How long a test waits for what must happen. Generous: it only decides how soon a failure is reported.
inline constexpr std::chrono::seconds kPatience{30};

/// Returns once `condition()` is true. Throws std::runtime_error, with `what` was waited for, when it does not come
/// true within kPatience.
template <typename Condition>
void wait_until(const std::string& what, Condition condition) {
  const auto deadline = std::chrono::steady_clock::now() + kPatience;
  while (!condition()) {
    if (std::chrono::steady_clock::now() > deadline) throw std::runtime_error("waited in vain until " + what);
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
}

}  // namespace bezel::integration
