#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace bezel::admin {

/// One row of SHOW CONFIG.
struct ConfigRow {
  std::string key, value, default_value;
  bool changeable = false;
};

/// One row of SHOW DNS_HOSTS: a name in the resolver's cache.
struct ResolvedHost {
  std::string name;
  int64_t ttl_us = 0;                  ///< until it is looked up again; not negative
  std::vector<std::string> addresses;  ///< empty: the name is known not to exist
};

enum class ShutdownMode : uint8_t { immediate, wait_for_servers, wait_for_clients };

/// What the console can ask of the program around the pool. Any thread may call these.
class Program {
 public:
  virtual ~Program() = default;
  virtual std::vector<ConfigRow> config_rows() = 0;
  /// SET key = value; `done("")` or `done(error)` follows on worker `caller`'s thread. The new value holds until the
  /// next reload.
  virtual void set_config(int caller, const std::string& key, const std::string& value,
                          std::function<void(std::string)> done) = 0;
  /// RELOAD: reads the configuration again, all or nothing; `done("")` or `done(errors)` follows on worker `caller`'s
  /// thread: reading files is nothing that a worker waits for.
  virtual void reload(int caller, std::function<void(std::string)> done) = 0;
  virtual void shutdown(ShutdownMode mode) = 0;
  /// SWITCHOVER: makes `candidate` (empty: whichever) the primary of its cluster, without any client seeing an error.
  /// `done("")` or `done(error)` follows on worker `caller`'s thread.
  virtual void switch_over(int caller, const std::string& candidate, std::function<void(std::string)> done) = 0;
  /// Whether the process is about to end.
  virtual bool shutting_down() = 0;
  /// Why the program is not ready to serve; empty: it is.
  virtual std::string not_ready_reason() = 0;
  /// The bare number, "0.1.0".
  virtual std::string version() const = 0;
  /// Names in the resolver's cache; nullopt: the resolver keeps none, and SHOW DNS_HOSTS says so.
  virtual std::optional<std::vector<ResolvedHost>> resolved_hosts() { return std::nullopt; }
  /// Logs (at level info) a command that changes something and who gave it. One line without its end, no secrets.
  virtual void log_command(std::string_view line) = 0;
};

}  // namespace bezel::admin
