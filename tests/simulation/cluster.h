#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "pool/pool.h"
#include "pool/upstream.h"
#include "tests/simulation/replicas.h"
#include "tests/simulation/switchover.h"

namespace bezel::simulation {

class SimulatedClient;
class World;

/// One PostgreSQL server of a simulated cluster.
struct ClusterMember {
  std::string name;
  pool::HostAddress address;
  bool up = true;           ///< else dials are refused
  bool starting = false;    ///< logins are refused with 57P03
  bool cut = false;         ///< the network to it swallows everything
  bool frozen = false;      ///< its host answers, and none of its processes
  bool full = false;        ///< as a standby it refuses logins with 53300
  bool in_recovery = true;  ///< a standby
  bool read_only = false;   ///< its default_transaction_read_only is on
  uint64_t lag_bytes = 0;   ///< of a standby
  uint32_t timeline = 1;
  uint32_t said_timeline = 0;  ///< the highest on which it has said that it is the primary

  bool refuses_logins() const { return full && in_recovery; }
  bool serves() const { return up && !starting && !cut && !frozen; }
};

/// A cluster that changes its primary in every way that clusters do, the source that tells the pooler of it, early,
/// late or not at all, and what must hold of the Upstream in between.
class Cluster {
 public:
  explicit Cluster(World& world);

  void start();
  ClusterMember* member(const pool::HostAddress& address);
  /// For how long there has been a primary that serves and that the source, if it names any, has named; and where it
  /// names none, nothing else that seems to live and does not.
  int64_t healthy_us() const;

  /// Whether somebody who wants a primary must have had one within query_wait_timeout.
  bool has_to_serve(const SimulatedClient& client) const;

  /// Somebody has logged in to the member as that user and to that database, by the server's name of it.
  void greeted(const ClusterMember& member, const std::string& database, const std::string& user);
  /// A statement of a client has been executed; `for_primary`: its database wants one.
  void executed(const std::string& id, const ClusterMember& member, bool for_primary);
  /// And the client has been told so.
  void acknowledged(const std::string& id);
  /// After each turn of a worker.
  void check();
  /// A client has got that server in this turn.
  void check_link(pool::Pool& pool, const pool::Server& server);
  /// RECONNECT: a lower timeline may come again.
  void timelines_forgotten();
  /// Whether clients are held, or were a moment ago.
  bool holds() const { return switchover_.holds(); }
  size_t switchovers() const { return switchover_.finished(); }

  size_t promotions() const { return promotions_; }

 private:
  struct Execution {
    uint32_t timeline;
    int64_t at_us;
  };

  // What happens to the members.
  void plan_events();
  void happens();
  void lose_primary_somehow(size_t index);
  bool switch_over(size_t index);
  void others_follow(int64_t low_us, int64_t high_us);
  void fall_behind();
  void replicas_leave();
  void replicas_fill();
  void be_read_only();
  void control();
  void elect();
  void finish_promotion(size_t index);
  void demote(size_t index);
  void stop(size_t index, bool orderly);
  void start_again(size_t index, bool as_before);
  void come_back(size_t index, bool as_before, int64_t down_us, int64_t starting_us);
  void cut(size_t index, int64_t for_us);
  void heal(size_t index);
  void freeze(size_t index, int64_t for_us);
  void break_sessions(const ClusterMember& member, bool orderly);
  uint32_t highest_timeline() const;
  bool holder_serves() const;

  // The source.
  pool::Membership membership() const;
  void poll();
  void deliver(pool::Membership membership);

  void note_health();
  void note_readable();
  bool must_read(const pool::DatabaseSettings& database) const;
  void check_counts(const pool::UpstreamRow& row);
  void check_primary(const pool::UpstreamRow& row);
  void check_waiting();

  World& world_;
  pool::Upstream* upstream_ = nullptr;
  std::deque<ClusterMember> members_;
  std::optional<size_t> holder_ = 0;  // of the leader lock
  int64_t elect_at_us_ = 0;           // 0: nobody has noticed that there is no primary
  int64_t stale_until_us_ = 0;        // no superseded primary is demoted before
  int64_t silent_until_us_ = 0;       // the source
  std::deque<pool::Membership> told_;
  std::optional<pool::Membership> delivered_;
  int64_t healthy_since_us_ = 0;  // 0: it is not
  size_t promotions_ = 0;
  ConsoleSwitchover switchover_;
  Replicas replicas_;
  /// By limit: since when a replica serves that may be read from, and the source says so; 0: none does.
  std::map<int64_t, int64_t> readable_since_us_;
  bool was_silent_ = false;  // a member that does not answer may hold up who reads for long

  std::map<std::string, Execution> executions_;
  std::map<uint32_t, int64_t> confirmed_at_us_;  // by timeline
  std::string confirmed_;                        // the member that was when last looked at
  int64_t confirmed_since_us_ = 0;
  uint32_t confirmed_timeline_ = 0, row_timeline_ = 0;
  bool was_confirmed_ = false;
  std::map<std::string, int> tries_for_primary_;
  std::map<std::string, std::deque<int64_t>> useless_logins_;  // when, by who does so where
};

}  // namespace bezel::simulation
