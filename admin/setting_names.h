#pragma once

#include <string_view>

#include "pool/settings.h"

namespace bezel::admin {

/// As it is written in the configuration.
constexpr std::string_view pool_mode_name(pool::PoolMode mode) {
  switch (mode) {
    case pool::PoolMode::session:
      return "session";
    case pool::PoolMode::statement:
      return "statement";
    case pool::PoolMode::transaction:
      break;
  }
  return "transaction";
}

constexpr std::string_view load_balance_hosts_name(pool::LoadBalanceHosts mode) {
  return mode == pool::LoadBalanceHosts::disable ? "disable" : "round-robin";
}

}  // namespace bezel::admin
