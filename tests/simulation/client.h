#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "protocol/scram.h"
#include "tests/simulation/connection.h"
#include "tests/simulation/frames.h"
#include "tests/simulation/session.h"

namespace bezel::simulation {

class World;

/// The tag of what ends a transaction without a COMMIT, as CommandComplete has it.
constexpr std::string_view kRollback{"ROLLBACK\0", 9};

/// A client with a random program. All that it sends also goes to a Session of its own, and what comes back must be
/// what that Session answers, byte for byte: complete, in order, once, under its own parameters.
class SimulatedClient final : public Peer {
 public:
  SimulatedClient(World& world, size_t index);

  void start();
  void on_received(std::string_view bytes) override;
  void on_end() override;

  /// Whether its database leads to primaries only.
  bool wants_primary() const;
  bool done() const { return stage_ == Stage::done; }
  /// It has left, or its end has been announced to it.
  bool gone() const { return stage_ == Stage::done; }
  bool has_asked_to_cancel() const { return has_asked_to_cancel_; }
  std::string name() const { return "c" + std::to_string(index_); }
  std::string describe() const;
  /// The world ends: whoever is still there leaves.
  void leave_now();

 private:
  enum class Stage { unborn, ssl, login, running, done };

  // Login.
  void send_startup();
  void login_message(const Frame& frame);
  void authenticate(const Frame& frame);
  void check_greeting();
  void choose_identity();

  // Answers.
  void answer(const Frame& frame);
  bool expect_more();
  bool matches(const Frame& frame, const Frame& expected) const;
  bool try_as_cancelled(const Frame& frame);
  bool servers_may_be_lost() const;
  bool try_as_lost(const Frame& frame);
  bool matches_after_loss(const Frame& frame, const Frame& expected);
  bool is_undone_parameter(const Frame& frame);
  bool is_rollback_of_lost(const Frame& frame);
  bool is_ahead_of_its_parameters(const Frame& frame);
  void take_expected(const Frame& frame);
  void check_ledger(const Frame& frame);
  void connection_error(const Frame& frame);
  bool nothing_due();
  bool is_stray_notice(const Frame& frame) const;

  // The program.
  void act_later();
  void act();
  void impulse();
  void patience();
  void next_batch();
  void simple_batch();
  void extended_batch();
  void transaction_batch();
  void copy_in_batch();
  void copy_more();
  void finish();
  void vanish();
  void cancel(bool right_key);
  std::string statement(bool may_fail);
  std::string new_id();
  std::string random_setting();
  bool transactions_allowed() const;
  bool may_query() const;
  void add_extended(std::string& batch, bool may_fail);

  void send(const std::string& messages);
  void feed_model(const std::string& messages);

  World& world_;
  size_t index_;
  std::shared_ptr<Connection> connection_;
  Stage stage_ = Stage::unborn;
  FrameCutter input_, sent_;
  std::string user_, database_, password_;
  std::vector<std::pair<std::string, std::string>> startup_;
  bool must_be_refused_ = false;
  bool wrong_password_ = false;
  uint16_t minor_ = 0;
  std::unique_ptr<protocol::ScramClient> scram_;
  std::set<std::pair<std::string, std::string>> greeted_with_;
  int32_t cancel_pid_ = 0;
  std::string cancel_secret_;
  bool has_startup_parameters_ = false;

  std::unique_ptr<Session> model_;
  std::unique_ptr<Session> model_before_;  // before the step whose answer is being waited for
  std::deque<Frame> expected_;
  bool at_first_of_step_ = false;
  std::vector<std::pair<std::string, std::string>> reported_in_step_;
  std::vector<std::string> ids_of_step_, ids_of_transaction_;
  bool rolled_back_ = false;  // the last answer was that, and parameters at most
  bool lost_ = false;         // the request being answered was lost
  bool in_doubt_ = false;     // and may have been committed
  int actions_left_ = 0;
  int ids_ = 0;
  bool may_pipeline_ = true;  // what is under way lets more follow
  bool batch_open_ = false;   // of the extended protocol: its Sync has not been sent
  bool has_asked_to_cancel_ = false;
  bool act_scheduled_ = false;
  bool leaving_ = false;     // it has stopped in the middle of a message, and is about to vanish
  bool error_seen_ = false;  // a FATAL: the end must follow
  bool slow_reader_ = false;
  uint64_t progress_ = 0, progress_seen_ = 0;
};

}  // namespace bezel::simulation
