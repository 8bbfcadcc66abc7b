#include "tests/simulation/world.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>

#include "tests/simulation/backend.h"
#include "tests/simulation/client.h"

namespace bezel::simulation {

namespace {

constexpr int64_t kMillisecond = 1000;
constexpr int64_t kSecond = 1'000'000;

/// As long as all clients take at most, in virtual time.
constexpr int64_t kRunUs = 1000 * kSecond;

/// Long enough for every timeout that may hold up a connection after its client has left.
constexpr int64_t kWindDownUs = 20 * kSecond;
constexpr int64_t kWindDownWithSilentServersUs = 60 * kSecond;

constexpr size_t kLogLinesMax = 5000;

}  // namespace

// ---- Runtime -------------------------------------------------------------------------------------------------------

int64_t SimulatedRuntime::now_us() const {
  return world_.now_us();
}

int64_t SimulatedRuntime::wall_clock_us() const {
  return world_.now_us() + kWallClockOffsetUs;
}

pool::StreamPtr SimulatedRuntime::dial(const pool::HostAddress& address, const pool::Settings&,
                                       pool::ByteStream::Events& events) {
  const auto connection = std::make_shared<Connection>(world_, index_);
  connection->ends = {address.host, address.port, "10.0.0.2", 40000};
  pool::StreamPtr stream = world_.own_stream(connection, index_, &events);
  world_.dialled(connection, address);
  return stream;
}

pool::StreamPtr SimulatedRuntime::attach(std::unique_ptr<pool::DetachedStream> detached,
                                         pool::ByteStream::Events& events) {
  return world_.own_stream(static_cast<Parcel&>(*detached).take(), index_, &events);
}

void SimulatedRuntime::offload(std::function<void()> work, std::function<void()> done) {
  world_.after(world_.random().between(10, 5000), index_, [work = std::move(work), done = std::move(done)] {
    work();
    done();
  });
}

void SimulatedRuntime::post(int index, std::function<void()> task) {
  world_.post(index, std::move(task));
}

void SimulatedRuntime::random_bytes(void* to, size_t size) {
  auto* bytes = static_cast<unsigned char*>(to);
  for (size_t i = 0; i < size; i++) bytes[i] = static_cast<unsigned char>(world_.random().below(256));
}

void SimulatedRuntime::log(pool::LogLevel, std::string_view line) {
  if (world_.verbose()) world_.note(fmt::format("[worker {}] {}", index_, line));
}

// ---- World ---------------------------------------------------------------------------------------------------------

World::World(uint64_t seed, bool verbose) : World(seed, verbose, std::nullopt) {}

World::World(uint64_t seed, Scenario scenario, Dialled dialled)
    : World(seed, false, std::optional(std::move(scenario))) {
  dialled_ = std::move(dialled);
}

World::World(uint64_t seed, bool verbose, std::optional<Scenario> scenario)
    : seed_(seed),
      verbose_(verbose),
      random_(seed),
      scenario_(scenario ? std::move(*scenario) : Scenario(random_)),
      states_(static_cast<size_t>(scenario_.workers)),
      shared_(scenario_.workers),
      invariants_(*this) {
  shared_.secret = "a secret of the simulation";
  for (int i = 0; i < scenario_.workers; i++) runtimes_.push_back(std::make_unique<SimulatedRuntime>(*this, i));
  for (int i = 0; i < scenario_.workers; i++) {
    begin_turn(i);
    workers_.push_back(
        std::make_unique<pool::Worker>(i, *runtimes_[static_cast<size_t>(i)], shared_, scenario_.settings));
    shared_.workers.push_back(workers_.back().get());
    current_worker_ = kNobody;
  }
  for (int i = 0; i < scenario_.workers; i++) {
    begin_turn(i);
    end_turn(i);
  }
  fleet_ = std::make_unique<pool::WorkerFleet>(shared_, scenario_.settings);
  if (scenario_.cluster) cluster_ = std::make_unique<Cluster>(*this);
}

World::~World() {
  for (int i = 0; i < scenario_.workers; i++) {
    current_worker_ = i;
    workers_[static_cast<size_t>(i)].reset();
    flush(i);
    bury_streams(i);
  }
  current_worker_ = kNobody;
}

void World::fail(std::string what) {
  if (failure_.empty()) failure_ = std::move(what);
}

void World::note(std::string_view line) {
  log_.push_back(fmt::format("{:>10.3f} ms #{} {}", static_cast<double>(now_us_ - 1'000'000'000) / 1000, steps_, line));
  if (log_.size() > kLogLinesMax) log_.pop_front();
}

void World::after(int64_t delay_us, int worker, std::function<void()> what) {
  events_.push({now_us_ + delay_us, sequence_++, worker, std::move(what)});
}

void World::post(int worker, std::function<void()> task) {
  WorkerState& state = states_[static_cast<size_t>(worker)];
  // In order of posting, whatever the delays.
  const int64_t delay = random_.chance(20) ? random_.between(100, 3000) : random_.between(1, 50);
  state.last_post_us = std::max(state.last_post_us, now_us_ + delay);
  events_.push({state.last_post_us, sequence_++, worker, std::move(task)});
}

std::string_view World::keep_for_turn(std::string bytes) {
  return turn_memory_.emplace_back(std::move(bytes));
}

void World::mark_dirty(Stream& stream, int worker) {
  auto& dirty = states_[static_cast<size_t>(worker)].dirty;
  if (std::find(dirty.begin(), dirty.end(), &stream) == dirty.end()) dirty.push_back(&stream);
}

pool::StreamPtr World::own_stream(std::shared_ptr<Connection> connection, int worker,
                                  pool::ByteStream::Events* events) {
  auto& streams = states_[static_cast<size_t>(worker)].streams;
  streams.push_back(std::make_unique<Stream>(std::move(connection), worker, events));
  return pool::StreamPtr(streams.back().get());
}

// ---- Turns ---------------------------------------------------------------------------------------------------------

void World::begin_turn(int worker) {
  current_worker_ = worker;
  if (static_cast<size_t>(worker) < workers_.size()) invariants_.turn_begins(worker);
}

void World::flush(int worker) {
  auto& dirty = states_[static_cast<size_t>(worker)].dirty;
  for (int round = 0; round < 8 && !dirty.empty(); round++) {
    const std::vector<Stream*> now = std::exchange(dirty, {});
    for (Stream* stream : now) stream->flush();
  }
}

void World::bury_streams(int worker) {
  std::erase_if(states_[static_cast<size_t>(worker)].streams, [](const auto& stream) { return stream->released(); });
}

void World::end_turn(int worker) {
  pool::Worker& ended = *workers_[static_cast<size_t>(worker)];
  if (ended.next_timer_us() <= now_us_) ended.run_timers();
  flush(worker);
  ended.end_turn();
  flush(worker);
  bury_streams(worker);
  // Whoever still looks at it finds rubbish, and AddressSanitizer finds him.
  for (std::string& bytes : turn_memory_) std::memset(bytes.data(), 0xdd, bytes.size());
  turn_memory_.clear();
  invariants_.check(worker);
  current_worker_ = kNobody;
  arm_wake(worker);
}

void World::arm_wake(int worker) {
  WorkerState& state = states_[static_cast<size_t>(worker)];
  const int64_t deadline = workers_[static_cast<size_t>(worker)]->next_timer_us();
  if (deadline == pool::TimerWheel::kNever) return;
  const int64_t at = std::max(deadline, now_us_ + 1);
  if (state.wake_at_us > now_us_ && state.wake_at_us <= at) return;
  state.wake_at_us = at;
  events_.push({at, sequence_++, worker, [&state] { state.wake_at_us = 0; }});
}

void World::step() {
  Event event = events_.top();
  events_.pop();
  now_us_ = std::max(now_us_, event.at_us);
  steps_++;
  if (event.worker == kNobody) return event.what();
  begin_turn(event.worker);
  event.what();
  // What is ready at nearly the same time belongs to the same turn, or not.
  while (!events_.empty() && events_.top().worker == event.worker && events_.top().at_us <= now_us_ + 20 &&
         random_.chance(70)) {
    const Event next = events_.top();
    events_.pop();
    next.what();
  }
  end_turn(event.worker);
}

bool World::all_clients_done() const {
  return std::all_of(clients_.begin(), clients_.end(), [](const auto& client) { return client->done(); });
}

bool World::run(uint64_t steps_max) {
  plan();
  const int64_t until_us = now_us_ + kRunUs;
  while (!failed() && steps_ < steps_max && !events_.empty() && !all_clients_done()) {
    step();
    if (now_us_ > until_us) fail("the clients do not come to an end");
  }
  if (failed() || steps_ >= steps_max) return !failed();
  const int64_t end_us = now_us_ + (scenario_.half_dead ? kWindDownWithSilentServersUs : kWindDownUs);
  while (!failed() && steps_ < steps_max && !events_.empty() && events_.top().at_us <= end_us) step();
  return check_end();
}

bool World::pass(int64_t time_us) {
  const int64_t until_us = now_us_ + time_us;
  while (!failed() && !events_.empty() && events_.top().at_us <= until_us) step();
  now_us_ = std::max(now_us_, until_us);
  return !failed();
}

bool World::check_end() {
  if (!failed()) invariants_.check_end();
  return !failed();
}

// ---- Servers -------------------------------------------------------------------------------------------------------

void World::dialled(std::shared_ptr<Connection> connection, const pool::HostAddress& address) {
  const int worker = connection->worker();
  ClusterMember* const member = cluster_ ? cluster_->member(address) : nullptr;
  if (verbose_ && member != nullptr) note(fmt::format("{} is dialled", member->name));
  if (member != nullptr && member->cut) return;
  if (random_.chance(scenario_.refused_dials) || (member != nullptr && !member->up)) {
    after(random_.between(10, 3000), worker, [connection] {
      if (connection->stream() != nullptr) connection->stream()->closed("Connection refused");
    });
    return;
  }
  if (scenario_.half_dead && random_.chance(5)) return;  // the host does not answer
  after(random_.between(10, 3000), worker, [this, connection, member] {
    if (connection->stream() == nullptr || connection->stream()->released()) return;
    if (member != nullptr && member->cut) return;
    if (member != nullptr && !member->up) return connection->stream()->closed("Connection refused");
    if (dialled_) {
      dialled_(connection);
    } else {
      backends_.push_back(std::make_unique<Backend>(*this, connection, member));
    }
    if (connection->stream() != nullptr) connection->stream()->connected();
  });
}

Backend* World::backend_of(int32_t pid, std::string_view secret) {
  for (const auto& backend : backends_) {
    if (backend->ready() && backend->pid() == pid && backend->secret() == secret) return backend.get();
  }
  return nullptr;
}

void World::executed(const std::string& id, Backend& backend) {
  if (client_of(id).empty()) return;
  if (verbose_) note(fmt::format("backend {} executes {}", backend.pid(), id));
  if (cluster_ && backend.member() != nullptr) {
    SimulatedClient* client = this->client(static_cast<size_t>(std::atoi(id.c_str() + 1)));
    cluster_->executed(id, *backend.member(), client != nullptr && client->wants_primary());
  }
  if (++executed_[id] > 1) fail(fmt::format("{} was executed twice", id));
}

// ---- Clients -------------------------------------------------------------------------------------------------------

SimulatedClient* World::client(size_t index) {
  return index < clients_.size() ? clients_[index].get() : nullptr;
}

std::shared_ptr<Connection> World::connect() {
  const int worker = static_cast<int>(random_.below(workers_.size()));
  const auto connection = std::make_shared<Connection>(*this, worker);
  after(random_.between(5, 200), worker, [this, connection, worker] {
    workers_[static_cast<size_t>(worker)]->accept(own_stream(connection, worker, nullptr));
  });
  return connection;
}

void World::plan() {
  for (int i = 0; i < scenario_.clients; i++) {
    clients_.push_back(std::make_unique<SimulatedClient>(*this, clients_.size()));
    after(random_.between(0, random_.chance(70) ? 2000 : 60'000), kNobody,
          [client = clients_.back().get()] { client->start(); });
  }
  plan_faults();
  plan_operations();
  if (cluster_) cluster_->start();
}

void World::plan_faults() {
  const auto at_some_backend = [this](auto what) {
    after(random_.between(1000, 60'000), kNobody, [this, what] {
      std::vector<Backend*> open;
      for (const auto& backend : backends_) {
        if (backend->open()) open.push_back(backend.get());
      }
      if (!open.empty()) what(*random_.pick(open));
    });
  };
  for (size_t i = scenario_.server_faults ? 1 + random_.below(4) : 0; i > 0; i--) {
    at_some_backend([](Backend& backend) { backend.die(); });
  }
  for (size_t i = scenario_.half_dead ? 1 + random_.below(2) : 0; i > 0; i--) {
    at_some_backend([](Backend& backend) { backend.fall_silent(); });
  }
  for (size_t i = scenario_.async_notices ? random_.below(8) : 0; i > 0; i--) {
    at_some_backend([](Backend& backend) { backend.send_notice_if_idle(); });
  }
}

// ---- Operations ----------------------------------------------------------------------------------------------------

void World::plan_operations() {
  for (size_t i = scenario_.operations ? 1 + random_.below(4) : 0; i > 0; i--) {
    after(random_.between(100, 60'000), static_cast<int>(random_.below(workers_.size())),
          [this] { operate_randomly(); });
  }
  for (size_t i = scenario_.reloads ? 1 + random_.below(2) : 0; i > 0; i--) {
    after(random_.between(100, 60'000), static_cast<int>(random_.below(workers_.size())),
          [this] { fleet_->apply_settings(with_other_limits(*fleet_->settings(), random_)); });
  }
}

void World::resume_later(pool::OperationRequest request) {
  after(random_.between(100, 200 * kMillisecond), current_worker_, [this, request] {
    if (verbose_) note("RESUME");
    const bool disabled = request.operation == pool::Operation::disable;
    const pool::OperationRequest undo{disabled ? pool::Operation::enable : pool::Operation::resume, request.database,
                                      0};
    resumes_under_way_++;
    fleet_->operate(current_worker_, undo, [this](const std::string&) { resumes_under_way_--; });
  });
}

/// RECONNECT is on its way to the workers; what is posted to them now comes behind it.
void World::reconnected(const std::string& database) {
  if (cluster_) cluster_->timelines_forgotten();
  for (const auto& worker : workers_) {
    const int index = worker->index();
    post(index, [this, index, ids = invariants_.servers_of(index, database)] { invariants_.reconnected(index, ids); });
  }
}

void World::operate_randomly() {
  using pool::Operation;
  static constexpr Operation kOperations[] = {Operation::pause,   Operation::kill,       Operation::reconnect,
                                              Operation::suspend, Operation::wait_close, Operation::kill_client,
                                              Operation::disable};
  pool::OperationRequest request{kOperations[random_.below(std::size(kOperations))], "", 0};
  const auto& databases = scenario_.settings->databases;
  const std::string& first = databases.begin()->first == "*" ? databases.rbegin()->first : databases.begin()->first;
  if (request.operation == Operation::disable || random_.chance(50)) request.database = first;
  if (request.operation == Operation::suspend) request.database.clear();
  if (request.operation == Operation::kill_client) {
    std::vector<uint64_t> ids;
    for (const auto& row : workers_[static_cast<size_t>(current_worker_)]->list_connections(false))
      ids.push_back(row.id);
    if (ids.empty()) return;
    request.client_id = random_.pick(ids);
  }
  if (verbose_) note(fmt::format("operation {} on \"{}\"", static_cast<int>(request.operation), request.database));
  const auto refused = std::make_shared<bool>(false);
  fleet_->operate(current_worker_, request, [refused](const std::string& error) { *refused = !error.empty(); });
  if (request.operation == Operation::reconnect && !*refused) reconnected(request.database);
  const bool lasts = request.operation == Operation::pause || request.operation == Operation::kill ||
                     request.operation == Operation::suspend || request.operation == Operation::disable;
  if (lasts) resume_later(request);
}

}  // namespace bezel::simulation
