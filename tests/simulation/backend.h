#pragma once

#include <array>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "protocol/scram.h"
#include "tests/simulation/cluster.h"
#include "tests/simulation/connection.h"
#include "tests/simulation/frames.h"
#include "tests/simulation/session.h"

namespace bezel::simulation {

class World;

/// One connection at a simulated PostgreSQL: login, then a Session whose work takes time, or a cancel request.
class Backend final : public Peer {
 public:
  /// `member`: of the cluster; nullptr: there is none.
  Backend(World& world, std::shared_ptr<Connection> connection, ClusterMember* member);

  void on_received(std::string_view bytes) override;
  void on_end() override;
  void on_sent() override { advance(); }

  int32_t pid() const { return pid_; }
  const std::string& secret() const { return secret_; }
  /// Logging in or logged in, and not closed from either side.
  bool open() const { return stage_ != Stage::closed && !database_.empty(); }
  bool ready() const { return stage_ == Stage::ready; }
  const std::string& database() const { return database_; }
  const std::string& user() const { return user_; }
  bool pooler_gone() const { return connection_->pooler_gone(); }
  const Session* session() const { return session_.get(); }

  /// A cancel request has arrived.
  void cancel();
  /// It dies: with a last message, by a reset, or it only falls silent.
  void die();
  void fall_silent() { silent_ = true; }
  void send_notice_if_idle();

  // ---- For the cluster ----

  const ClusterMember* member() const { return member_; }
  /// Its server is being stopped, and it says so.
  void shut_down();
  /// It ends without a word.
  void crash();
  void set_cut(bool cut) { connection_->set_cut(cut); }
  void freeze();
  void thaw();

 private:
  enum class Stage { first_packet, password, sasl_initial, sasl_response, ready, closed };

  void first_packet();
  void ask_for_password();
  /// What logins are offered to be bound to; empty: nothing.
  std::string binding_data() const;
  void password(const Frame& frame);
  void greet();
  void refuse(std::string_view state, std::string_view message);
  void close(bool reset);
  /// In a while, but not while it is frozen.
  void later(int64_t delay_us, std::function<void()> what);
  bool in_recovery() const { return member_ != nullptr ? member_->in_recovery : is_standby_; }
  bool answer_role_question(const Frame& frame);
  void advance();
  void run_step();
  void check_owner(const std::string& id);
  void check_cancel(const std::string& id);
  void send(const std::string& bytes);

  World& world_;
  std::shared_ptr<Connection> connection_;
  ClusterMember* const member_;
  bool frozen_ = false;
  std::vector<std::function<void()>> when_thawed_;
  Stage stage_ = Stage::first_packet;
  FrameCutter input_;
  std::string database_, user_;
  std::unique_ptr<Session> session_;
  std::unique_ptr<protocol::ScramServer> scram_;
  std::array<unsigned char, 4> salt_{};
  int32_t pid_ = 0;
  std::string secret_;
  std::string output_;
  bool busy_ = false;
  bool cancel_pending_ = false;
  bool silent_ = false;
  bool is_standby_ = false;
  std::string owner_;                     // whose transaction it is
  std::vector<std::string> uncommitted_;  // what was executed in it
};

/// "c3" of the id "c3.17"; empty if it is no client's.
std::string client_of(std::string_view id);

}  // namespace bezel::simulation
