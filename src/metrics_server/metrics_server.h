#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "admin/metrics.h"
#include "admin/program.h"

namespace bezel::program {

/// Serves GET and HEAD of /metrics (Prometheus), /healthz (200 while the process lives) and /readyz (200, or 503 with
/// the reason) on threads of its own. Two requests are served at a time, few more wait, and each has a time limit, so
/// that a scraper that hangs costs nothing but its turn.
class MetricsServer {
 public:
  /// Listens and starts to serve. `addr` is an address, a name, or "*" for all; `port` 0 takes a free one. Throws
  /// std::runtime_error that says what failed. `metrics` and `program` must outlive the server.
  MetricsServer(const std::string& addr, uint16_t port, admin::Metrics& metrics, admin::Program& program);
  /// Ends the requests under way and the threads.
  ~MetricsServer();
  MetricsServer(const MetricsServer&) = delete;
  MetricsServer& operator=(const MetricsServer&) = delete;

  /// The port it listens on.
  uint16_t port() const;

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace bezel::program
