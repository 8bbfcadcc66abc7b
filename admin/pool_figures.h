#pragma once

#include <cstdint>
#include <map>

#include "pool/statistics.h"

namespace bezel::admin {

/// Where the connections of one (database, user) stand now, over all workers. Names are those of SHOW POOLS.
struct PoolFigures {
  uint64_t cl_active = 0, cl_waiting = 0, cl_active_cancel_req = 0, cl_waiting_cancel_req = 0;
  uint64_t sv_active = 0, sv_active_cancel = 0, sv_being_canceled = 0, sv_idle = 0, sv_used = 0, sv_tested = 0;
  uint64_t sv_login = 0;
  uint64_t oldest_wait_since_us = 0;  ///< monotonic; 0: nobody waits
  pool::PoolMode mode = pool::PoolMode::transaction;

  uint64_t servers() const {
    return sv_active + sv_active_cancel + sv_being_canceled + sv_idle + sv_used + sv_tested + sv_login;
  }
  /// How long the oldest client has waited.
  int64_t max_wait_us(int64_t now_us) const;
  PoolFigures& operator+=(const PoolFigures& other);
};

std::map<pool::StatisticsRegistry::PoolName, PoolFigures> pool_figures(const pool::StatisticsRegistry& statistics);

}  // namespace bezel::admin
