#include "src/program/daemon.h"

#include <fmt/format.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>

#include "src/config/named_files.h"
#include "src/config/settings_loader.h"
#include "src/config/settings_registry.h"
#include "src/net/cpu_quota.h"
#include "src/program/worker_loop.h"

namespace bezel::program {

using pool::LogLevel;

namespace {

/// How often an orderly shutdown looks whether what it waits for has gone.
constexpr uint64_t kShutdownCheckMs = 50;

constexpr size_t kProcessSecretBytes = 32;

/// As many open files as the system administrator lets this process have: a client is one.
void raise_file_limit() {
  rlimit limit{};
  if (getrlimit(RLIMIT_NOFILE, &limit) != 0) return;
  limit.rlim_cur = limit.rlim_max;
  setrlimit(RLIMIT_NOFILE, &limit);
}

const char* sends_text(pool::BatchedSends sends) {
  switch (sends) {
    case pool::BatchedSends::io_uring:
      return "sends batched by io_uring";
    case pool::BatchedSends::aio:
      return "sends batched by asynchronous I/O";
    default:
      return "sends not batched";
  }
}

}  // namespace

Daemon::Daemon(std::string configuration_file, pool::SettingsPtr settings)
    : configuration_file_(std::move(configuration_file)), first_settings_(std::move(settings)) {
  uv_loop_init(&loop_);
}

Daemon::~Daemon() {
  uv_loop_close(&loop_);
}

int Daemon::run() {
  if (const std::string error = log_.open(*first_settings_); !error.empty()) {
    std::fprintf(stderr, "bezel: %s\n", error.c_str());
    return 1;
  }
  if (const std::string error = start(); !error.empty()) {
    log_.write(LogLevel::error, error);
    stop();
    return 1;
  }
  const pool::SettingsPtr settings = fleet_->settings();
  log_.write(LogLevel::info,
             fmt::format("bezel {} serves with {} worker{}, {}", version(), threads_->size(),
                         threads_->size() == 1 ? "" : "s", sends_text(threads_->runtime(0).batched_sends())));
  uv_run(&loop_, UV_RUN_DEFAULT);
  stop();
  log_.write(LogLevel::info, "bezel has ended");
  // What still waits for a PAM module or an LDAP server cannot be interrupted, and uses libraries that exit() would
  // take apart.
  if (!checks_ended_) std::_Exit(0);
  return 0;
}

std::string Daemon::start() {
  raise_file_limit();
  const pool::Settings& settings = *first_settings_;
  const int workers = settings.workers > 0 ? settings.workers : net::automatic_worker_count();
  const net::Log log{[this](LogLevel level, std::string_view line) { log_.write(level, line); },
                     [this](LogLevel level) { return log_.enabled(level); }};
  shared_ = std::make_unique<pool::Shared>(workers);
  shared_->secret.resize(kProcessSecretBytes);
  if (getrandom(shared_->secret.data(), shared_->secret.size(), 0) != static_cast<ssize_t>(kProcessSecretBytes)) {
    return "the kernel gives no random bytes";
  }
  fleet_ = std::make_unique<pool::WorkerFleet>(*shared_, first_settings_);
  console_ = std::make_unique<admin::Console>(*fleet_, *this);
  metrics_ = std::make_unique<admin::Metrics>(*fleet_, *this);
  shared_->console = console_.get();
  shared_->passwords = &passwords_;
  threads_ = std::make_unique<net::WorkerThreads>(workers, log);
  for (int i = 0; i < workers; i++) {
    loops_.push_back(std::make_unique<WorkerLoop>(i, threads_->runtime(i), *shared_, first_settings_));
    shared_->workers.push_back(&loops_.back()->worker());
  }
  watch_signals();
  if (std::string error = sockets_.open(settings, workers, log); !error.empty()) return error;
  if (std::string error = write_pidfile(); !error.empty()) return error;
  if (std::string error = threads_->start(settings.batched_sends, &sockets_); !error.empty()) return error;
  followers_.emplace(
      &loop_, shared_->upstreams, [this](const pool::UpstreamSettings& upstream) { return busy_servers(upstream); },
      [this](LogLevel level, std::string_view line) { log_.write(level, line); });
  followers_->apply(settings);
  return start_metrics();
}

std::string Daemon::start_metrics() {
  if (first_settings_->metrics_port == 0) return "";
  try {
    metrics_server_ =
        std::make_unique<MetricsServer>(first_settings_->metrics_addr, first_settings_->metrics_port, *metrics_, *this);
    return "";
  } catch (const std::exception& error) {
    return error.what();
  }
}

std::string Daemon::write_pidfile() {
  if (first_settings_->pidfile.empty()) return "";
  std::ofstream file(first_settings_->pidfile, std::ios::trunc);
  file << getpid() << '\n';
  file.close();
  return file ? "" : fmt::format("could not write pidfile {}: {}", first_settings_->pidfile, std::strerror(errno));
}

void Daemon::stop() {
  metrics_server_.reset();
  followers_.reset();
  if (threads_) threads_->stop();
  checks_ended_ = passwords_.stop();
  sockets_.close();
  loops_.clear();
  threads_.reset();
  if (!first_settings_->pidfile.empty()) unlink(first_settings_->pidfile.c_str());
  // Handles that an error at start has left open.
  if (file_watch_) file_watch_->stop();
  uv_walk(
      &loop_,
      [](uv_handle_t* handle, void*) {
        if (!uv_is_closing(handle)) uv_close(handle, nullptr);
      },
      nullptr);
  uv_run(&loop_, UV_RUN_DEFAULT);
}

// ---- Control thread
// ----------------------------------------------------------------------------------------------------

void Daemon::watch_signals() {
  loop_.data = this;
  wake_.data = this;
  uv_async_init(&loop_, &wake_, [](uv_async_t* handle) { static_cast<Daemon*>(handle->data)->run_tasks(); });
  for (const int number : {SIGINT, SIGTERM, SIGQUIT, SIGHUP, SIGUSR1, SIGUSR2}) {
    auto handle = std::make_unique<uv_signal_t>();
    handle->data = this;
    uv_signal_init(&loop_, handle.get());
    uv_signal_start(
        handle.get(), [](uv_signal_t* signal, int got) { static_cast<Daemon*>(signal->data)->on_signal(got); }, number);
    signals_.push_back(std::move(handle));
  }
  signal(SIGPIPE, SIG_IGN);
  file_watch_.emplace(&loop_, [this] { reread_files(); });
  file_watch_->watch(config::named_files(*first_settings_));
  statistics_timer_.data = this;
  uv_timer_init(&loop_, &statistics_timer_);
  uv_timer_init(&loop_, &shutdown_timer_);
  shutdown_timer_.data = this;
  const auto period_ms = static_cast<uint64_t>(first_settings_->stats_period_us / 1000);
  uv_timer_start(
      &statistics_timer_, [](uv_timer_t* timer) { static_cast<Daemon*>(timer->data)->statistics_tick(); }, period_ms,
      period_ms);
}

void Daemon::on_control_thread(std::function<void()> task) {
  {
    const std::lock_guard lock(tasks_mutex_);
    tasks_.push_back(std::move(task));
  }
  uv_async_send(&wake_);
}

void Daemon::run_tasks() {
  std::vector<std::function<void()>> tasks;
  {
    const std::lock_guard lock(tasks_mutex_);
    tasks.swap(tasks_);
  }
  for (const auto& task : tasks) task();
}

void Daemon::statistics_tick() {
  console_->sampler().sample(admin::steady_clock_us());
  if (fleet_->settings()->log_stats) log_.write(LogLevel::info, console_->sampler().log_line());
}

void Daemon::on_signal(int number) {
  log_.write(LogLevel::info, fmt::format("got {}", strsignal(number)));
  switch (number) {
    case SIGINT:
      return begin_shutdown(admin::ShutdownMode::wait_for_servers);
    case SIGTERM:
      return begin_shutdown(admin::ShutdownMode::wait_for_clients);
    case SIGQUIT:
      return begin_shutdown(admin::ShutdownMode::immediate);
    case SIGUSR1:
      return fleet_->operate_for_nobody({pool::Operation::pause, "", 0});
    case SIGUSR2:
      return fleet_->operate_for_nobody({pool::Operation::resume, "", 0});
    case SIGHUP:
      read_configuration();
      return;
    default:
      return;
  }
}

// ---- Shutdown
// ----------------------------------------------------------------------------------------------------------

void Daemon::shutdown(admin::ShutdownMode mode) {
  on_control_thread([this, mode] { begin_shutdown(mode); });
}

void Daemon::begin_shutdown(admin::ShutdownMode mode) {
  // Being told a second time means: now.
  if (shutting_down_.exchange(true)) mode = admin::ShutdownMode::immediate;
  shutdown_mode_ = mode;
  if (mode == admin::ShutdownMode::immediate) return uv_stop(&loop_);
  const protocol::ProtocolError reason{protocol::sqlstate::kAdminShutdown, "the pooler is shutting down", "", ""};
  const auto still_accepting = std::make_shared<std::atomic<size_t>>(loops_.size());
  for (const auto& loop : loops_) {
    pool::Worker* worker = &loop->worker();
    net::LoopRuntime* runtime = &threads_->runtime(worker->index());
    runtime->post(worker->index(), [this, worker, runtime, reason, mode, still_accepting] {
      runtime->stop_accepting();
      worker->stop_accepting_clients(reason);
      if (mode == admin::ShutdownMode::wait_for_servers) worker->drop_clients_without_server(reason);
      // From then on clients are refused at once instead of waiting in the kernel's queue.
      if (--*still_accepting == 0) on_control_thread([this] { sockets_.close(); });
    });
  }
  if (mode == admin::ShutdownMode::wait_for_servers) fleet_->operate_for_nobody({pool::Operation::pause, "", 0});
  uv_timer_start(
      &shutdown_timer_, [](uv_timer_t* timer) { static_cast<Daemon*>(timer->data)->check_shutdown(); },
      kShutdownCheckMs, kShutdownCheckMs);
}

void Daemon::check_shutdown() {
  int left = 0;
  if (shutdown_mode_ == admin::ShutdownMode::wait_for_clients) {
    left = shared_->directory.clients.taken();
  } else {
    for (const auto& database : shared_->directory.databases()) left += database->servers.taken();
  }
  if (left == 0) uv_stop(&loop_);
}

// ---- For the console
// ---------------------------------------------------------------------------------------------------

std::vector<admin::ConfigRow> Daemon::config_rows() {
  std::vector<admin::ConfigRow> rows;
  for (config::ConfigRow& row : config::show_config(*fleet_->settings())) {
    rows.push_back({std::move(row.key), std::move(row.value), std::move(row.default_value), row.changeable});
  }
  return rows;
}

void Daemon::install(pool::SettingsPtr settings) {
  sockets_.apply(*settings);
  const auto period_ms = static_cast<uint64_t>(settings->stats_period_us / 1000);
  uv_timer_set_repeat(&statistics_timer_, period_ms);
  if (const std::string error = log_.open(*settings); !error.empty()) log_.write(LogLevel::error, error);
  file_watch_->watch(config::named_files(*settings));
  fleet_->apply_settings(settings);
  // After the pools: those that are left have let go of what is not followed any more.
  followers_->apply(*settings);
}

void Daemon::reread_files() {
  auto settings = std::make_shared<pool::Settings>(*fleet_->settings());
  const std::vector<config::Problem> problems = config::read_named_files(*settings);
  for (const config::Problem& problem : problems) log_.write(LogLevel::error, problem.text());
  if (!problems.empty()) {
    // Of what these include, too: that may be what has to be mended.
    file_watch_->watch(config::named_files(*settings));
    return log_.write(LogLevel::error, "changed files are not used");
  }
  install(std::move(settings));
  log_.write(LogLevel::info, "files have changed, and were read again: users, rules, certificates");
}

void Daemon::answer(int worker, std::function<void(std::string)> done, std::string error) {
  threads_->runtime(worker).post(worker, [done = std::move(done), error = std::move(error)] { done(error); });
}

// All changes of the settings happen on the control thread, one after the other.

void Daemon::set_config(int caller, const std::string& key, const std::string& value,
                        std::function<void(std::string)> done) {
  on_control_thread(
      [this, caller, key, value, done = std::move(done)] { answer(caller, done, change_setting(key, value)); });
}

void Daemon::reload(int caller, std::function<void(std::string)> done) {
  on_control_thread([this, caller, done = std::move(done)] { answer(caller, done, read_configuration()); });
}

void Daemon::switch_over(int caller, const std::string& candidate, std::function<void(std::string)> done) {
  on_control_thread([this, caller, candidate, done = std::move(done)] {
    followers_->switch_over(candidate, [this, caller, done](const std::string& error) { answer(caller, done, error); });
  });
}

/// Servers of that upstream's primary that are with clients now.
size_t Daemon::busy_servers(const pool::UpstreamSettings& upstream) const {
  const pool::SettingsPtr settings = fleet_->settings();
  const auto& databases = settings->databases;
  size_t busy = 0;
  for (const auto& pool : shared_->statistics.pools()) {
    auto entry = databases.find(pool->database);
    if (entry == databases.end()) entry = databases.find("*");
    if (entry == databases.end() || entry->second.upstream != upstream) continue;
    if (pool::wants_primary(entry->second.target_session_attrs)) busy += pool->sv_active.get();
  }
  return busy;
}

std::string Daemon::change_setting(const std::string& key, const std::string& value) {
  auto changed = std::make_shared<pool::Settings>(*fleet_->settings());
  if (const auto error = config::set_value(*changed, key, value)) return *error;
  install(std::move(changed));
  return "";
}

std::string Daemon::read_configuration() {
  const config::LoadResult loaded = config::load(configuration_file_, config::process_environment());
  for (const config::Problem& warning : loaded.warnings) log_.write(LogLevel::warning, warning.text());
  if (!loaded.ok()) {
    std::string errors;
    for (const config::Problem& problem : loaded.errors) {
      log_.write(LogLevel::error, problem.text());
      errors += (errors.empty() ? "" : "; ") + problem.text();
    }
    log_.write(LogLevel::error, "the configuration stays as it was");
    return errors;
  }
  auto settings = std::make_shared<pool::Settings>(*loaded.settings);
  for (const std::string& key : config::restart_only_changes(*fleet_->settings(), *settings)) {
    log_.write(LogLevel::warning, fmt::format("{} takes effect at the next start only", key));
  }
  config::keep_restart_only_values(*fleet_->settings(), *settings);
  install(std::move(settings));
  log_.write(LogLevel::info, "configuration reloaded");
  return "";
}

std::string Daemon::not_ready_reason() {
  if (shutting_down_.load()) return "shutting down";
  const std::string state = fleet_->state();
  if (state != "active") return state;
  const int64_t budget_us = fleet_->settings()->query_wait_timeout_us;
  for (const pool::UpstreamRow& upstream : fleet_->upstreams()) {
    const int64_t since_us = upstream.without_primary_since_us;
    // Until then clients wait, and will be served.
    if (since_us == 0 || budget_us == 0 || admin::steady_clock_us() - since_us <= budget_us) continue;
    return fmt::format("no primary of {} for longer than query_wait_timeout: {}", upstream.databases, upstream.why);
  }
  return "";
}

std::optional<std::vector<admin::ResolvedHost>> Daemon::resolved_hosts() {
  std::vector<admin::ResolvedHost> hosts;
  for (const net::NameCache::Listed& one : threads_->names().list(admin::steady_clock_us())) {
    admin::ResolvedHost host{one.host, one.ttl_us, {}};
    for (const net::SocketAddress& address : one.answer->addresses) host.addresses.push_back(address.host_text());
    hosts.push_back(std::move(host));
  }
  return hosts;
}

}  // namespace bezel::program
