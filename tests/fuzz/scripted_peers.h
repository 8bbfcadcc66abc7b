#pragma once

#include <array>
#include <map>
#include <memory>
#include <string>
#include <string_view>

#include "protocol/scram.h"
#include "tests/simulation/connection.h"
#include "tests/simulation/frames.h"
#include "tests/simulation/scenario.h"

// Clients and servers that do what a script says, and nothing else but what they have been told to do by themselves.
// Unlike those of the simulation they judge nobody.
namespace bezel::fuzz {

/// The far end of a connection of the pooler.
class ScriptedPeer : public simulation::Peer {
 public:
  ScriptedPeer(const simulation::Scenario& scenario, std::shared_ptr<simulation::Connection> connection);

  void on_received(std::string_view bytes) override;
  void on_end() override { has_ended_ = true; }

  void send(std::string_view bytes) { connection_->send(bytes); }
  /// The same for what may be no whole messages.
  void send_raw(std::string_view bytes);
  bool has_sent_raw() const { return has_sent_raw_; }
  void close(bool reset);
  simulation::Connection& connection() { return *connection_; }
  /// From now on only the script speaks.
  void fall_silent() { is_silent_ = true; }
  /// All that has come.
  const std::string& received() const { return received_; }
  /// The connection is closed, from whichever side.
  bool has_ended() const { return has_ended_; }

 protected:
  /// Bytes have come, and are answered.
  virtual void answer() = 0;

  const simulation::Scenario& scenario_;
  std::shared_ptr<simulation::Connection> connection_;
  simulation::FrameCutter input_;

 private:
  std::string received_;
  bool is_silent_ = false, has_ended_ = false, has_sent_raw_ = false;
};

/// Logs in when its script has sent a startup packet.
class ScriptedClient final : public ScriptedPeer {
 public:
  using ScriptedPeer::ScriptedPeer;

  /// `words`: user, database, then NAME=VALUE.
  void start_up(std::string_view words);
  /// The CancelRequest for it; empty: it has no key yet.
  const std::string& cancel_request() const { return cancel_request_; }

 private:
  void answer() override;
  std::string authenticate(std::string_view body);

  std::string user_;
  std::unique_ptr<protocol::ScramClient> scram_;
  std::string cancel_request_;
};

/// Lets the pooler in, and answers everything in the right form. It knows a few words of SQL: begin, commit, rollback,
/// fail, big, copyin, copyout.
class ScriptedServer final : public ScriptedPeer {
 public:
  using ScriptedPeer::ScriptedPeer;

 private:
  void answer() override;
  bool first_packet();
  void ask_for_password(std::string& out);
  void check_password(const simulation::Frame& frame, std::string& out);
  void greet(std::string& out);
  void message(const simulation::Frame& frame, std::string& out);
  void query(std::string_view text, std::string& out);
  void run(std::string_view text, bool describes, std::string& out);
  void rows(std::string_view text, bool describes, std::string& out);

  bool has_started_ = false, is_in_ = false, skips_ = false, copies_ = false;
  std::string user_;
  std::unique_ptr<protocol::ScramServer> scram_;
  std::map<std::string, std::string, std::less<>> statements_;
  std::string bound_;
  char status_ = 'I';
};

}  // namespace bezel::fuzz
