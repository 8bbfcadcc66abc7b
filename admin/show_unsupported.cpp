#include "admin/commands.h"

// What PgBouncer shows of features that Bezel does not have. An empty answer would say that they are there and unused.

namespace bezel::admin {

namespace {

void refuse(const CallPtr& call, std::string_view command, std::string_view why) {
  call->fail({std::string(command) + " is not supported", protocol::sqlstate::kFeatureNotSupported, std::string(why)});
}

}  // namespace

/// For admins only in PgBouncer: it shows cancel keys and passwords.
constexpr Command kShowFds{.name = "fds", .role = pool::ConsoleRole::admin, .run = [](const CallPtr& call) {
                             refuse(call, "SHOW FDS", "No sockets are handed to another process this way.");
                           }};
constexpr Command kShowPeers{.name = "peers", .role = pool::ConsoleRole::stats, .run = [](const CallPtr& call) {
                               refuse(call, "SHOW PEERS", "There are no peers.");
                             }};
constexpr Command kShowPeerPools{
    .name = "peer_pools", .role = pool::ConsoleRole::stats, .run = [](const CallPtr& call) {
      refuse(call, "SHOW PEER_POOLS", "There are no peers.");
    }};

}  // namespace bezel::admin
