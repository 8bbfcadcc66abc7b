#include "admin/console.h"

#include <algorithm>

#include "admin/console_session.h"
#include "admin/driver_statements.h"
#include "protocol/messages.h"

namespace bezel::admin {

bool is_console_database(std::string_view name) {
  return std::find(std::begin(kConsoleDatabases), std::end(kConsoleDatabases), name) != std::end(kConsoleDatabases);
}

Console::Console(pool::Fleet& fleet, Program& program, MonotonicClock clock)
    : fleet_(fleet), program_(program), clock_(clock), sampler_(fleet, clock()) {}

Console::~Console() = default;

std::unique_ptr<pool::ConsoleSession> Console::open(const std::string& user, pool::ConsoleRole role,
                                                    pool::ConsoleClient& client) {
  sessions_.fetch_add(1);
  return std::make_unique<ConsoleSession>(*this, user, role, client);
}

std::string Console::greeting() const {
  std::string messages;
  protocol::append_parameter_status(messages, "server_version", kServerVersion);
  protocol::append_parameter_status(messages, "client_encoding", "UTF8");
  protocol::append_parameter_status(messages, "server_encoding", "UTF8");
  protocol::append_parameter_status(messages, "DateStyle", "ISO");
  protocol::append_parameter_status(messages, "TimeZone", "GMT");
  protocol::append_parameter_status(messages, "standard_conforming_strings", "on");
  protocol::append_parameter_status(messages, "integer_datetimes", "on");
  protocol::append_parameter_status(messages, "is_superuser", "on");
  return messages;
}

pool::PoolStatistics& Console::statistics_of(int worker) {
  const auto index = static_cast<size_t>(worker);
  const std::lock_guard lock(mutex_);
  if (statistics_.size() <= index) statistics_.resize(index + 1);
  if (!statistics_[index]) {
    const std::string name(kConsoleDatabases[0]);
    statistics_[index] = fleet_.statistics().add_pool(name, name, worker);
    statistics_[index]->pool_mode.set(static_cast<uint64_t>(pool::PoolMode::statement));
  }
  return *statistics_[index];
}

}  // namespace bezel::admin
