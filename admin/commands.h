#pragma once

#include <span>
#include <string_view>

#include "admin/command.h"

namespace bezel::admin {

/// The commands that answer `SHOW <name>`. A new one is a file of its own, and its line here and in commands.cpp.
std::span<const Command* const> show_commands();
/// All others that are one word, and at most one more.
std::span<const Command* const> action_commands();

/// Nothing when there is none of that name (case does not matter).
const Command* find_command(std::span<const Command* const> commands, std::string_view name);

extern const Command kShowActiveSockets, kShowClients, kShowServers, kShowSockets;   // show_connections.cpp
extern const Command kShowConfig;                                                    // show_config.cpp
extern const Command kShowDatabases;                                                 // show_databases.cpp
extern const Command kShowDnsHosts, kShowDnsZones;                                   // show_dns.cpp
extern const Command kShowHelp;                                                      // show_help.cpp
extern const Command kShowLists;                                                     // show_lists.cpp
extern const Command kShowMem;                                                       // show_mem.cpp
extern const Command kShowFds, kShowPeers, kShowPeerPools;                           // show_unsupported.cpp
extern const Command kShowPools;                                                     // show_pools.cpp
extern const Command kShowState;                                                     // show_state.cpp
extern const Command kShowStats, kShowStatsTotals, kShowStatsAverages, kShowTotals;  // show_stats.cpp
extern const Command kShowUpstream, kShowFailovers;                                  // show_upstream.cpp
extern const Command kShowUsers;                                                     // show_users.cpp
extern const Command kShowVersion;                                                   // show_version.cpp

extern const Command kPause, kResume, kSuspend;                         // pause.cpp
extern const Command kDisable, kEnable, kKill, kReconnect, kWaitClose;  // database_operations.cpp
extern const Command kKillClient;                                       // kill_client.cpp
extern const Command kReload;                                           // reload.cpp
extern const Command kSwitchover;                                       // switchover.cpp
extern const Command kShutdown;                                         // shutdown.cpp
extern const Command kSet;                                              // set.cpp
extern const Command kSetIgnored, kDriverQuery, kDriverReset;           // driver_statements.cpp
extern const Command kDiscardAll, kDeallocateAll, kDeallocate;          // driver_statements.cpp
extern const Command kBegin, kCommit, kRollback;                        // driver_statements.cpp

}  // namespace bezel::admin
