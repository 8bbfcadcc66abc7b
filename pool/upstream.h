#pragma once

#include <atomic>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "pool/membership.h"
#include "pool/refusals.h"
#include "pool/settings.h"

namespace bezel::pool {

/// What a server has said about itself at login.
struct ServerRole {
  bool in_recovery = false;
  bool read_only = false;                 ///< default_transaction_read_only is on
  std::optional<uint32_t> timeline = {};  ///< of a primary; nothing: it could not be asked
};

/// Whether a server of that role is what a database asks for. A primary serves prefer_standby only while no standby is
/// to be had, which is not looked at here.
bool satisfies(const ServerRole& role, TargetSessionAttrs wanted);
/// Whether only a primary will do.
inline bool wants_primary(TargetSessionAttrs wanted) {
  return wanted == TargetSessionAttrs::primary || wanted == TargetSessionAttrs::read_write;
}

/// What a pool asks of an upstream.
struct Wanted {
  TargetSessionAttrs attrs = TargetSessionAttrs::any;
  int64_t lag_bytes_max = 0;  ///< replicas further behind are of no use; 0: no limit
  Refusals refusals = {};     ///< who does not let it in
};

/// Whether an error of that SQLSTATE ends a connection, or a login, because the server is lost or being stopped.
bool is_sign_of_change(std::string_view sqlstate);

/// One change of the primary, from its first sign to the first server that says that it is the new one.
struct Failover {
  uint64_t number = 0;
  int64_t began_wall_us = 0, began_us = 0;
  int64_t ended_us = 0;  ///< monotonic; 0: under way
  std::string reason;    ///< the first sign
  std::string from, to;  ///< members' names; empty: unknown
  std::optional<uint32_t> timeline = {};
  /// Clients that came to wait for a server during it, and what became of those that had one. See PoolStatistics.
  uint64_t held = 0, replayed = 0, failed_transactions = 0, in_doubt = 0;
};

/// A member and what has been found out about it, for SHOW UPSTREAM.
struct MemberRow {
  Member member;
  std::string said;         ///< by the server itself at its last login: "primary", "standby"; empty: nothing yet
  int servers = 0;          ///< connections to it, logins included
  int tries = 0;            ///< logins under way
  bool is_primary = false;  ///< clients who want a primary go there now
};

/// The state of an upstream, for people.
struct UpstreamRow {
  std::string databases;  ///< that lead to it, with commas between them
  UpstreamSource source = UpstreamSource::fixed;
  std::vector<MemberRow> members;
  std::string state;          ///< "unknown" (nobody has needed it yet), "serving", "changing" (looking for a
                              ///< primary), "holding" (a switchover under way)
  std::string why;            ///< of the last change
  int64_t since_wall_us = 0;  ///< of the state
  std::optional<uint32_t> timeline = {};
  bool paused = false;
  bool source_answers = false;
  std::string silence;  ///< why it does not
  std::optional<ScheduledSwitchover> scheduled = {};
  std::vector<Failover> failovers;       ///< the newest first
  int64_t without_primary_since_us = 0;  ///< monotonic; 0: there is one, or nobody has asked yet
  uint64_t failovers_total = 0;          ///< that have ended, and how long they took together
  int64_t failover_us_total = 0;
};

/// The names of the databases that lead to it, with commas between them.
std::string databases_of(const Settings& settings, const UpstreamSettings& upstream);

/// A cluster: who its members are by the source's word, which of them is the primary by its own, and where the next
/// connection goes. Every pool of every worker that leads to this cluster asks the same object.
///
/// Promises: a server is taken for the primary only if it says so itself, its timeline is not lower than any seen, and
/// the source, if it names a leader, names this one or an older one. While nobody is known to be the primary, every
/// member is tried at most kTriesMax times at once and every kTryAgainUs, by all pools together.
///
/// Thread-safe; the lock is held for moments, and only connections that are opened and closed come here.
class Upstream {
 public:
  /// `changed` is called, without the lock held and by any thread, when pools have to look again: at what they have
  /// (serves()), and at whether they can get what they lack (choose()).
  using Changed = std::function<void(const Upstream&)>;
  Upstream(UpstreamSettings settings, Changed changed);
  Upstream(const Upstream&) = delete;
  Upstream& operator=(const Upstream&) = delete;

  const UpstreamSettings& settings() const { return settings_; }

  // ---- For the source ----

  void on_membership(const Membership& membership, int64_t now_us, int64_t wall_us);
  void on_silence(std::string_view why);
  /// From time to time: a change that nobody waits for, and of which no more is heard, ends; and a replica that was out
  /// of reach is thought of again.
  void tick(int64_t now_us);
  /// Whether a change is under way, so that the source should be asked often.
  bool changing() const { return changing_.load(std::memory_order_relaxed); }

  // ---- For pools ----

  struct Choice {
    std::optional<HostAddress> address;  ///< REQUIRES: closed() in the end
    int64_t retry_at_us = 0;             ///< where there is none: when to ask again
  };
  /// Where the next connection goes.
  Choice choose(const Wanted& wanted, int64_t now_us);
  /// How many connections at once are of use to find the primary: 0 when it is known.
  size_t tries_wanted(TargetSessionAttrs wanted, int64_t now_us) const;
  /// Whether a login must ask for the timeline.
  bool doubts_timeline_of(const HostAddress& address) const;
  /// What the server said; returns an empty text if the connection may be used, else why not. What has become known
  /// since it was chosen counts: it is not used where serves() is false now.
  std::string logged_in(const HostAddress& address, const ServerRole& role, const Wanted& wanted, int64_t now_us,
                        int64_t wall_us);
  /// A login did not come to its end, with a sign of change.
  void login_failed(const HostAddress& address, std::string_view why, int64_t now_us, int64_t wall_us);
  /// Instead of tried() and closed(): it has not been dialled after all, and goes on to be the next.
  void not_dialled(const HostAddress& address);
  /// The login of a chosen address has ended, well or not.
  void tried(const HostAddress& address);
  void closed(const HostAddress& address);
  /// A sign that the server is lost, or is not the primary any more: an established connection of it ended unasked.
  void suspect(const HostAddress& address, std::string_view why, int64_t now_us, int64_t wall_us);
  /// Whether connections to it may go on to be used.
  bool serves(const HostAddress& address, const Wanted& wanted) const;
  /// Whether transactions under way there may take their time, though it does not serve: they read, the server is
  /// alive by the source's word, and nothing that they do there can be lost. Others are better for reading.
  bool may_finish_reading(const HostAddress& address, TargetSessionAttrs wanted) const;
  /// Whether another server is the primary by its own word: what is committed on this one now is lost.
  bool superseded(const HostAddress& address) const;
  /// What becomes of clients, for the change under way (or the last one, while its consequences are felt).
  enum class Outcome : uint8_t { held, replayed, failed_transaction, in_doubt };
  void count(Outcome outcome);

  // ---- For a switchover by the console ----

  /// While held, pools give no server to anybody; connections are opened all the same.
  void hold(std::string_view why, int64_t wall_us);
  void release();
  bool held() const { return held_.load(std::memory_order_relaxed); }
  /// The leader's name by the source's word; empty: there is none.
  std::string leader_name() const;
  /// What the source has announced.
  std::optional<ScheduledSwitchover> scheduled() const;

  // ---- For people ----

  UpstreamRow row() const;
  /// The number of the last one that began; 0: there was none.
  uint64_t last_failover() const { return last_failover_.load(std::memory_order_relaxed); }
  /// Forgets which timelines there have been: after a restore to an earlier point, RECONNECT must lead to the servers.
  void forget_timeline();

  static constexpr int64_t kTryAgainUs = 100'000;
  static constexpr int kTriesMax = 2;
  /// How long after its last sign a change is still looked into where nobody waits for its end.
  static constexpr int64_t kQuietUs = 5'000'000;
  /// How long readers that have fallen back to the primary stay there because a replica was out of reach, if the source
  /// goes on to call it a running one.
  static constexpr int64_t kOutOfReachUs = 5'000'000;
  static constexpr size_t kFailoversMax = 100;
  static constexpr size_t kMembersMax = 64;

 private:
  struct State {
    Member member;
    std::optional<ServerRole> said = {};
    int servers = 0;
    int tries = 0;
    int64_t try_again_at_us = 0;
    int64_t turn_us = 0;    // what that was when it was chosen last
    int64_t failed_us = 0;  // when it could not be reached, or was no standby; 0: since then there has been news of it
    bool listed = true;     // false: gone from the source's list, and kept for its connections only
  };

  State* find(const HostAddress& address);
  const State* find(const HostAddress& address) const;
  std::string name_of(const std::optional<HostAddress>& address) const;
  bool accepts_primary(const HostAddress& address, const ServerRole& role) const;
  bool may_read_from(const State& state, int64_t lag_bytes_max) const;
  bool is_better_to_read_from(const State& state, const Wanted& wanted) const;
  bool better_is_to_be_had(const Wanted& wanted) const;
  bool is_of_use(const State& state, const Wanted& wanted) const;
  std::string_view fault_of(const State& state, const Wanted& wanted) const;
  void begin_change(std::string_view why, int64_t now_us, int64_t wall_us);
  void confirm(State& state, const ServerRole& role, int64_t now_us, int64_t wall_us);
  void end_change(int64_t now_us, const State* primary);
  static bool may_try(const State& state, int64_t now_us) {
    return state.tries < kTriesMax && state.try_again_at_us <= now_us;
  }
  State* choose_primary(const Wanted& wanted, int64_t now_us);
  State* choose_replica(const Wanted& wanted, int64_t now_us);
  State* choose_any(const Wanted& wanted, int64_t now_us);
  int64_t next_try_us(int64_t now_us) const;
  bool note_leader(const Membership& membership, int64_t now_us, int64_t wall_us);
  void take_members(const Membership& membership);

  const UpstreamSettings settings_;
  const Changed changed_;

  mutable std::mutex mutex_;
  std::vector<State> members_;
  std::optional<HostAddress> leader_;   // by the source's word
  std::optional<HostAddress> primary_;  // by its own word
  bool confirmed_ = false;              // since the last sign against it
  bool leader_is_former_ = false;       // the source has not heard of the promotion of that primary yet
  uint32_t timeline_ = 0;               // the highest seen; 0: none yet
  Membership membership_;
  bool source_answers_ = false;
  std::string why_, silence_;
  int64_t state_since_wall_us_ = 0;
  int64_t last_sign_us_ = 0;
  int64_t without_primary_since_us_ = 0;
  std::deque<Failover> failovers_;  // the newest in front
  uint64_t failovers_total_ = 0;
  int64_t failover_us_total_ = 0;
  std::string held_why_;
  int64_t held_since_wall_us_ = 0;

  std::atomic<bool> changing_{false};
  std::atomic<bool> held_{false};
  std::atomic<uint64_t> last_failover_{0};
};

/// All upstreams of the process, one for each definition. Any thread.
class UpstreamTable {
 public:
  /// What `changed` of an upstream does; set once before workers start.
  void set_notifier(Upstream::Changed notify) { notify_ = std::move(notify); }
  /// The upstream of that definition, made if need be.
  std::shared_ptr<Upstream> of(const UpstreamSettings& settings);
  /// Forgets those that `keep` is false for; who uses one goes on to have it.
  void forget_unless(const std::function<bool(const UpstreamSettings&)>& keep);
  std::vector<std::shared_ptr<Upstream>> all() const;

 private:
  mutable std::mutex mutex_;
  std::vector<std::shared_ptr<Upstream>> upstreams_;
  Upstream::Changed notify_;
};

}  // namespace bezel::pool
