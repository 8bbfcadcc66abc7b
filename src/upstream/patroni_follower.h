#pragma once

#include <uv.h>

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "src/upstream/follower.h"
#include "src/upstream/http_client.h"
#include "src/upstream/patroni_answer.h"

namespace bezel::upstream {

/// Asks Patroni's REST interface, GET /cluster, which reads the leader lock itself: any member's answer is as good as
/// the leader's. But a member that is cut from etcd (version 3's protocol) answers from what it knew for some 15 s more
/// (measured; ttl 20, loop_wait 10, retry_timeout 5) before it falls silent: who dials must believe the servers.
///
/// In calm it asks one member every `poll_interval_us`, and the next ones only when that does not answer: Patroni has
/// five threads for its interface, and decides who becomes the leader through it. While a change is under way it asks
/// three at a time, every `change_poll_interval_us` after the end of the last round, and the first good answer of a
/// round is the only one of it that is heard. What belongs to an earlier round is cancelled when a new one begins: an
/// answer is never older than one that was told before.
///
/// The leader's own GET /patroni is not asked. It says "stopping" before the lock is given up, which /cluster does not
/// (measured: there the leader stays "running", at times without its timeline). But it says so no earlier than the
/// servers themselves, which end their clients at that moment with 57P01; and when Patroni ends by a signal, it does
/// not answer for those seconds at all.
///
/// Whom it asks: the members that it has learned from the last answer, and the configured addresses, which may be
/// stale. Learned ones come first, then one that answers stays in front and one that fails goes to the back. Members
/// with http:// are not learned where all configured addresses are https://.
class PatroniFollower final : public Follower {
 public:
  PatroniFollower(uv_loop_t* loop, const pool::UpstreamSettings& settings, Observer& observer, LogFunction log);
  /// `done` of a switchover under way is not called any more.
  ~PatroniFollower() override;
  PatroniFollower(const PatroniFollower&) = delete;
  PatroniFollower& operator=(const PatroniFollower&) = delete;

  void start() override;
  void set_changing(bool changing) override;
  /// Asks the leader; another member only if the leader cannot have seen the request. One at a time.
  void switch_over(const std::string& leader, const std::string& candidate,
                   std::function<void(std::string error)> done) override;

 private:
  /// A member that is being asked.
  struct Asked {
    std::string url;
    std::unique_ptr<HttpExchange> exchange;
  };
  struct Switchover;

  void begin_round_after(int64_t delay_us);
  void begin_round();
  void ask_more();
  void on_answer(const std::string& url, uint64_t round, const HttpAnswer& answer);
  void on_failure(const std::string& url, const std::string& why);
  void retire_asked();
  void end_round();
  /// Takes in who can be asked from now on.
  void learn(const PatroniCluster& cluster, const std::string& winner);
  bool accepts(const PatroniCluster& cluster, std::string& problem);
  HttpRequest request_to(const std::string& url, const char* path) const;

  void send_switchover();
  void on_switchover_answer(const std::string& url, const HttpAnswer& answer);
  void end_switchover(std::string error);

  pool::UpstreamSettings settings_;
  Observer& observer_;
  LogFunction log_;
  HttpClient http_;
  uv_timer_t* timer_;  ///< when the next round begins; outlives this object until it is closed
  bool is_started_ = false, is_changing_ = false;

  std::vector<std::string> configured_;  ///< base addresses
  std::vector<std::string> line_;        ///< all that can be asked, in that order
  std::vector<PatroniApi> apis_;         ///< of the last answer
  std::string scope_;                    ///< the cluster's name, once it was told
  bool allows_http_ = false;             ///< whether http:// may be learned

  // The round under way.
  std::vector<std::string> waiting_;  ///< to be asked yet
  std::vector<Asked> asked_;
  std::vector<Asked> late_;  ///< of earlier rounds, at most one for each address
  uint64_t round_ = 0;
  bool is_asking_ = false;
  std::string failures_;
  size_t failure_count_ = 0;

  std::unique_ptr<Switchover> switchover_;
};

}  // namespace bezel::upstream
