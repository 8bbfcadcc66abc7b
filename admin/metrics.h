#pragma once

#include <prometheus/collectable.h>
#include <prometheus/metric_family.h>

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "admin/program.h"
#include "pool/fleet.h"

namespace bezel::admin {

enum class MetricKind : uint8_t { counter, gauge };

/// What is said of a metric besides its values. docs/metrics.md lists the same.
struct MetricDescription {
  std::string_view name;
  MetricKind kind;
  std::string_view labels;  ///< comma-separated, in order; may be empty
  std::string_view help;
};

/// Every metric, in the order of the exposition.
std::span<const MetricDescription> metric_descriptions();

/// The figures for Prometheus, read from the statistics when they are asked for. Any thread.
///
/// Series by database and user are bounded: at most kPoolSeriesMax pairs, further ones are summed under
/// StatisticsRegistry::kOthers.
class Metrics final : public prometheus::Collectable {
 public:
  static constexpr size_t kPoolSeriesMax = 1000;

  Metrics(pool::Fleet& fleet, Program& program) : fleet_(fleet), program_(program) {}

  std::vector<prometheus::MetricFamily> Collect() const override;
  /// All metrics in Prometheus' text format 0.0.4.
  std::string scrape() const;

 private:
  pool::Fleet& fleet_;
  Program& program_;
};

}  // namespace bezel::admin
