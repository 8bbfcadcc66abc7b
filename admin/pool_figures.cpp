#include "admin/pool_figures.h"

#include <algorithm>

namespace bezel::admin {

namespace {

PoolFigures figures_of(const pool::PoolStatistics& pool) {
  PoolFigures figures;
  figures.cl_active = pool.cl_active.get();
  figures.cl_waiting = pool.cl_waiting.get();
  figures.cl_active_cancel_req = pool.cl_active_cancel_req.get();
  figures.cl_waiting_cancel_req = pool.cl_waiting_cancel_req.get();
  figures.sv_active = pool.sv_active.get();
  figures.sv_active_cancel = pool.sv_active_cancel.get();
  figures.sv_being_canceled = pool.sv_being_canceled.get();
  figures.sv_idle = pool.sv_idle.get();
  figures.sv_used = pool.sv_used.get();
  figures.sv_tested = pool.sv_tested.get();
  figures.sv_login = pool.sv_login.get();
  figures.oldest_wait_since_us = pool.oldest_wait_since_us.get();
  figures.mode = static_cast<pool::PoolMode>(pool.pool_mode.get());
  return figures;
}

}  // namespace

PoolFigures& PoolFigures::operator+=(const PoolFigures& other) {
  cl_active += other.cl_active;
  cl_waiting += other.cl_waiting;
  cl_active_cancel_req += other.cl_active_cancel_req;
  cl_waiting_cancel_req += other.cl_waiting_cancel_req;
  sv_active += other.sv_active;
  sv_active_cancel += other.sv_active_cancel;
  sv_being_canceled += other.sv_being_canceled;
  sv_idle += other.sv_idle;
  sv_used += other.sv_used;
  sv_tested += other.sv_tested;
  sv_login += other.sv_login;
  if (oldest_wait_since_us == 0) {
    oldest_wait_since_us = other.oldest_wait_since_us;
  } else if (other.oldest_wait_since_us != 0) {
    oldest_wait_since_us = std::min(oldest_wait_since_us, other.oldest_wait_since_us);
  }
  mode = other.mode;
  return *this;
}

int64_t PoolFigures::max_wait_us(int64_t now_us) const {
  if (oldest_wait_since_us == 0) return 0;
  return std::max<int64_t>(0, now_us - static_cast<int64_t>(oldest_wait_since_us));
}

std::map<pool::StatisticsRegistry::PoolName, PoolFigures> pool_figures(const pool::StatisticsRegistry& statistics) {
  std::map<pool::StatisticsRegistry::PoolName, PoolFigures> sums;
  for (const auto& pool : statistics.pools()) sums[{pool->database, pool->user}] += figures_of(*pool);
  return sums;
}

}  // namespace bezel::admin
