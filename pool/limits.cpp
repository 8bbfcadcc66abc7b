#include "pool/limits.h"

#include <algorithm>

namespace bezel::pool {

void SlotWaiters::wait(const void* who, std::function<void()> wake) {
  const std::lock_guard lock(mutex_);
  for (const auto& [waiting, unused] : waiting_) {
    if (waiting == who) return;
  }
  waiting_.emplace_back(who, std::move(wake));
  any_.store(true, std::memory_order_release);
}

void SlotWaiters::forget(const void* who) {
  if (!any_.load(std::memory_order_acquire)) return;
  const std::lock_guard lock(mutex_);
  std::erase_if(waiting_, [who](const auto& entry) { return entry.first == who; });
  any_.store(!waiting_.empty(), std::memory_order_release);
}

bool SlotWaiters::has(const void* who) const {
  if (!any()) return false;
  const std::lock_guard lock(mutex_);
  return std::any_of(waiting_.begin(), waiting_.end(), [who](const auto& entry) { return entry.first == who; });
}

bool SlotWaiters::wake_next() {
  if (!any_.load(std::memory_order_acquire)) return false;
  std::function<void()> wake;
  {
    const std::lock_guard lock(mutex_);
    if (waiting_.empty()) return false;
    wake = std::move(waiting_.front().second);
    waiting_.pop_front();
    any_.store(!waiting_.empty(), std::memory_order_release);
  }
  wake();
  return true;
}

std::optional<protocol::ScramKeys> DerivedKeys::find(std::string_view password, std::string_view salt,
                                                     int iterations) const {
  const std::lock_guard lock(mutex_);
  for (const Entry& entry : entries_) {
    if (entry.password == password && entry.salt == salt && entry.iterations == iterations) return entry.keys;
  }
  return std::nullopt;
}

void DerivedKeys::add(std::string_view password, std::string_view salt, int iterations,
                      const protocol::ScramKeys& keys) {
  const std::lock_guard lock(mutex_);
  if (entries_.size() == kEntriesMax) entries_.pop_front();
  entries_.push_back({std::string(password), std::string(salt), iterations, keys});
}

std::string DerivedKeys::own_salt(std::string_view fresh) {
  const std::lock_guard lock(mutex_);
  if (own_salt_.empty()) own_salt_ = fresh;
  return own_salt_;
}

void UserShare::pass_keys(PassedKeys keys) {
  const std::lock_guard lock(mutex_);
  keys_ = std::move(keys);
}

std::optional<PassedKeys> UserShare::passed_keys() const {
  const std::lock_guard lock(mutex_);
  return keys_;
}

namespace {

template <typename Share>
std::shared_ptr<Share> find_or_make(std::map<std::string, std::shared_ptr<Share>>& shares, const std::string& name) {
  std::shared_ptr<Share>& share = shares[name];
  if (!share) share = std::make_shared<Share>(name);
  return share;
}

template <typename Share>
std::vector<std::shared_ptr<Share>> all_of(const std::map<std::string, std::shared_ptr<Share>>& shares) {
  std::vector<std::shared_ptr<Share>> list;
  for (const auto& [name, share] : shares) list.push_back(share);
  return list;
}

}  // namespace

std::shared_ptr<DatabaseShare> Directory::database(const std::string& name) {
  const std::lock_guard lock(mutex_);
  const bool is_new = !databases_.contains(name);
  std::shared_ptr<DatabaseShare> share = find_or_make(databases_, name);
  if (is_new) share->paused.store(all_paused_.load());
  return share;
}

void Directory::set_all_paused(bool paused) {
  const std::lock_guard lock(mutex_);
  all_paused_.store(paused);
  for (const auto& [name, share] : databases_) share->paused.store(paused);
}

std::shared_ptr<UserShare> Directory::user(const std::string& name) {
  const std::lock_guard lock(mutex_);
  return find_or_make(users_, name);
}

std::vector<std::shared_ptr<DatabaseShare>> Directory::databases() const {
  const std::lock_guard lock(mutex_);
  return all_of(databases_);
}

std::vector<std::shared_ptr<UserShare>> Directory::users() const {
  const std::lock_guard lock(mutex_);
  return all_of(users_);
}

void Directory::forget_unused_databases(const std::function<bool(const std::string&)>& is_configured) {
  const std::lock_guard lock(mutex_);
  // Whoever takes a share does so under the lock, so one that only this map has is nobody's.
  std::erase_if(databases_, [&](const auto& entry) {
    const auto& [name, share] = entry;
    return share.use_count() == 1 && share->paused == all_paused_ && !share->disabled && !is_configured(name);
  });
}

}  // namespace bezel::pool
