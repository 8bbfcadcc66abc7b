#include "pool/statistics.h"

#include <algorithm>
#include <array>

namespace bezel::pool {

namespace {

/// Which counter of a pool makes which number of the totals.
struct TotalField {
  uint64_t Totals::*total;
  Counter PoolStatistics::*counter;
};

constexpr std::array kTotalFields{
    TotalField{&Totals::server_assignments, &PoolStatistics::server_assignments},
    TotalField{&Totals::transactions, &PoolStatistics::transactions},
    TotalField{&Totals::queries, &PoolStatistics::queries},
    TotalField{&Totals::received_bytes, &PoolStatistics::received_bytes},
    TotalField{&Totals::sent_bytes, &PoolStatistics::sent_bytes},
    TotalField{&Totals::transaction_time_us, &PoolStatistics::transaction_time_us},
    TotalField{&Totals::query_time_us, &PoolStatistics::query_time_us},
    TotalField{&Totals::wait_time_us, &PoolStatistics::wait_time_us},
    TotalField{&Totals::client_parses, &PoolStatistics::client_parses},
    TotalField{&Totals::server_parses, &PoolStatistics::server_parses},
    TotalField{&Totals::binds, &PoolStatistics::binds},
    TotalField{&Totals::server_logins, &PoolStatistics::server_logins},
    TotalField{&Totals::server_login_failures, &PoolStatistics::server_login_failures},
    TotalField{&Totals::client_waits, &PoolStatistics::client_waits},
    TotalField{&Totals::client_wait_timeouts, &PoolStatistics::client_wait_timeouts},
    TotalField{&Totals::servers_lost, &PoolStatistics::servers_lost},
    TotalField{&Totals::replayed, &PoolStatistics::replayed},
    TotalField{&Totals::failed_transactions, &PoolStatistics::failed_transactions},
    TotalField{&Totals::in_doubt, &PoolStatistics::in_doubt},
};
static_assert(sizeof(Totals) == kTotalFields.size() * sizeof(uint64_t), "a number of Totals has no TotalField");

}  // namespace

Totals& Totals::operator+=(const Totals& other) {
  for (const TotalField& field : kTotalFields) this->*field.total += other.*field.total;
  return *this;
}

Totals Totals::since(const Totals& earlier) const {
  Totals difference;
  for (const TotalField& field : kTotalFields) {
    const uint64_t now = this->*field.total, then = earlier.*field.total;
    difference.*field.total = now > then ? now - then : 0;
  }
  return difference;
}

Totals totals_of(const PoolStatistics& pool) {
  Totals totals;
  for (const TotalField& field : kTotalFields) totals.*field.total = (pool.*field.counter).get();
  return totals;
}

std::shared_ptr<PoolStatistics> StatisticsRegistry::add_pool(const std::string& database, const std::string& user,
                                                             int worker) {
  auto pool = std::make_shared<PoolStatistics>();
  pool->database = database;
  pool->user = user;
  pool->worker = worker;
  const std::lock_guard lock(mutex_);
  pools_.push_back(pool);
  return pool;
}

void StatisticsRegistry::remove_pool(const std::shared_ptr<PoolStatistics>& pool) {
  const std::lock_guard lock(mutex_);
  const auto found = std::find(pools_.begin(), pools_.end(), pool);
  if (found == pools_.end()) return;
  pools_.erase(found);
  const Totals totals = totals_of(*pool);
  if (totals == Totals{}) return;
  const PoolName name(pool->database, pool->user);
  const bool room = retired_.size() < kRetiredMax || retired_.count(name) != 0;
  retired_[room ? name : PoolName(kOthers, kOthers)] += totals;
}

std::vector<std::shared_ptr<PoolStatistics>> StatisticsRegistry::pools() const {
  const std::lock_guard lock(mutex_);
  return pools_;
}

std::map<StatisticsRegistry::PoolName, Totals> StatisticsRegistry::totals() const {
  const std::lock_guard lock(mutex_);
  std::map<PoolName, Totals> sums = retired_;
  for (const auto& pool : pools_) sums[PoolName(pool->database, pool->user)] += totals_of(*pool);
  return sums;
}

}  // namespace bezel::pool
