#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "integration/bezel_process.h"
#include "integration/messages.h"
#include "integration/postgres_server.h"
#include "integration/raw_client.h"

namespace bezel::integration {

/// What a client sends in one go, and how it knows that the answer is complete: when frames of these types have come,
/// in this order ("ZZ": two ReadyForQuery), or else a row with that text and then a ReadyForQuery. The end of the
/// connection completes it too.
struct Step {
  Messages messages;
  std::string until = "Z";
  std::string until_row = "";
};

using Conversation = std::vector<Step>;

/// Has the same conversation with PostgreSQL itself and with Bezel, and compares the answers frame by frame. The two
/// have a database each, cloned from the same template, so that even OIDs are the same.
class Differential {
 public:
  /// `further`: settings for Bezel over those of this test.
  explicit Differential(std::map<std::string, std::string> further = {});

  enum class Sending { whole, bytewise };

  /// Fails the running doctest test case, with both sides' frames, when they differ. Between the steps another client
  /// of Bezel takes and leaves servers, as `seed` has it, so that the conversation moves from server to server.
  void compare(const Conversation& conversation, const std::string& name, uint32_t seed = 1,
               Sending sending = Sending::whole);

  BezelProcess& bezel() { return *bezel_; }
  PostgresServer& server() { return server_; }

 private:
  std::vector<std::vector<Frame>> hold(RawClient& peer, const Conversation& conversation, Sending sending,
                                       const std::function<void()>& between);

  void empty_tables();

  PostgresServer server_;
  std::unique_ptr<BezelProcess> bezel_;
  std::vector<PgConnection> owners_;     // of the tables, in both databases
  std::unique_ptr<PgConnection> other_;  // the other client
};

}  // namespace bezel::integration
