#pragma once

#include <cstddef>
#include <cstdint>

namespace bezel::simulation {

/// A seeded source of random numbers (splitmix64), the same on every machine and with every standard library.
class Random {
 public:
  explicit Random(uint64_t seed) : state_(seed) {}

  uint64_t next() {
    uint64_t z = (state_ += 0x9e3779b97f4a7c15);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
    z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
    return z ^ (z >> 31);
  }
  /// 0 .. bound - 1. REQUIRES: bound > 0.
  size_t below(size_t bound) { return static_cast<size_t>(next() % bound); }
  int64_t between(int64_t low, int64_t high) {
    return low + static_cast<int64_t>(next() % static_cast<uint64_t>(high - low + 1));
  }
  bool chance(int percent) { return static_cast<int>(next() % 100) < percent; }
  template <typename List>
  auto& pick(List& list) {
    return list[below(list.size())];
  }

 private:
  uint64_t state_;
};

}  // namespace bezel::simulation
