#include "pool/upstream.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "protocol/sqlstate.h"

namespace bezel::pool {

namespace {

/// Changes that end where they began and that nobody felt are no failovers: an administrator ended one session, say.
constexpr int64_t kNoticeableUs = 1'000'000;

/// Patroni's word for a leader whose PostgreSQL serves.
bool is_serving(const std::string& state) {
  return state.empty() || state == "running" || state == "streaming";
}

const Member* leader_of(const Membership& membership) {
  const Member* leader = nullptr;
  for (const Member& member : membership.members) {
    if (member.role != MemberRole::primary) continue;
    if (leader == nullptr || member.timeline.value_or(0) > leader->timeline.value_or(0)) leader = &member;
  }
  return leader;
}

/// Figures apart, which are different all the time.
bool tells_of_a_change(const Member& before, const Member& now) {
  return before.role != now.role || before.state != now.state || before.timeline != now.timeline ||
         before.takes_reads != now.takes_reads;
}

}  // namespace

bool is_sign_of_change(std::string_view sqlstate) {
  return sqlstate.substr(0, 2) == "08" || sqlstate == protocol::sqlstate::kAdminShutdown ||
         sqlstate == protocol::sqlstate::kCrashShutdown || sqlstate == protocol::sqlstate::kCannotConnectNow ||
         sqlstate == protocol::sqlstate::kReadOnlySqlTransaction;
}

bool satisfies(const ServerRole& role, TargetSessionAttrs wanted) {
  switch (wanted) {
    case TargetSessionAttrs::any:
    case TargetSessionAttrs::prefer_standby:
      return true;
    case TargetSessionAttrs::read_write:
      return !role.in_recovery && !role.read_only;
    case TargetSessionAttrs::read_only:
      return role.in_recovery || role.read_only;
    case TargetSessionAttrs::primary:
      return !role.in_recovery;
    case TargetSessionAttrs::standby:
      return role.in_recovery;
  }
  return false;
}

std::string databases_of(const Settings& settings, const UpstreamSettings& upstream) {
  std::string list;
  for (const auto& [name, database] : settings.databases) {
    if (database.upstream == upstream) list += (list.empty() ? "" : ",") + name;
  }
  return list;
}

Upstream::Upstream(UpstreamSettings settings, Changed changed)
    : settings_(std::move(settings)), changed_(std::move(changed)) {}

// ---- Members
// ------------------------------------------------------------------------------------------------------------

Upstream::State* Upstream::find(const HostAddress& address) {
  const auto at = std::find_if(members_.begin(), members_.end(),
                               [&](const State& state) { return state.member.address == address; });
  return at == members_.end() ? nullptr : &*at;
}

const Upstream::State* Upstream::find(const HostAddress& address) const {
  return const_cast<Upstream*>(this)->find(address);
}

std::string Upstream::name_of(const std::optional<HostAddress>& address) const {
  if (!address) return "";
  const State* state = find(*address);
  return state != nullptr ? state->member.name : fmt::format("{}:{}", address->host, address->port);
}

void Upstream::take_members(const Membership& membership) {
  membership_ = membership;
  // Patroni says so for a moment when its store has come back. Nobody is the leader then, but nobody has left either.
  if (membership.members.empty()) return;
  for (State& state : members_) state.listed = false;
  size_t taken = 0;
  for (const Member& member : membership.members) {
    if (taken++ == kMembersMax) break;
    State* state = find(member.address);
    if (state == nullptr) state = &members_.emplace_back();
    if (tells_of_a_change(state->member, member)) state->failed_us = 0;
    state->member = member;
    state->listed = true;
  }
  std::erase_if(members_, [](const State& state) { return !state.listed && state.servers == 0; });
}

// ---- The source
// ---------------------------------------------------------------------------------------------------------

/// What the source says of the leader lock, and what follows from it.
bool Upstream::note_leader(const Membership& membership, int64_t now_us, int64_t wall_us) {
  const Member* leader = leader_of(membership);
  const std::optional<HostAddress> before = leader_;
  if (leader == nullptr) {
    leader_.reset();
    leader_is_former_ = false;
    if (before) begin_change("no member holds the leader lock", now_us, wall_us);
    return before.has_value();
  }
  // An answer that was given before the last promotion.
  if (confirmed_ && leader->address != *primary_ && leader->timeline && *leader->timeline < timeline_) return false;
  // The former leader has got the lock back, and knows of the timeline in between.
  const bool is_former_again = leader_is_former_ && leader->timeline && *leader->timeline >= timeline_;
  timeline_ = std::max(timeline_, leader->timeline.value_or(0));
  const State* known = find(leader->address);
  const bool served = known == nullptr || is_serving(known->member.state);
  leader_ = leader->address;
  if (before != leader_ || is_former_again) leader_is_former_ = false;
  if (primary_ && *primary_ != *leader_) {
    if (before != leader_ || is_former_again) {
      begin_change(fmt::format("{} holds the leader lock", leader->name), now_us, wall_us);
    }
  } else if (served && !is_serving(leader->state)) {
    begin_change(fmt::format("{} is {}", leader->name, leader->state), now_us, wall_us);
  }
  return before != leader_;
}

void Upstream::on_membership(const Membership& membership, int64_t now_us, int64_t wall_us) {
  bool look_again = false;
  {
    const std::lock_guard lock(mutex_);
    source_answers_ = true;
    look_again = note_leader(membership, now_us, wall_us) || membership != membership_;
    if (look_again) take_members(membership);
    // Without a leader's name in it, a list is all that the source has to say.
    const State* primary = primary_ ? find(*primary_) : nullptr;
    if (!leader_ && confirmed_ && (primary == nullptr || !primary->listed)) {
      begin_change(fmt::format("{} is not on the list any more", name_of(primary_)), now_us, wall_us);
    }
  }
  if (look_again) changed_(*this);
}

void Upstream::on_silence(std::string_view why) {
  const std::lock_guard lock(mutex_);
  source_answers_ = false;
  silence_ = why;
}

void Upstream::tick(int64_t now_us) {
  bool look_again = false;
  {
    const std::lock_guard lock(mutex_);
    for (State& state : members_) {
      if (state.failed_us == 0 || now_us - state.failed_us < kOutOfReachUs) continue;
      state.failed_us = 0;
      look_again = look_again || is_better_to_read_from(state, {});
    }
    if (changing() && now_us - last_sign_us_ >= kQuietUs) {
      without_primary_since_us_ = 0;
      end_change(now_us, nullptr);
    }
  }
  if (look_again) changed_(*this);
}

// ---- Changes
// ------------------------------------------------------------------------------------------------------------

void Upstream::begin_change(std::string_view why, int64_t now_us, int64_t wall_us) {
  last_sign_us_ = now_us;
  confirmed_ = false;
  if (without_primary_since_us_ == 0) without_primary_since_us_ = now_us;
  if (changing_.exchange(true)) return;
  why_ = why;
  state_since_wall_us_ = wall_us;
  if (!primary_) return;  // the search at start
  Failover failover;
  failover.number = ++last_failover_;
  failover.began_wall_us = wall_us;
  failover.began_us = now_us;
  failover.reason = why;
  failover.from = name_of(primary_);
  failovers_.push_front(std::move(failover));
  if (failovers_.size() > kFailoversMax) failovers_.pop_back();
}

void Upstream::confirm(State& state, const ServerRole& role, int64_t now_us, int64_t wall_us) {
  primary_ = state.member.address;
  timeline_ = std::max(timeline_, role.timeline.value_or(0));
  confirmed_ = true;
  leader_is_former_ = leader_ && *leader_ != *primary_;
  without_primary_since_us_ = 0;
  state_since_wall_us_ = wall_us;
  end_change(now_us, &state);
}

/// `primary`: which has said that it is; nullptr: nobody cares any more.
void Upstream::end_change(int64_t now_us, const State* primary) {
  changing_.store(false, std::memory_order_relaxed);
  if (failovers_.empty() || failovers_.front().ended_us != 0) return;
  Failover& failover = failovers_.front();
  const std::string to = primary != nullptr ? primary->member.name : "";
  const bool felt = failover.held + failover.replayed + failover.failed_transactions + failover.in_doubt > 0 ||
                    now_us - failover.began_us >= kNoticeableUs;
  if (primary == nullptr || (to == failover.from && !felt)) {
    failovers_.pop_front();
    return;
  }
  failover.ended_us = now_us;
  failovers_total_++;
  failover_us_total_ += now_us - failover.began_us;
  failover.to = to;
  if (timeline_ > 0) failover.timeline = timeline_;
}

// ---- Choices
// ------------------------------------------------------------------------------------------------------------

/// While it is not known who the primary is: the likeliest first, and each in its turn.
Upstream::State* Upstream::choose_primary(const Wanted& wanted, int64_t now_us) {
  if (confirmed_) return wanted.refusals.bars(*primary_, now_us) ? nullptr : find(*primary_);
  const auto may_be_asked = [&](const State& state) {
    return state.listed && may_try(state, now_us) && !wanted.refusals.bars(state.member.address, now_us);
  };
  for (const std::optional<HostAddress>& likely : {leader_, primary_}) {
    State* state = likely ? find(*likely) : nullptr;
    if (state != nullptr && may_be_asked(*state)) return state;
  }
  State* chosen = nullptr;
  for (State& state : members_) {
    if (!may_be_asked(state)) continue;
    if (chosen == nullptr || state.try_again_at_us < chosen->try_again_at_us) chosen = &state;
  }
  return chosen;
}

bool Upstream::may_read_from(const State& state, int64_t lag_bytes_max) const {
  const Member& member = state.member;
  if (!state.listed || !member.takes_reads || member.role == MemberRole::primary) return false;
  if (confirmed_ && member.address == *primary_) return false;
  // Where the source tells no roles, it tells no lag either.
  if (member.role == MemberRole::unknown) return !state.said || state.said->in_recovery;
  return lag_bytes_max == 0 || (member.lag_bytes && *member.lag_bytes <= static_cast<uint64_t>(lag_bytes_max));
}

/// Whether readers who have fallen back to the primary should leave it for this one.
bool Upstream::is_better_to_read_from(const State& state, const Wanted& wanted) const {
  if (state.failed_us != 0 || wanted.refusals.has(state.member.address)) return false;
  if (!may_read_from(state, wanted.lag_bytes_max)) return false;
  if (state.said && state.said->in_recovery) return true;
  // One that has not spoken yet may be better by the source's word, but not while it hangs.
  return state.member.role != MemberRole::unknown && state.tries == 0;
}

bool Upstream::better_is_to_be_had(const Wanted& wanted) const {
  return std::any_of(members_.begin(), members_.end(),
                     [&](const State& state) { return is_better_to_read_from(state, wanted); });
}

Upstream::State* Upstream::choose_replica(const Wanted& wanted, int64_t now_us) {
  State* chosen = nullptr;
  for (State& state : members_) {
    if (!may_read_from(state, wanted.lag_bytes_max) || wanted.refusals.bars(state.member.address, now_us)) continue;
    const bool known_good = state.said && state.said->in_recovery;
    if (!known_good && !may_try(state, now_us)) continue;
    if (chosen == nullptr || state.servers < chosen->servers) chosen = &state;
  }
  return chosen;
}

Upstream::State* Upstream::choose_any(const Wanted& wanted, int64_t now_us) {
  State* chosen = nullptr;
  for (State& state : members_) {
    if (wanted.refusals.bars(state.member.address, now_us)) continue;
    const bool known_good =
        state.said && (state.said->in_recovery || (confirmed_ && state.member.address == *primary_));
    if (!state.listed || (!known_good && !may_try(state, now_us))) continue;
    if (chosen == nullptr || state.servers < chosen->servers) chosen = &state;
  }
  return chosen;
}

int64_t Upstream::next_try_us(int64_t now_us) const {
  int64_t next = now_us + kTryAgainUs;
  for (const State& state : members_) {
    if (state.listed && state.tries < kTriesMax && state.try_again_at_us > now_us) {
      next = std::min(next, state.try_again_at_us);
    }
  }
  return next;
}

Upstream::Choice Upstream::choose(const Wanted& wanted, int64_t now_us) {
  const std::lock_guard lock(mutex_);
  State* state = nullptr;
  switch (wanted.attrs) {
    case TargetSessionAttrs::primary:
    case TargetSessionAttrs::read_write:
      state = choose_primary(wanted, now_us);
      break;
    case TargetSessionAttrs::standby:
      state = choose_replica(wanted, now_us);
      break;
    case TargetSessionAttrs::prefer_standby:
      state = choose_replica(wanted, now_us);
      // One that may be tried again in a moment: the primary would not be used.
      if (state == nullptr && !better_is_to_be_had(wanted)) state = choose_primary(wanted, now_us);
      break;
    case TargetSessionAttrs::read_only:
      state = choose_replica(wanted, now_us);
      if (state == nullptr) state = choose_primary(wanted, now_us);
      break;
    case TargetSessionAttrs::any:
      state = choose_any(wanted, now_us);
      break;
  }
  if (!confirmed_ && wants_primary(wanted.attrs)) {
    last_sign_us_ = now_us;  // somebody needs to know
    changing_.store(true, std::memory_order_relaxed);
    if (without_primary_since_us_ == 0) without_primary_since_us_ = now_us;
  }
  if (state == nullptr) return {std::nullopt, next_try_us(now_us)};
  state->servers++;
  state->tries++;
  state->turn_us = state->try_again_at_us;
  state->try_again_at_us = now_us + kTryAgainUs;
  return {state->member.address, 0};
}

size_t Upstream::tries_wanted(TargetSessionAttrs wanted, int64_t now_us) const {
  if (!wants_primary(wanted)) return 0;
  const std::lock_guard lock(mutex_);
  if (confirmed_) return 0;
  return static_cast<size_t>(std::count_if(members_.begin(), members_.end(), [now_us](const State& state) {
    return state.listed && may_try(state, now_us);
  }));
}

bool Upstream::doubts_timeline_of(const HostAddress& address) const {
  const std::lock_guard lock(mutex_);
  return !confirmed_ || address != *primary_;
}

// ---- What servers say
// ---------------------------------------------------------------------------------------------------

/// REQUIRES: it says that it is a primary.
bool Upstream::accepts_primary(const HostAddress& address, const ServerRole& role) const {
  if (role.timeline && *role.timeline < timeline_) return false;
  // One that was promoted after all that has been heard of.
  const bool is_newer = role.timeline && timeline_ > 0 && *role.timeline > timeline_;
  const bool was_newer = leader_is_former_ && address == *primary_ && (confirmed_ || role.timeline);
  if (leader_ && address != *leader_) return is_newer || was_newer;
  if (confirmed_ && address != *primary_) return is_newer;
  return true;
}

/// Why a connection to the member, that has just said what it is, is not used; empty: it may be.
std::string_view Upstream::fault_of(const State& state, const Wanted& wanted) const {
  const ServerRole& role = *state.said;
  if (!satisfies(role, wanted.attrs)) {
    return role.in_recovery                                 ? "the server is a standby"
           : wanted.attrs == TargetSessionAttrs::read_write ? "sessions on the server are read-only by default"
                                                            : "the server is a primary";
  }
  return is_of_use(state, wanted) ? "" : "the upstream has come to lead elsewhere during the login";
}

std::string Upstream::logged_in(const HostAddress& address, const ServerRole& role, const Wanted& wanted,
                                int64_t now_us, int64_t wall_us) {
  std::string refusal;
  bool look_again = false;
  {
    const std::lock_guard lock(mutex_);
    State* state = find(address);
    if (state == nullptr) return "the server is not a member of the cluster any more";
    const bool was_better = is_better_to_read_from(*state, {});
    state->said = role;
    // An old primary may be a replica by the source's word, and is of no use to readers either.
    state->failed_us = role.in_recovery ? 0 : now_us;
    look_again = !was_better && is_better_to_read_from(*state, {});
    const bool is_confirmed = confirmed_ && address == *primary_;
    if (role.in_recovery) {
      if (is_confirmed) {
        begin_change(fmt::format("{} has become a standby", state->member.name), now_us, wall_us);
        look_again = true;
      }
    } else if (!accepts_primary(address, role)) {
      if (wanted.attrs != TargetSessionAttrs::any)
        refusal = "the server takes itself for the primary, but another one is";
      if (role.timeline && *role.timeline < timeline_) {
        refusal =
            fmt::format("the server is on timeline {}, and the cluster has gone on to {}", *role.timeline, timeline_);
      }
    } else if (!is_confirmed) {
      confirm(*state, role, now_us, wall_us);
      look_again = true;
    }
    if (refusal.empty()) refusal = fault_of(*state, wanted);
  }
  if (look_again) changed_(*this);
  return refusal;
}

void Upstream::login_failed(const HostAddress& address, std::string_view why, int64_t now_us, int64_t wall_us) {
  bool look_again = false;
  {
    const std::lock_guard lock(mutex_);
    State* state = find(address);
    if (state == nullptr) return;
    state->said.reset();
    state->failed_us = now_us;
    state->try_again_at_us = now_us + kTryAgainUs;
    if (confirmed_ && address == *primary_) {
      begin_change(fmt::format("{}: {}", state->member.name, why), now_us, wall_us);
      look_again = true;
    }
  }
  if (look_again) changed_(*this);
}

void Upstream::not_dialled(const HostAddress& address) {
  const std::lock_guard lock(mutex_);
  State* state = find(address);
  if (state == nullptr) return;
  state->tries--;
  state->servers--;
  // Or where slots are short, the same members would be passed over again and again.
  state->try_again_at_us = state->turn_us;
}

void Upstream::tried(const HostAddress& address) {
  const std::lock_guard lock(mutex_);
  if (State* state = find(address)) state->tries--;
}

void Upstream::closed(const HostAddress& address) {
  const std::lock_guard lock(mutex_);
  if (State* state = find(address)) state->servers--;
}

void Upstream::suspect(const HostAddress& address, std::string_view why, int64_t now_us, int64_t wall_us) {
  bool look_again = false;
  {
    const std::lock_guard lock(mutex_);
    if (State* state = find(address)) {
      state->said.reset();
      state->failed_us = now_us;
      // Whoever has noticed first asks first; it may well be back.
      state->try_again_at_us = std::min(state->try_again_at_us, now_us);
    }
    if (confirmed_ && address == *primary_) {
      begin_change(fmt::format("{}: {}", name_of(address), why), now_us, wall_us);
      look_again = true;
    } else if (changing()) {
      last_sign_us_ = now_us;
    }
  }
  if (look_again) changed_(*this);
}

/// serves(), of one that is known, under the lock.
bool Upstream::is_of_use(const State& state, const Wanted& wanted) const {
  const HostAddress& address = state.member.address;
  const bool is_primary = confirmed_ ? address == *primary_ : leader_ ? address == *leader_ : state.listed;
  switch (wanted.attrs) {
    case TargetSessionAttrs::primary:
    case TargetSessionAttrs::read_write:
      return is_primary;
    case TargetSessionAttrs::standby:
      return may_read_from(state, wanted.lag_bytes_max);
    case TargetSessionAttrs::prefer_standby:
      return may_read_from(state, wanted.lag_bytes_max) || (is_primary && !better_is_to_be_had(wanted));
    case TargetSessionAttrs::read_only:
      return is_primary || may_read_from(state, wanted.lag_bytes_max);
    case TargetSessionAttrs::any:
      return state.listed;
  }
  return false;
}

bool Upstream::serves(const HostAddress& address, const Wanted& wanted) const {
  const std::lock_guard lock(mutex_);
  const State* state = find(address);
  return state != nullptr && is_of_use(*state, wanted);
}

bool Upstream::may_finish_reading(const HostAddress& address, TargetSessionAttrs wanted) const {
  if (wants_primary(wanted)) return false;
  const std::lock_guard lock(mutex_);
  const State* state = find(address);
  if (state == nullptr || !state->listed || !is_serving(state->member.state)) return false;
  // Who may read anywhere may also have written, and what an old primary commits is lost.
  const bool was_primary = state->said && !state->said->in_recovery;
  return !was_primary || !confirmed_ || address == *primary_;
}

bool Upstream::superseded(const HostAddress& address) const {
  const std::lock_guard lock(mutex_);
  return confirmed_ && address != *primary_;
}

void Upstream::count(Outcome outcome) {
  const std::lock_guard lock(mutex_);
  if (failovers_.empty()) return;
  Failover& failover = failovers_.front();
  switch (outcome) {
    case Outcome::held:
      if (failover.ended_us == 0) failover.held++;
      return;
    case Outcome::replayed:
      failover.replayed++;
      return;
    case Outcome::failed_transaction:
      failover.failed_transactions++;
      return;
    case Outcome::in_doubt:
      failover.in_doubt++;
      return;
  }
}

// ---- Switchovers
// --------------------------------------------------------------------------------------------------------

void Upstream::hold(std::string_view why, int64_t wall_us) {
  const std::lock_guard lock(mutex_);
  held_why_ = why;
  held_since_wall_us_ = wall_us;
  held_.store(true, std::memory_order_relaxed);
}

void Upstream::release() {
  if (held_.exchange(false)) changed_(*this);
}

std::optional<ScheduledSwitchover> Upstream::scheduled() const {
  const std::lock_guard lock(mutex_);
  return membership_.scheduled;
}

std::string Upstream::leader_name() const {
  const std::lock_guard lock(mutex_);
  return name_of(leader_);
}

// ---- For people
// ---------------------------------------------------------------------------------------------------------

UpstreamRow Upstream::row() const {
  const std::lock_guard lock(mutex_);
  UpstreamRow row;
  for (const State& state : members_) {
    MemberRow member;
    member.member = state.member;
    if (state.said) member.said = state.said->in_recovery ? "standby" : "primary";
    member.servers = state.servers;
    member.tries = state.tries;
    member.is_primary = confirmed_ && state.member.address == *primary_;
    row.members.push_back(std::move(member));
  }
  const bool is_held = held();
  row.state = is_held                                       ? "holding"
              : confirmed_                                  ? "serving"
              : changing() || without_primary_since_us_ > 0 ? "changing"
                                                            : "unknown";
  row.why = is_held ? held_why_ : why_;
  row.since_wall_us = is_held ? held_since_wall_us_ : state_since_wall_us_;
  if (timeline_ > 0) row.timeline = timeline_;
  row.paused = membership_.paused;
  row.source_answers = source_answers_;
  row.silence = source_answers_ ? "" : silence_;
  row.scheduled = membership_.scheduled;
  row.source = settings_.source;
  row.failovers.assign(failovers_.begin(), failovers_.end());
  row.without_primary_since_us = without_primary_since_us_;
  row.failovers_total = failovers_total_;
  row.failover_us_total = failover_us_total_;
  return row;
}

void Upstream::forget_timeline() {
  const std::lock_guard lock(mutex_);
  timeline_ = 0;
}

// ---- All of them
// --------------------------------------------------------------------------------------------------------

std::shared_ptr<Upstream> UpstreamTable::of(const UpstreamSettings& settings) {
  const std::lock_guard lock(mutex_);
  for (const auto& upstream : upstreams_) {
    if (upstream->settings() == settings) return upstream;
  }
  return upstreams_.emplace_back(std::make_shared<Upstream>(settings, [this](const Upstream& upstream) {
    if (notify_) notify_(upstream);
  }));
}

void UpstreamTable::forget_unless(const std::function<bool(const UpstreamSettings&)>& keep) {
  const std::lock_guard lock(mutex_);
  std::erase_if(upstreams_, [&](const auto& upstream) { return !keep(upstream->settings()); });
}

std::vector<std::shared_ptr<Upstream>> UpstreamTable::all() const {
  const std::lock_guard lock(mutex_);
  return upstreams_;
}

}  // namespace bezel::pool
