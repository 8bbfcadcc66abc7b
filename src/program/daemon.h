#pragma once

#include <uv.h>

#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "admin/console.h"
#include "admin/metrics.h"
#include "admin/program.h"
#include "pool/worker.h"
#include "pool/worker_fleet.h"
#include "src/login/password_service.h"
#include "src/metrics_server/metrics_server.h"
#include "src/net/listen_sockets.h"
#include "src/net/worker_threads.h"
#include "src/program/file_watch.h"
#include "src/program/log_sink.h"
#include "src/upstream/followers.h"

namespace bezel::program {

class WorkerLoop;

/// The running program: workers, console, metrics, signals. Its own thread (that of run()) is the control plane: it
/// reads files, serves signals and timers, and is never waited for by a worker.
class Daemon final : public admin::Program {
 public:
  Daemon(std::string configuration_file, pool::SettingsPtr settings);
  ~Daemon() override;
  Daemon(const Daemon&) = delete;
  Daemon& operator=(const Daemon&) = delete;

  /// Listens, serves until it is told to stop, cleans up. Returns the exit code; errors are logged.
  int run();

  // admin::Program
  std::vector<admin::ConfigRow> config_rows() override;
  void set_config(int caller, const std::string& key, const std::string& value,
                  std::function<void(std::string)> done) override;
  void reload(int caller, std::function<void(std::string)> done) override;
  void shutdown(admin::ShutdownMode mode) override;
  void switch_over(int caller, const std::string& candidate, std::function<void(std::string)> done) override;
  bool shutting_down() override { return shutting_down_.load(); }
  std::string not_ready_reason() override;
  std::string version() const override { return BEZEL_VERSION; }
  std::optional<std::vector<admin::ResolvedHost>> resolved_hosts() override;
  void log_command(std::string_view line) override { log_.write(pool::LogLevel::info, line); }

 private:
  std::string start();
  void stop();
  std::string start_metrics();
  std::string write_pidfile();
  std::string read_configuration();
  /// Reads the files that the settings name, and nothing else, anew.
  void reread_files();
  size_t busy_servers(const pool::UpstreamSettings& upstream) const;
  std::string change_setting(const std::string& key, const std::string& value);
  void install(pool::SettingsPtr settings);
  void answer(int worker, std::function<void(std::string)> done, std::string error);

  void watch_signals();
  void on_signal(int number);
  void begin_shutdown(admin::ShutdownMode mode);
  void check_shutdown();
  void statistics_tick();
  void on_control_thread(std::function<void()> task);
  void run_tasks();

  std::string configuration_file_;
  LogSink log_;
  pool::SettingsPtr first_settings_;
  std::unique_ptr<pool::Shared> shared_;
  std::unique_ptr<pool::WorkerFleet> fleet_;
  std::unique_ptr<admin::Console> console_;
  std::unique_ptr<admin::Metrics> metrics_;
  login::PasswordService passwords_;
  bool checks_ended_ = true;  ///< of passwords, when it stopped
  std::unique_ptr<net::WorkerThreads> threads_;
  std::vector<std::unique_ptr<WorkerLoop>> loops_;
  net::ListenSockets sockets_;
  std::unique_ptr<MetricsServer> metrics_server_;

  uv_loop_t loop_;
  std::vector<std::unique_ptr<uv_signal_t>> signals_;
  uv_async_t wake_;
  uv_timer_t statistics_timer_;
  uv_timer_t shutdown_timer_;
  std::optional<FileWatch> file_watch_;
  std::optional<upstream::Followers> followers_;
  std::mutex tasks_mutex_;
  std::vector<std::function<void()>> tasks_;
  std::atomic<bool> shutting_down_{false};
  admin::ShutdownMode shutdown_mode_ = admin::ShutdownMode::immediate;
};

}  // namespace bezel::program
