#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <string_view>
#include <vector>

#include "admin/console.h"
#include "tests/fuzz/scripted_peers.h"
#include "tests/simulation/world.h"
#include "tests/unit/admin_fakes.h"

namespace bezel::fuzz {

/// A pooler in virtual time between clients and servers, moved by a script of lines. The first line has letters:
///
///   p m s t    clients log in by plain password, md5, SCRAM; trust (the default)
///   M S        the pooler knows md5 hashes, SCRAM verifiers; else passwords
///   1 2 3      servers ask for a plain password, md5, SCRAM; else for none
///   b          connections have something that logins can be bound to
///   E A        session, statement pooling; else transaction
///   w          two servers may be open, else one
///   n          prepared statements are the servers' own business
///   q          short time-outs
///   r c k      a reset query always; a check before each use; a query on new connections
///   R          servers are asked whether they are primaries
///   a          users are asked for at a server
///   x          messages of at most 1000 bytes
///   B          bytes come one by one
///
/// Each of the other lines is one thing that happens: who, what, and bytes as in tests/fuzz/notation.h. Digits are
/// clients, letters a to d servers in the order in which they were dialled.
///
///   0(  0ualice db1 TimeZone=UTC    connects; sends a startup packet, and logs in
///   0mQselect 1\0   0>bytes         sends a message; sends bytes
///   0)  0!  0-  0+                  closes; resets; stops reading; reads on
///   0k                              a cancel request for it, by a connection of its own
///   0h                              does not answer by itself any more
///   t3                              time passes, 10^3 ms
///
/// After each line some time passes, unless it begins with '&'. Lines that make no sense are left out.
class SessionScript {
 public:
  SessionScript(std::string_view letters, uint64_t seed);
  SessionScript(const SessionScript&) = delete;
  SessionScript& operator=(const SessionScript&) = delete;
  ~SessionScript();

  void run(std::string_view line);
  /// As many lines as are looked at.
  static constexpr int kLinesMax = 100;
  void set_pause_us(int64_t pause_us) { pause_us_ = pause_us; }
  /// All read what there is: messages, and whoever is still there must have got whole ones. Then they leave, and what
  /// is left of them is checked.
  void end();

  /// Null where there is none (any more).
  const ScriptedClient* client(size_t index) const { return clients_.at(index).get(); }
  const std::vector<std::unique_ptr<ScriptedServer>>& servers() const { return servers_; }
  static constexpr size_t kClientsMax = 10;

 private:
  bool is_bytewise() const { return world_->scenario().bytewise > 0; }
  void dialled(std::shared_ptr<simulation::Connection> connection);
  void connect(size_t index);
  void cancel(size_t index);
  void run_client(size_t index, std::string_view what);
  /// What every peer can do.
  static void run_peer(ScriptedPeer& peer, std::string_view what);
  void check_messages();
  void pass(int64_t time_us);

  bool is_over_ = false;
  int64_t pause_us_ = 10'000;
  admin::fakes::FakeProgram program_;
  std::unique_ptr<admin::Console> console_;
  std::unique_ptr<simulation::World> world_;
  std::array<std::unique_ptr<ScriptedClient>, kClientsMax> clients_;
  std::vector<std::unique_ptr<ScriptedServer>> servers_;
  std::vector<std::unique_ptr<ScriptedClient>> others_;  // with cancel requests, or replaced
};

}  // namespace bezel::fuzz
