#include "pool/worker_fleet.h"

#include <fmt/format.h>

#include <algorithm>
#include <set>

namespace bezel::pool {

WorkerFleet::WorkerFleet(Shared& shared, SettingsPtr settings) : shared_(shared), settings_(std::move(settings)) {
  shared_.upstreams.set_notifier([this](const Upstream& upstream) {
    on_each_worker([changed = &upstream](Worker& worker) { worker.upstream_changed(*changed); });
  });
}

SettingsPtr WorkerFleet::settings() const {
  const std::lock_guard lock(mutex_);
  return settings_;
}

void WorkerFleet::apply_settings(SettingsPtr settings) {
  {
    const std::lock_guard lock(mutex_);
    settings_ = settings;
  }
  shared_.auth_cache.forget_all();
  on_each_worker([settings](Worker& worker) { worker.apply_settings(settings); });
}

void WorkerFleet::post(int worker, std::function<void()> task) {
  shared_.workers[static_cast<size_t>(worker)]->runtime().post(worker, std::move(task));
}

void WorkerFleet::on_each_worker(std::function<void(Worker&)> task) {
  for (Worker* worker : shared_.workers) {
    post(worker->index(), [worker, task] { task(*worker); });
  }
}

std::vector<DatabaseState> WorkerFleet::database_states() {
  std::vector<DatabaseState> states;
  std::set<std::string> listed;
  for (const auto& share : shared_.directory.databases()) {
    states.push_back(
        {share->name, share->paused.load(), share->disabled.load(), share->servers.taken(), share->clients.taken()});
    listed.insert(share->name);
  }
  const bool paused = shared_.directory.all_paused();
  for (const auto& [name, entry] : settings()->databases) {
    if (listed.insert(name).second) states.push_back({name, paused, false, 0, 0});
  }
  return states;
}

std::vector<UserState> WorkerFleet::user_states() {
  std::vector<UserState> states;
  for (const auto& share : shared_.directory.users()) {
    states.push_back({share->name, share->servers.taken(), share->clients.taken()});
  }
  return states;
}

void WorkerFleet::list_connections(int caller, bool servers, std::function<void(std::vector<ConnectionRow>)> done) {
  struct Gathering {
    std::vector<ConnectionRow> rows;  // touched by the caller's thread only
    size_t missing;
    std::function<void(std::vector<ConnectionRow>)> done;
  };
  auto gathering = std::make_shared<Gathering>(Gathering{{}, shared_.workers.size(), std::move(done)});
  on_each_worker([this, caller, servers, gathering](Worker& worker) {
    post(caller, [gathering, rows = worker.list_connections(servers)] {
      gathering->rows.insert(gathering->rows.end(), rows.begin(), rows.end());
      if (--gathering->missing == 0) gathering->done(std::move(gathering->rows));
    });
  });
}

std::vector<UpstreamRow> WorkerFleet::upstreams() const {
  const SettingsPtr now = settings();
  std::vector<UpstreamRow> rows;
  for (const auto& upstream : shared_.upstreams.all()) {
    UpstreamRow row = upstream->row();
    row.databases = databases_of(*now, upstream->settings());
    if (!row.databases.empty()) rows.push_back(std::move(row));
  }
  return rows;
}

std::string WorkerFleet::state() const {
  if (suspended_.load()) return "suspended";
  return shared_.directory.all_paused() ? "paused" : "active";
}

/// What new clients and pools must see at once, before any worker acts. Returns an error.
std::string WorkerFleet::change_flags(const OperationRequest& request) {
  Directory& directory = shared_.directory;
  if (!request.database.empty()) {
    const SettingsPtr now = settings();
    const auto known = directory.databases();
    const bool exists =
        now->databases.contains(request.database) || now->databases.contains("*") ||
        std::any_of(known.begin(), known.end(), [&](const auto& share) { return share->name == request.database; });
    if (!exists) return fmt::format("no such database: {}", request.database);
  }
  const auto share = request.database.empty() ? nullptr : directory.database(request.database);
  const auto set_paused = [&](bool paused) { share ? share->paused.store(paused) : directory.set_all_paused(paused); };
  switch (request.operation) {
    case Operation::pause:
      if (share ? share->paused.load() : directory.all_paused()) return "already suspended/paused";
      set_paused(true);
      return "";
    case Operation::kill:
      set_paused(true);
      return "";
    case Operation::suspend:
      if (suspended_.exchange(true)) return "already suspended/paused";
      return "";
    case Operation::resume: {
      const bool was_suspended = request.database.empty() && suspended_.exchange(false);
      const auto all = directory.databases();
      const bool any = std::any_of(all.begin(), all.end(), [](const auto& one) { return one->paused.load(); });
      const bool was_paused = share ? share->paused.load() : (directory.all_paused() || any);
      set_paused(false);
      return was_suspended || was_paused ? ""
             : share                     ? fmt::format("database {} is not paused", share->name)
                                         : "pooler is not paused/suspended";
    }
    case Operation::disable:
    case Operation::enable:
      if (!share) return "a database is required";
      share->disabled.store(request.operation == Operation::disable);
      return "";
    case Operation::reconnect:
      shared_.auth_cache.forget_all();
      for (const auto& upstream : shared_.upstreams.all()) upstream->forget_timeline();
      return "";
    default:
      return "";
  }
}

void WorkerFleet::send_operation(const OperationRequest& request, std::function<void(std::string)> done) {
  struct Progress {
    std::atomic<size_t> missing;
    std::mutex mutex;
    std::string error;
    std::function<void(std::string)> done;
  };
  const auto progress = std::make_shared<Progress>();
  progress->done = std::move(done);
  std::vector<Worker*> concerned = shared_.workers;
  if (request.operation == Operation::kill_client) {
    const size_t owner = request.client_id & 0xff;  // ids say where a connection is
    if (owner >= concerned.size()) return progress->done("client not found");
    concerned = {concerned[owner]};
  }
  progress->missing = concerned.size();
  for (Worker* worker : concerned) {
    post(worker->index(), [worker, request, progress] {
      worker->operate(request, [progress](std::string error) {
        if (!error.empty()) {
          const std::lock_guard lock(progress->mutex);
          progress->error = std::move(error);
        }
        if (--progress->missing == 0) progress->done(progress->error);
      });
    });
  }
}

void WorkerFleet::operate(int caller, OperationRequest request, std::function<void(std::string)> done) {
  std::string error = change_flags(request);
  if (!error.empty()) return done(std::move(error));
  send_operation(request, [this, caller, done = std::move(done)](std::string failure) {
    post(caller, [done, failure = std::move(failure)] { done(failure); });
  });
}

void WorkerFleet::operate_for_nobody(OperationRequest request) {
  if (change_flags(request).empty()) send_operation(request, [](const std::string&) {});
}

}  // namespace bezel::pool
