#include "admin/commands.h"

#include <array>

#include "admin/statement.h"

namespace bezel::admin {

namespace {

constexpr std::array kShows{
    &kShowActiveSockets,  //
    &kShowClients,        //
    &kShowConfig,         //
    &kShowDatabases,      //
    &kShowDnsHosts,       //
    &kShowDnsZones,       //
    &kShowFailovers,      //
    &kShowFds,            //
    &kShowHelp,           //
    &kShowLists,          //
    &kShowMem,            //
    &kShowPeerPools,      //
    &kShowPeers,          //
    &kShowPools,          //
    &kShowServers,        //
    &kShowSockets,        //
    &kShowState,          //
    &kShowStats,          //
    &kShowStatsAverages,  //
    &kShowStatsTotals,    //
    &kShowTotals,         //
    &kShowUpstream,       //
    &kShowUsers,          //
    &kShowVersion,        //
};

constexpr std::array kActions{
    &kDisable,     //
    &kEnable,      //
    &kKill,        //
    &kKillClient,  //
    &kPause,       //
    &kReconnect,   //
    &kReload,      //
    &kResume,      //
    &kShutdown,    //
    &kSuspend,     //
    &kSwitchover,  //
    &kWaitClose,   //
};

}  // namespace

std::span<const Command* const> show_commands() {
  return kShows;
}
std::span<const Command* const> action_commands() {
  return kActions;
}

const Command* find_command(std::span<const Command* const> commands, std::string_view name) {
  for (const Command* command : commands)
    if (equal_ignoring_case(command->name, name)) return command;
  return nullptr;
}

}  // namespace bezel::admin
