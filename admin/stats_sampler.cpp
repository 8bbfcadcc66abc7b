#include "admin/stats_sampler.h"

#include <fmt/format.h>

namespace bezel::admin {

namespace {

constexpr int64_t kSecondUs = 1'000'000;

uint64_t by_second(uint64_t events, int64_t duration_us) {
  // In floating point: events in a second times a million may not fit 64 bits when they are bytes.
  return static_cast<uint64_t>(static_cast<double>(events) * kSecondUs / static_cast<double>(duration_us));
}

uint64_t by_event(uint64_t time_us, uint64_t events) {
  return events == 0 ? 0 : time_us / events;
}

}  // namespace

Averages averages_of(const pool::Totals& added, int64_t duration_us) {
  Averages averages;
  if (duration_us <= 0) return averages;
  averages.server_assignments = by_second(added.server_assignments, duration_us);
  averages.transactions = by_second(added.transactions, duration_us);
  averages.queries = by_second(added.queries, duration_us);
  averages.received_bytes = by_second(added.received_bytes, duration_us);
  averages.sent_bytes = by_second(added.sent_bytes, duration_us);
  averages.client_parses = by_second(added.client_parses, duration_us);
  averages.server_parses = by_second(added.server_parses, duration_us);
  averages.binds = by_second(added.binds, duration_us);
  averages.transaction_time_us = by_event(added.transaction_time_us, added.transactions);
  averages.query_time_us = by_event(added.query_time_us, added.queries);
  averages.wait_time_us = by_event(added.wait_time_us, added.server_assignments);
  return averages;
}

// Until the first tick the averages go back to the start, which is given one second more, as in PgBouncer: what happens
// in the first instants is not blown up to a huge rate.
StatsSampler::StatsSampler(pool::Fleet& fleet, int64_t now_us)
    : fleet_(fleet), older_at_us_(now_us - kSecondUs), newer_at_us_(now_us) {}

StatsSampler::Snapshot StatsSampler::take() const {
  Snapshot snapshot;
  for (const auto& [name, totals] : fleet_.statistics().totals()) snapshot[name.first] += totals;
  return snapshot;
}

pool::Totals StatsSampler::sum(const Snapshot& snapshot) {
  pool::Totals all;
  for (const auto& entry : snapshot) all += entry.second;
  return all;
}

void StatsSampler::sample(int64_t now_us) {
  Snapshot now = take();
  const std::lock_guard lock(mutex_);
  older_ = std::move(newer_);
  newer_ = std::move(now);
  older_at_us_ = newer_at_us_;
  newer_at_us_ = now_us;
}

std::map<std::string, DatabaseStats> StatsSampler::databases(int64_t now_us) const {
  std::map<std::string, DatabaseStats> result;
  const Snapshot now = take();
  const std::lock_guard lock(mutex_);
  for (const auto& [database, totals] : now) {
    const auto before = older_.find(database);
    const pool::Totals added = before == older_.end() ? totals : totals.since(before->second);
    result[database] = {totals, averages_of(added, now_us - older_at_us_)};
  }
  return result;
}

DatabaseStats StatsSampler::all(int64_t now_us) const {
  const pool::Totals totals = sum(take());
  const std::lock_guard lock(mutex_);
  return {totals, averages_of(totals.since(sum(older_)), now_us - older_at_us_)};
}

std::string StatsSampler::log_line() const {
  const std::lock_guard lock(mutex_);
  const Averages averages = averages_of(sum(newer_).since(sum(older_)), newer_at_us_ - older_at_us_);
  return fmt::format(
      "stats: {} xacts/s, {} queries/s, {} client parses/s, {} server parses/s, {} binds/s, in {} B/s, out {} B/s, "
      "xact {} us, query {} us, wait {} us",
      averages.transactions, averages.queries, averages.client_parses, averages.server_parses, averages.binds,
      averages.received_bytes, averages.sent_bytes, averages.transaction_time_us, averages.query_time_us,
      averages.wait_time_us);
}

}  // namespace bezel::admin
