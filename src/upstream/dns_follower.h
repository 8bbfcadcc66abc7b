#pragma once

#include <uv.h>

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "src/dns/client.h"
#include "src/upstream/follower.h"

namespace bezel::upstream {

/// All addresses behind names, looked up again when their time to live is over, and every 500 ms while a change is
/// under way. A host with port 0 is a name of SRV records, which bring targets and ports. What was known of a name
/// holds until a lookup brings something else: an address that is out of date is found out by asking the server there
/// for its role, while no address at all would be an outage.
class DnsFollower final : public Follower {
 public:
  DnsFollower(uv_loop_t* loop, const pool::UpstreamSettings& settings, Observer& observer, LogFunction log);
  DnsFollower(const DnsFollower&) = delete;
  DnsFollower& operator=(const DnsFollower&) = delete;
  /// Also from inside a call of the observer.
  ~DnsFollower() override;

  void start() override;
  void set_changing(bool changing) override;
  void switch_over(const std::string& leader, const std::string& candidate,
                   std::function<void(std::string error)> done) override;

  static constexpr size_t kMembersMax = 64;
  static constexpr int64_t kChangingIntervalUs = 500'000;
  /// How long after its beginning a round of lookups is told of while some of them still run.
  static constexpr int64_t kRoundPatienceUs = 1'000'000;

 private:
  struct Name;

  int64_t now_us() const { return static_cast<int64_t>(uv_now(loop_)) * 1000; }
  int64_t due_us(const Name& name) const;
  void arm_timer();
  void tick();
  void look_up(Name& name);
  void take_services(Name& name, const dns::Answer& answer);
  void take_addresses(Name& name, const std::string& target, const dns::Answer& answer);
  void conclude(Name& name);
  /// What a lookup says of when to look again, and of errors.
  void note(Name& name, const std::string& asked, const dns::Answer& answer);
  void tell();
  pool::Membership membership();

  uv_loop_t* loop_;
  uv_timer_t* timer_;  // outlives this object until it is closed
  pool::UpstreamSettings settings_;
  Observer& observer_;
  LogFunction log_;
  std::vector<Name> names_;  // as the hosts of the settings; of fixed size
  bool started_ = false;
  bool changing_ = false;
  bool is_cut_ = false;  ///< there are more members than are taken
  // Of the round of lookups.
  size_t running_ = 0;
  int64_t tell_at_us_ = 0;
  bool answered_ = false;
  std::string errors_;
  std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);
  dns::Client client_;
};

}  // namespace bezel::upstream
