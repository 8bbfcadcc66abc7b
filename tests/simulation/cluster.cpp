#include "tests/simulation/cluster.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "tests/simulation/backend.h"
#include "tests/simulation/client.h"
#include "tests/simulation/world.h"

namespace bezel::simulation {

using pool::MemberRole;
using pool::Membership;
using pool::UpstreamSource;

namespace {

constexpr int64_t kMillisecond = 1000;
constexpr int64_t kSecond = 1'000'000;

constexpr int64_t kTickUs = 50 * kMillisecond;

/// Nobody is asked whether he lives for longer than that: a search takes as long with a host that does not answer, and
/// a transaction may go on for failover_grace.
constexpr int64_t kServedWithinUs = 8 * kSecond;

/// As many as a pool begins at once.
constexpr size_t kLoginsMax = 10;

/// How many of the source's former answers may come once more.
constexpr size_t kToldMax = 5;

}  // namespace

Cluster::Cluster(World& world) : world_(world), switchover_(world), replicas_(world) {
  const Scenario& scenario = world.scenario();
  for (const pool::HostAddress& host : scenario.cluster->hosts) {
    ClusterMember& member = members_.emplace_back();
    member.name = host.host;
    member.address = host;
  }
  members_[0].in_recovery = false;
}

void Cluster::start() {
  upstream_ = world_.shared().upstreams.of(*world_.scenario().cluster).get();
  deliver(membership());
  plan_events();
  if (world_.scenario().replicas_leave) replicas_leave();
  if (world_.scenario().replicas_fill) replicas_fill();
  if (world_.scenario().read_only) be_read_only();
  control();
  poll();
}

ClusterMember* Cluster::member(const pool::HostAddress& address) {
  const auto at =
      std::find_if(members_.begin(), members_.end(), [&](const auto& member) { return member.address == address; });
  return at == members_.end() ? nullptr : &*at;
}

uint32_t Cluster::highest_timeline() const {
  uint32_t highest = 0;
  for (const ClusterMember& member : members_) highest = std::max(highest, member.timeline);
  return highest;
}

bool Cluster::holder_serves() const {
  return holder_ && members_[*holder_].serves() && !members_[*holder_].in_recovery;
}

// ---- Events --------------------------------------------------------------------------------------------------------

void Cluster::plan_events() {
  Random& random = world_.random();
  int64_t at_us = 0;
  for (size_t i = random.below(7); i > 0; i--) {
    at_us += random.chance(60) ? random.between(500, 60'000) : random.between(kMillisecond, 2 * kSecond);
    world_.after(at_us, World::kNobody, [this] { happens(); });
  }
}

void Cluster::happens() {
  Random& random = world_.random();
  const size_t index = random.chance(75) && holder_ ? *holder_ : random.below(members_.size());
  if (!members_[index].up || members_[index].starting) return;
  const bool is_primary = holder_ == index;
  if (world_.verbose()) world_.note(fmt::format("cluster: something happens to {}", members_[index].name));
  if (is_primary && world_.scenario().switchovers && random.chance(40)) {
    return switchover_.begin(*upstream_, [this, index] { return switch_over(index); });
  }
  if (is_primary) return lose_primary_somehow(index);
  switch (random.below(3)) {
    case 0:
      stop(index, random.chance(50));
      return start_again(index, false);
    case 1:
      return cut(index, random.between(kMillisecond, 5 * kSecond));
    default:
      return freeze(index, random.between(kMillisecond, 5 * kSecond));
  }
}

void Cluster::others_follow(int64_t low_us, int64_t high_us) {
  elect_at_us_ = world_.now_us() + world_.random().between(low_us, high_us);
}

/// Returns whether that one is the primary, and could do so.
bool Cluster::switch_over(size_t index) {
  if (holder_ != index || !holder_serves()) return false;
  stop(index, true);
  start_again(index, false);
  holder_.reset();
  others_follow(kMillisecond, 200 * kMillisecond);
  return true;
}

/// A replica, for a while.
void Cluster::fall_behind() {
  Random& random = world_.random();
  ClusterMember& member = members_[random.below(members_.size())];
  if (!member.in_recovery || member.lag_bytes > 0) return;
  member.lag_bytes = static_cast<uint64_t>(random.between(1, 3 * kReplicaLagBytesMax));
  if (world_.verbose()) world_.note(fmt::format("cluster: {} is {} bytes behind", member.name, member.lag_bytes));
  world_.after(random.between(kMillisecond, 3 * kSecond), World::kNobody, [&member] { member.lag_bytes = 0; });
}

/// Who may fall back to the primary has to.
void Cluster::replicas_leave() {
  for (size_t i = 0; i < members_.size(); i++) {
    world_.after(world_.random().between(kMillisecond, 200 * kMillisecond), World::kNobody, [this, i] {
      if (!members_[i].in_recovery || !members_[i].up || members_[i].starting) return;
      stop(i, world_.random().chance(50));
      come_back(i, false, world_.random().between(2 * kServedWithinUs, 4 * kServedWithinUs), kMillisecond);
    });
  }
}

/// The same, and nobody says so but the replicas themselves, at logins.
void Cluster::replicas_fill() {
  Random& random = world_.random();
  for (ClusterMember& member : members_) {
    // From the beginning, or with some connections that live on.
    member.full = random.chance(50);
    world_.after(random.between(0, 200 * kMillisecond), World::kNobody, [this, &member] {
      member.full = true;
      note_health();
    });
    world_.after(random.between(kServedWithinUs, 4 * kServedWithinUs), World::kNobody, [this, &member] {
      member.full = false;
      note_health();
    });
  }
}

void Cluster::be_read_only() {
  Random& random = world_.random();
  world_.after(random.between(0, 50 * kMillisecond), World::kNobody, [this, for_us = random.between(0, 3 * kSecond)] {
    if (!holder_) return;
    ClusterMember& member = members_[*holder_];
    if (world_.verbose()) world_.note(fmt::format("cluster: {} is read-only by default", member.name));
    member.read_only = true;
    note_health();
    world_.after(for_us, World::kNobody, [this, &member] {
      if (world_.verbose()) world_.note(fmt::format("cluster: {} is not read-only any more", member.name));
      member.read_only = false;
      note_health();
    });
  });
}

void Cluster::lose_primary_somehow(size_t index) {
  Random& random = world_.random();
  switch (random.below(7)) {
    case 0:
      switch_over(index);
      return;
    case 1:  // it dies, and another one takes over
      stop(index, false);
      start_again(index, false);
      return others_follow(20 * kMillisecond, 3 * kSecond);
    case 2:  // it is started again
      stop(index, random.chance(50));
      return start_again(index, true);
    case 3:
      cut(index, random.between(kMillisecond, 5 * kSecond));
      if (random.chance(60)) others_follow(20 * kMillisecond, 2 * kSecond);
      return;
    case 4:
      freeze(index, random.between(kMillisecond, 5 * kSecond));
      if (random.chance(60)) others_follow(20 * kMillisecond, 2 * kSecond);
      return;
    case 5:
      demote(index);
      holder_.reset();
      return others_follow(kMillisecond, 300 * kMillisecond);
    default:  // Patroni has died there, and PostgreSQL lives on
      holder_.reset();
      stale_until_us_ = world_.now_us() + random.between(10 * kMillisecond, 4 * kSecond);
      return others_follow(kMillisecond, 500 * kMillisecond);
  }
}

/// What the cluster itself does, now and then.
void Cluster::control() {
  Random& random = world_.random();
  const int64_t now = world_.now_us();
  if (elect_at_us_ == 0 && !holder_serves()) elect_at_us_ = now + random.between(100 * kMillisecond, 3 * kSecond);
  if (elect_at_us_ != 0 && elect_at_us_ <= now) elect();
  for (size_t i = 0; i < members_.size(); i++) {
    ClusterMember& member = members_[i];
    if (!member.serves() || holder_ == i) continue;
    if (!member.in_recovery) {
      if (now >= stale_until_us_ && holder_ && random.chance(20)) demote(i);
    } else if (holder_serves()) {
      member.timeline = members_[*holder_].timeline;
    }
  }
  if (world_.scenario().replicas_lag && random.chance(10)) fall_behind();
  upstream_->tick(now);
  note_health();
  world_.after(random.between(5 * kMillisecond, kTickUs), World::kNobody, [this] { control(); });
}

void Cluster::elect() {
  Random& random = world_.random();
  std::vector<size_t> candidates;
  for (size_t i = 0; i < members_.size(); i++) {
    // Who has been the leader is no candidate, unless it is the only one.
    if (members_[i].serves() && members_[i].in_recovery) candidates.push_back(i);
  }
  for (size_t i = 0; i < members_.size() && candidates.empty(); i++) {
    if (members_[i].serves() && members_[i].timeline == highest_timeline()) candidates.push_back(i);
  }
  if (candidates.empty()) return;
  elect_at_us_ = 0;
  holder_ = random.pick(candidates);
  if (world_.verbose()) world_.note(fmt::format("cluster: {} is elected", members_[*holder_].name));
  world_.after(random.between(0, random.chance(70) ? 50 * kMillisecond : kSecond), World::kNobody,
               [this, index = *holder_] { finish_promotion(index); });
  // Until it is promoted, nobody takes it for lost.
  elect_at_us_ = world_.now_us() + 2 * kSecond;
}

void Cluster::finish_promotion(size_t index) {
  ClusterMember& member = members_[index];
  if (holder_ != index) return;
  elect_at_us_ = 0;
  if (!member.serves() || !member.in_recovery) return;
  member.timeline = highest_timeline() + 1;
  member.in_recovery = false;
  promotions_++;
  if (world_.verbose()) world_.note(fmt::format("cluster: {} is on timeline {}", member.name, member.timeline));
  note_health();
}

void Cluster::break_sessions(const ClusterMember& member, bool orderly) {
  for (const auto& backend : world_.backends()) {
    if (backend->member() != &member) continue;
    orderly ? backend->shut_down() : backend->crash();
  }
}

/// Without a restart of what listens.
void Cluster::demote(size_t index) {
  ClusterMember& member = members_[index];
  if (world_.verbose()) world_.note(fmt::format("cluster: {} is demoted", member.name));
  break_sessions(member, true);
  member.in_recovery = true;
  member.timeline = highest_timeline();
  note_health();
}

void Cluster::stop(size_t index, bool orderly) {
  ClusterMember& member = members_[index];
  if (world_.verbose()) world_.note(fmt::format("cluster: {} stops", member.name));
  break_sessions(member, orderly);
  member.up = false;
  note_health();
}

void Cluster::start_again(size_t index, bool as_before) {
  Random& random = world_.random();
  const int64_t down_us = random.between(kMillisecond, random.chance(50) ? 100 * kMillisecond : 2 * kSecond);
  const int64_t starting_us = random.between(0, random.chance(70) ? 50 * kMillisecond : kSecond);
  come_back(index, as_before, down_us, starting_us);
}

void Cluster::come_back(size_t index, bool as_before, int64_t down_us, int64_t starting_us) {
  world_.after(down_us, World::kNobody, [this, index] { members_[index].up = members_[index].starting = true; });
  world_.after(down_us + starting_us, World::kNobody, [this, index, as_before] {
    ClusterMember& member = members_[index];
    member.starting = false;
    // Whoever is the leader still starts as the primary that it was.
    if (!as_before || holder_ != index) member.in_recovery = true;
    if (member.in_recovery) member.timeline = highest_timeline();
    if (world_.verbose()) world_.note(fmt::format("cluster: {} is up", member.name));
    note_health();
  });
}

void Cluster::cut(size_t index, int64_t for_us) {
  ClusterMember& member = members_[index];
  if (member.cut || member.frozen) return;
  if (world_.verbose()) world_.note(fmt::format("cluster: {} is cut off for {} ms", member.name, for_us / 1000));
  member.cut = was_silent_ = true;
  for (const auto& backend : world_.backends()) {
    if (backend->member() == &member) backend->set_cut(true);
  }
  note_health();
  world_.after(for_us, World::kNobody, [this, index] { heal(index); });
}

void Cluster::heal(size_t index) {
  ClusterMember& member = members_[index];
  if (world_.verbose()) world_.note(fmt::format("cluster: {} is back", member.name));
  const bool reset = world_.random().chance(40);
  member.cut = false;
  for (const auto& backend : world_.backends()) {
    if (backend->member() != &member) continue;
    backend->set_cut(false);
    if (reset) backend->crash();
  }
  note_health();
}

void Cluster::freeze(size_t index, int64_t for_us) {
  ClusterMember& member = members_[index];
  if (member.cut || member.frozen) return;
  if (world_.verbose()) world_.note(fmt::format("cluster: {} is frozen for {} ms", member.name, for_us / 1000));
  member.frozen = was_silent_ = true;
  for (const auto& backend : world_.backends()) {
    if (backend->member() == &member) backend->freeze();
  }
  note_health();
  world_.after(for_us, World::kNobody, [this, &member] {
    if (world_.verbose()) world_.note(fmt::format("cluster: {} goes on", member.name));
    member.frozen = false;
    for (const auto& backend : world_.backends()) {
      if (backend->member() == &member) backend->thaw();
    }
    note_health();
  });
}

// ---- The source ----------------------------------------------------------------------------------------------------

Membership Cluster::membership() const {
  Membership known;
  const UpstreamSource source = world_.scenario().cluster->source;
  for (size_t i = 0; i < members_.size(); i++) {
    const ClusterMember& member = members_[i];
    pool::Member told{member.name, member.address};
    if (source == UpstreamSource::patroni) {
      told.role = holder_ == i ? MemberRole::primary : MemberRole::replica;
      told.state = member.up && !member.starting ? "running" : "stopped";
      if (world_.scenario().source_tells_timelines) told.timeline = member.timeline;
      if (holder_ != i) told.lag_bytes = member.lag_bytes;
      told.takes_reads = member.up && !member.starting;
    }
    known.members.push_back(std::move(told));
  }
  return known;
}

void Cluster::poll() {
  Random& random = world_.random();
  const UpstreamSource source = world_.scenario().cluster->source;
  if (source == UpstreamSource::fixed) return;
  const int64_t now = world_.now_us();
  if (world_.scenario().source_falls_silent && now >= silent_until_us_ && random.chance(10)) {
    silent_until_us_ = now + random.between(kMillisecond, 3 * kSecond);
    upstream_->on_silence("the simulated source is silent");
  }
  if (now >= silent_until_us_) {
    Membership told = membership();
    if (source == UpstreamSource::dns && random.chance(10)) {
      told.members.erase(told.members.begin() + static_cast<ptrdiff_t>(random.below(told.members.size())));
    }
    told_.push_back(told);
    if (told_.size() > kToldMax) told_.pop_front();
    // By a member that has not heard of the latest.
    if (random.chance(5)) told = random.pick(told_);
    world_.after(random.chance(90) ? random.between(kMillisecond, 50 * kMillisecond) : random.between(0, kSecond),
                 World::kNobody, [this, told = std::move(told)]() mutable { deliver(std::move(told)); });
  }
  const int64_t pause_us = upstream_->changing() ? 200 * kMillisecond : kSecond;
  world_.after(random.between(pause_us / 10, pause_us), World::kNobody, [this] { poll(); });
}

void Cluster::deliver(Membership membership) {
  const int64_t now = world_.now_us();
  delivered_ = std::move(membership);
  replicas_.told(*delivered_);
  if (world_.verbose()) {
    std::string list;
    for (const auto& member : delivered_->members) {
      list += " " + member.name + (member.role == MemberRole::primary ? "*" : "");
    }
    world_.note("cluster: the source tells of" + list);
  }
  upstream_->on_membership(*delivered_, now, now + kWallClockOffsetUs);
  note_health();
}

// ---- Health --------------------------------------------------------------------------------------------------------

void Cluster::note_health() {
  note_readable();
  bool healthy = holder_serves() && delivered_ && !upstream_->held();
  if (healthy) {
    const ClusterMember& primary = members_[*holder_];
    healthy = primary.timeline == highest_timeline() && !primary.read_only;
    const auto told = std::find_if(delivered_->members.begin(), delivered_->members.end(),
                                   [&](const pool::Member& member) { return member.address == primary.address; });
    if (told == delivered_->members.end() || told->role == MemberRole::replica) healthy = false;
    const bool names_one = healthy && told->role == MemberRole::primary;
    if (healthy && names_one && told->state != "running") healthy = false;
    // Where nobody is named, what is silent may be the primary for all that one can know.
    const bool all_answer = std::all_of(members_.begin(), members_.end(),
                                        [](const ClusterMember& member) { return !member.cut && !member.frozen; });
    if (!names_one && !all_answer) healthy = false;
  }
  if (!healthy) {
    healthy_since_us_ = 0;
  } else if (healthy_since_us_ == 0) {
    healthy_since_us_ = world_.now_us();
  }
}

void Cluster::note_readable() {
  for (const int64_t limit : {int64_t{0}, kReplicaLagBytesMax}) {
    const bool readable =
        !upstream_->held() && std::any_of(members_.begin(), members_.end(), [&](const ClusterMember& member) {
          return member.serves() && member.in_recovery && !member.full && replicas_.is_told(member.name, limit);
        });
    int64_t& since_us = readable_since_us_[limit];
    if (!readable) since_us = 0;
    if (readable && since_us == 0) since_us = world_.now_us();
  }
}

/// Whether who reads there must have had a server within kServedWithinUs: a replica, or the primary in its place.
bool Cluster::must_read(const pool::DatabaseSettings& database) const {
  if (was_silent_ || world_.scenario().cluster->source != UpstreamSource::patroni) return false;
  const int64_t since_us = readable_since_us_.at(database.replica_lag_bytes_max);
  const bool readable = since_us != 0 && world_.now_us() - since_us >= kServedWithinUs;
  const bool falls_back = database.target_session_attrs == pool::TargetSessionAttrs::prefer_standby;
  return readable || (falls_back && healthy_us() >= kServedWithinUs);
}

int64_t Cluster::healthy_us() const {
  return healthy_since_us_ == 0 ? 0 : world_.now_us() - healthy_since_us_;
}

bool Cluster::has_to_serve(const SimulatedClient& client) const {
  return client.wants_primary() && healthy_us() >= kServedWithinUs;
}

/// Whose login is of no use tries again after a while, and not at once.
void Cluster::greeted(const ClusterMember& member, const std::string& database, const std::string& user) {
  if (!member.read_only || member.in_recovery) return;
  std::deque<int64_t>& logins = useless_logins_[fmt::format("{}/{}@{}", database, user, member.name)];
  logins.push_back(world_.now_us());
  while (logins.front() <= world_.now_us() - pool::Upstream::kTryAgainUs) logins.pop_front();
  if (logins.size() <= kLoginsMax) return;
  world_.fail(fmt::format("{} logs in to {} again and again, where sessions are read-only", user, member.name));
}

// ---- The ledger ----------------------------------------------------------------------------------------------------

void Cluster::executed(const std::string& id, const ClusterMember& member, bool for_primary) {
  if (!for_primary) return;
  if (member.in_recovery) world_.fail(fmt::format("{} wants a primary, and {} is a standby", id, member.name));
  executions_[id] = {member.timeline, world_.now_us()};
}

void Cluster::acknowledged(const std::string& id) {
  const auto executed = executions_.find(id);
  if (executed == executions_.end()) return;
  const auto later = confirmed_at_us_.upper_bound(executed->second.timeline);
  for (auto at = later; at != confirmed_at_us_.end(); ++at) {
    if (executed->second.at_us <= at->second + kHeardWithinUs) continue;
    world_.fail(fmt::format("{} was acknowledged, and executed on timeline {} {} us after {} was confirmed", id,
                            executed->second.timeline, executed->second.at_us - at->second, at->first));
  }
}

// ---- The upstream --------------------------------------------------------------------------------------------------

void Cluster::check() {
  const pool::UpstreamRow row = upstream_->row();
  check_counts(row);
  check_primary(row);
  check_waiting();
  switchover_.check();
}

void Cluster::timelines_forgotten() {
  row_timeline_ = confirmed_timeline_ = 0;
  confirmed_at_us_.clear();
}

/// Who reads gets a replica that is not too far behind by the source's word; where it falls back, or the primary.
void Cluster::check_link(pool::Pool& pool, const pool::Server& server) {
  using pool::TargetSessionAttrs;
  const pool::DatabaseSettings& database = pool.database();
  if (pool::wants_primary(database.target_session_attrs) || server.upstream() != upstream_) return;
  if (world_.scenario().cluster->source != UpstreamSource::patroni) return;
  const std::string& name = server.host().host;
  const bool others_known = !confirmed_.empty() && world_.now_us() > confirmed_since_us_ + kHeardWithinUs;
  if (database.target_session_attrs == TargetSessionAttrs::prefer_standby && (!others_known || name == confirmed_)) {
    return;
  }
  if (others_known && name == confirmed_) {
    world_.fail(fmt::format("{} wants a standby and gets {}, the primary", pool.database_name(), name));
  }
  if (!replicas_.may_be_read(name, database.replica_lag_bytes_max)) {
    world_.fail(fmt::format("{} reads from {}, which is no replica or too far behind", pool.database_name(), name));
  }
}

/// What the upstream counts is what the pools have.
void Cluster::check_counts(const pool::UpstreamRow& row) {
  std::map<std::string, int> servers, logins, for_primary;
  for (const auto& worker : world_.workers()) {
    worker->each_pool([&](pool::Pool& pool) {
      for (pool::Server* server = pool.first_server(); server != nullptr;
           server = pool::Pool::ServerList::next(*server)) {
        if (server->upstream() != upstream_) continue;
        servers[server->host().host]++;
        if (server->state() != pool::ServerState::login) continue;
        logins[server->host().host]++;
        if (pool::wants_primary(pool.database().target_session_attrs)) for_primary[server->host().host]++;
      }
    });
  }
  const bool is_confirmed =
      std::any_of(row.members.begin(), row.members.end(), [](const auto& member) { return member.is_primary; });
  for (const pool::MemberRow& member : row.members) {
    const std::string& name = member.member.address.host;
    if (member.servers != servers[name] || member.tries != logins[name]) {
      world_.fail(fmt::format("{} has {} servers and {} tries by its upstream, {} and {} by the pools", name,
                              member.servers, member.tries, servers[name], logins[name]));
    }
    const bool grown = for_primary[name] > tries_for_primary_[name];
    if (!is_confirmed && !was_confirmed_ && grown && for_primary[name] > pool::Upstream::kTriesMax) {
      world_.fail(fmt::format("{} is tried {} times at once", name, for_primary[name]));
    }
    servers.erase(name);
  }
  for (const auto& [name, count] : servers) {
    if (count > 0) world_.fail(fmt::format("the upstream has forgotten {} servers of {}", count, name));
  }
  tries_for_primary_ = for_primary;
  was_confirmed_ = is_confirmed;
}

void Cluster::check_primary(const pool::UpstreamRow& row) {
  if (row.timeline.value_or(0) < row_timeline_) world_.fail("the upstream's timeline has gone back");
  row_timeline_ = row.timeline.value_or(0);
  const auto primary =
      std::find_if(row.members.begin(), row.members.end(), [](const auto& member) { return member.is_primary; });
  const std::string name = primary == row.members.end() ? "" : primary->member.address.host;
  if (name == confirmed_) return;
  confirmed_ = name;
  confirmed_since_us_ = world_.now_us();
  if (name.empty()) return;
  const uint32_t said = member(primary->member.address)->said_timeline;
  if (world_.verbose()) world_.note(fmt::format("cluster: {} is confirmed, on timeline {}", name, said));
  if (said == 0) return world_.fail(fmt::format("{} is confirmed, and has not said that it is a primary", name));
  if (said < confirmed_timeline_) {
    world_.fail(fmt::format("{} is confirmed on timeline {} after one on {}", name, said, confirmed_timeline_));
  }
  confirmed_timeline_ = said;
  confirmed_at_us_.emplace(said, world_.now_us());
}

void Cluster::check_waiting() {
  const Scenario& scenario = world_.scenario();
  const bool others_disturb = scenario.operations || scenario.refused_dials > 0 || scenario.failing_logins > 0;
  if (others_disturb) return;
  for (const auto& worker : world_.workers()) {
    worker->each_pool([&](pool::Pool& pool) {
      const pool::Client* first = pool.waiting().front();
      if (first == nullptr) return;
      const bool must = pool::wants_primary(pool.database().target_session_attrs) ? healthy_us() >= kServedWithinUs
                                                                                  : must_read(pool.database());
      if (!must) return;
      if (world_.now_us() - first->wait_since_us() < kServedWithinUs) return;
      world_.fail(fmt::format("client {} waits for a server for {} ms, and the cluster is healthy", first->id(),
                              (world_.now_us() - first->wait_since_us()) / 1000));
    });
  }
}

}  // namespace bezel::simulation
