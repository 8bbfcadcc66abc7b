#pragma once

#include <array>
#include <bit>
#include <cstdint>

namespace bezel::bench {

/// Latencies counted in buckets that grow with the value: a quantile is off by less than 1 %, and memory does not
/// grow with the number of samples.
class LatencyHistogram {
 public:
  void add(uint64_t latency_us) {
    ++buckets_[bucket_of(latency_us)];
    ++count_;
    if (latency_us > max_us_) max_us_ = latency_us;
  }

  /// The latency that `share` (0 to 1) of all samples do not exceed; 0 without samples.
  uint64_t quantile_us(double share) const {
    const auto wanted = static_cast<uint64_t>(share * static_cast<double>(count_));
    uint64_t seen = 0;
    for (std::size_t i = 0; i < buckets_.size(); ++i) {
      seen += buckets_[i];
      if (seen > wanted) return lower_bound_of(i);
    }
    return max_us_;
  }

  uint64_t count() const { return count_; }
  uint64_t max_us() const { return max_us_; }

 private:
  // Values below kSub have a bucket each; above, each power of two is cut into kSub / 2 steps.
  static constexpr unsigned kSubBits = 8;
  static constexpr uint64_t kSub = 1U << kSubBits;
  static constexpr unsigned kValueBits = 40;  // a bit more than twelve days of microseconds

  static std::size_t bucket_of(uint64_t value) {
    if (value >> kValueBits) value = (uint64_t{1} << kValueBits) - 1;
    if (value < kSub) return value;
    const unsigned shift = static_cast<unsigned>(std::bit_width(value)) - kSubBits;
    return kSub + (shift - 1) * (kSub / 2) + ((value >> shift) - kSub / 2);
  }

  static uint64_t lower_bound_of(std::size_t bucket) {
    if (bucket < kSub) return bucket;
    const auto step = (bucket - kSub) % (kSub / 2) + kSub / 2;
    const auto shift = (bucket - kSub) / (kSub / 2) + 1;
    return step << shift;
  }

  std::array<uint64_t, kSub + (kValueBits - kSubBits) * (kSub / 2)> buckets_{};
  uint64_t count_ = 0;
  uint64_t max_us_ = 0;
};

}  // namespace bezel::bench
