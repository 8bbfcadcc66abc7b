#include "pool/auth_query.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

namespace bezel::pool {

namespace {

/// Nothing that a role or a database owner has set comes before these, and the session's own temporary tables come
/// last. Names in auth_query that are not PostgreSQL's own must have their schema.
constexpr const char* kPinnedOptions = "-c search_path=pg_catalog,pg_temp";
constexpr const char* kApplicationName = "bezel auth_query";

const DatabaseSettings* entry_of(const Settings& settings, const std::string& name) {
  auto at = settings.databases.find(name);
  if (at == settings.databases.end()) at = settings.databases.find("*");
  return at == settings.databases.end() ? nullptr : &at->second;
}

const std::string& own_or_global(const DatabaseSettings* entry, std::string DatabaseSettings::*own,
                                 const std::string& global) {
  return entry != nullptr && !(entry->*own).empty() ? entry->*own : global;
}

DatabaseSettings auth_entry(const DatabaseSettings& target, const std::string& name, const std::string& user) {
  DatabaseSettings entry = target;
  entry.dbname = target.dbname.empty() ? name : target.dbname;
  entry.user = user;
  if (target.user != user) entry.password.clear();
  entry.connect_query.clear();
  entry.server_parameters = {{"application_name", kApplicationName}, {"options", kPinnedOptions}};
  return entry;
}

std::string id_of(const AuthSource& source) {
  std::string id;
  const auto add = [&id](std::string_view part) { (id += part) += '\0'; };
  add(source.database);
  add(source.entry.dbname);
  for (const HostAddress& host : source.entry.hosts) add(fmt::format("{} {}", host.host, host.port));
  add(source.entry.user);
  add(source.query);
  return id;
}

}  // namespace

AuthSourceResult find_auth_source(const Settings& settings, std::string_view database, const DatabaseSettings* entry) {
  const std::string& user = own_or_global(entry, &DatabaseSettings::auth_user, settings.auth_user);
  const std::string& auth_dbname = own_or_global(entry, &DatabaseSettings::auth_dbname, settings.auth_dbname);
  if (user.empty() || (entry == nullptr && auth_dbname.empty())) return {};
  AuthSource source;
  const DatabaseSettings* target = entry;
  source.database = database;
  if (!auth_dbname.empty()) {
    source.database = auth_dbname;
    target = entry_of(settings, auth_dbname);
    if (target == nullptr) return {{}, fmt::format("auth_dbname: no such database: {}", auth_dbname)};
  }
  source.query = own_or_global(entry, &DatabaseSettings::auth_query, settings.auth_query);
  if (source.query.empty()) return {{}, "auth_query is empty"};
  source.entry = auth_entry(*target, source.database, user);
  source.id = id_of(source);
  return {std::move(source), {}};
}

std::string AuthCache::key_of(const AuthQuestion& question) {
  return question.source + question.user;  // a source's id ends with a zero byte
}

bool AuthCache::is_fresh(const Entry& entry, const Terms& terms, int64_t now_us) {
  const bool refuses = entry.answer.kind != AuthAnswer::Kind::secret;
  const int64_t ttl_us = refuses ? std::min(terms.ttl_us, kRefusalTtlUs) : terms.ttl_us;
  return !entry.doubted && now_us - entry.answered_at_us < ttl_us && !entry.answer.has_expired(now_us);
}

AuthReply AuthCache::stale_reply(const Entry& entry, int64_t now_us) {
  const AuthAnswer expired = {AuthAnswer::Kind::no_password};
  return {entry.answer.has_expired(now_us) ? expired : entry.answer, std::nullopt, true, true};
}

const AuthCache::Entry* AuthCache::find(const std::string& key) const {
  const auto at = entries_.find(key);
  return at == entries_.end() ? nullptr : &*at->second;
}

const AuthCache::Entry* AuthCache::find_stale(const std::string& key, const Terms& terms, int64_t now_us) const {
  const Entry* entry = find(key);
  if (entry == nullptr || terms.stale_max_us <= 0) return nullptr;
  return now_us - entry->answered_at_us < terms.ttl_us + terms.stale_max_us ? entry : nullptr;
}

void AuthCache::drop(const std::string& key) {
  const auto at = entries_.find(key);
  if (at == entries_.end()) return;
  (at->second->answer.kind == AuthAnswer::Kind::unknown ? unknown_ : users_).erase(at->second);
  entries_.erase(at);
}

void AuthCache::store(const std::string& key, const AuthAnswer& answer, int64_t now_us) {
  drop(key);
  const bool unknown = answer.kind == AuthAnswer::Kind::unknown;
  Entries& list = unknown ? unknown_ : users_;
  if (list.size() >= (unknown ? kUnknownMax : kUsersMax)) drop(std::string(list.front().key));
  list.push_back({key, answer, now_us, false});
  entries_[key] = std::prev(list.end());
}

AuthCache::SourceState& AuthCache::source(const std::string& id) {
  // Under "*" clients make up names of databases.
  if (sources_.size() >= kSourcesMax && !sources_.contains(id)) sources_.clear();
  return sources_[id];
}

AuthCache::Lookup AuthCache::look_up(const AuthQuestion& question, const Terms& terms, int64_t now_us, AuthReply& reply,
                                     Waiter waiter) {
  const std::string key = key_of(question);
  const std::lock_guard lock(mutex_);
  const Entry* entry = find(key);
  if (entry != nullptr && is_fresh(*entry, terms, now_us)) {
    reply = {entry->answer, std::nullopt, true, false};
    return Lookup::known;
  }
  if (const auto at = sources_.find(question.source); at != sources_.end() && now_us < at->second.down_until_us) {
    if (const Entry* stale = find_stale(key, terms, now_us)) {
      reply = stale_reply(*stale, now_us);
      return Lookup::known;
    }
  }
  const auto [flight, is_new] = flights_.try_emplace(key, Flight{terms, {}, false});
  flight->second.waiters.push_back(std::move(waiter));
  return is_new ? Lookup::ask : Lookup::joined;
}

void AuthCache::answered(const AuthQuestion& question, AuthAnswer answer, int64_t now_us) {
  const std::string key = key_of(question);
  std::vector<Waiter> waiters;
  {
    const std::lock_guard lock(mutex_);
    SourceState& state = source(question.source);
    state.down_until_us = 0;
    if (answer.kind == AuthAnswer::Kind::secret) {
      state.scram = answer.secret.kind == protocol::SecretKind::scram_sha_256;
    }
    const auto flight = flights_.find(key);
    if (flight == flights_.end()) return;
    if (!flight->second.outdated) store(key, answer, now_us);
    waiters = std::move(flight->second.waiters);
    flights_.erase(flight);
  }
  const AuthReply reply{std::move(answer), std::nullopt, false, false};
  for (const Waiter& waiter : waiters) waiter(reply);
}

void AuthCache::failed(const AuthQuestion& question, const protocol::ProtocolError& error, bool source_is_down,
                       int64_t now_us) {
  const std::string key = key_of(question);
  std::vector<Waiter> waiters;
  AuthReply reply;
  {
    const std::lock_guard lock(mutex_);
    if (source_is_down) source(question.source).down_until_us = now_us + kDownUs;
    const auto flight = flights_.find(key);
    if (flight == flights_.end()) return;
    if (const Entry* stale = find_stale(key, flight->second.terms, now_us)) {
      reply = stale_reply(*stale, now_us);
    } else {
      reply.error = error;
    }
    waiters = std::move(flight->second.waiters);
    flights_.erase(flight);
  }
  for (const Waiter& waiter : waiters) waiter(reply);
}

bool AuthCache::can_do_without(const AuthQuestion& question, int64_t now_us) const {
  const std::string key = key_of(question);
  const std::lock_guard lock(mutex_);
  const auto flight = flights_.find(key);
  return flight != flights_.end() && find_stale(key, flight->second.terms, now_us) != nullptr;
}

bool AuthCache::doubt(const AuthQuestion& question, int64_t now_us) {
  const std::lock_guard lock(mutex_);
  const auto at = entries_.find(key_of(question));
  if (at == entries_.end()) return true;
  Entry& entry = *at->second;
  if (now_us - entry.answered_at_us < kDoubtAfterUs) return false;
  entry.doubted = true;
  return true;
}

void AuthCache::forget_all() {
  const std::lock_guard lock(mutex_);
  entries_.clear();
  users_.clear();
  unknown_.clear();
  for (auto& [key, flight] : flights_) flight.outdated = true;
}

bool AuthCache::prefers_scram(const std::string& source) const {
  const std::lock_guard lock(mutex_);
  const auto at = sources_.find(source);
  return at == sources_.end() || at->second.scram;
}

size_t AuthCache::size() const {
  const std::lock_guard lock(mutex_);
  return entries_.size();
}

}  // namespace bezel::pool
