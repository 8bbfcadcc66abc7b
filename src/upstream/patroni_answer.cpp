#include "src/upstream/patroni_answer.h"

#include <charconv>
#include <chrono>
#include <limits>
#include <set>

#include "src/upstream/base_url.h"
#include "src/upstream/json_fields.h"

namespace bezel::upstream {

namespace {

constexpr size_t kNameBytesMax = 255;
constexpr size_t kStateBytesMax = 64;
constexpr size_t kUrlBytesMax = 512;
constexpr size_t kTimeBytesMax = 64;

pool::MemberRole role_of(const std::string& role) {
  // "promoted" holds the lock too, before it has left recovery (after 4.1).
  if (role == "leader" || role == "promoted" || role == "master" || role == "primary") return pool::MemberRole::primary;
  if (role == "standby_leader") return pool::MemberRole::standby_leader;
  return pool::MemberRole::replica;
}

/// The lag in bytes, or the word "unknown".
bool read_lag(const Json& object, std::optional<uint64_t>& lag_bytes) {
  const Json* const found = find_member(object, "lag");
  if (found != nullptr && found->is_string()) return *found == "unknown";
  return read_number(object, "lag", std::numeric_limits<uint64_t>::max(), lag_bytes);
}

/// Reads one of `members`. Returns what is wrong with it, or null.
const char* read_member(const Json& object, pool::Member& member, std::string& api_url) {
  if (!object.is_object()) return "a member is not an object";
  if (!read_text(object, "name", kNameBytesMax, member.name) || member.name.empty()) return "a member's name";
  std::string role;
  if (!read_text(object, "role", kStateBytesMax, role) || role.empty()) return "a member's role";
  member.role = role_of(role);
  if (!read_text(object, "state", kStateBytesMax, member.state)) return "a member's state";
  if (!read_text(object, "api_url", kUrlBytesMax, api_url)) return "a member's api_url";

  std::optional<uint64_t> port = 5432, timeline;
  if (!read_text(object, "host", kNameBytesMax, member.address.host)) return "a member's host";
  if (!member.address.host.empty() && !is_network_host(member.address.host)) return "a member's host";
  if (!read_number(object, "port", 65535, port) || port == 0U) return "a member's port";
  member.address.port = static_cast<uint16_t>(*port);
  if (!read_number(object, "timeline", std::numeric_limits<uint32_t>::max(), timeline)) return "a member's timeline";
  if (timeline) member.timeline = static_cast<uint32_t>(*timeline);
  if (!read_lag(object, member.lag_bytes)) return "a member's lag";

  const Json* const tags = find_member(object, "tags");
  if (tags != nullptr && !tags->is_object()) return "a member's tags";
  const Json* const no_reads = tags != nullptr ? find_member(*tags, "noloadbalance") : nullptr;
  member.takes_reads =
      patroni_state_takes_reads(member.state) && (no_reads == nullptr || !is_true_in_python(*no_reads));
  return nullptr;
}

const char* read_members(const Json& members, PatroniCluster& cluster) {
  if (!members.is_array()) return "members is not an array";
  if (members.size() > kMembersMax) return "too many members";
  std::set<std::string> names;
  for (const Json& one : members) {
    pool::Member member;
    std::string api_url;
    if (const char* const wrong = read_member(one, member, api_url)) return wrong;
    if (!names.insert(member.name).second) return "two members have one name";
    if (!api_url.empty()) {
      auto base_url = base_url_of(api_url);
      if (!base_url) return "a member's api_url";
      cluster.apis.push_back({member.name, std::move(*base_url)});
    }
    if (!member.address.host.empty()) cluster.membership.members.push_back(std::move(member));
  }
  return nullptr;
}

/// One whose time cannot be read is left out: it is no reason not to believe the rest.
const char* read_scheduled(const Json& object, std::optional<pool::ScheduledSwitchover>& scheduled) {
  if (!object.is_object()) return "scheduled_switchover";
  pool::ScheduledSwitchover found;
  std::string at;
  if (!read_text(object, "at", kTimeBytesMax, at) || !read_text(object, "from", kNameBytesMax, found.from) ||
      !read_text(object, "to", kNameBytesMax, found.to)) {
    return "scheduled_switchover";
  }
  if (const auto at_wall_us = parse_patroni_time(at)) {
    found.at_wall_us = *at_wall_us;
    scheduled = std::move(found);
  }
  return nullptr;
}

const char* read_cluster(const Json& object, PatroniCluster& cluster) {
  const Json* const members = find_member(object, "members");
  if (members == nullptr) return "it has no members";
  if (const char* const wrong = read_members(*members, cluster)) return wrong;
  if (!read_flag(object, "pause", cluster.membership.paused)) return "pause";
  if (!read_text(object, "scope", kNameBytesMax, cluster.scope)) return "scope";
  const Json* const scheduled = find_member(object, "scheduled_switchover");
  return scheduled != nullptr ? read_scheduled(*scheduled, cluster.membership.scheduled) : nullptr;
}

/// Digits from `at` on, exactly so many; then what follows must be `next` (0: anything).
bool take_digits(std::string_view text, size_t& at, size_t digits, int& number, char next = 0) {
  if (text.size() < at + digits) return false;
  const char* const begin = text.data() + at;
  const auto [end, error] = std::from_chars(begin, begin + digits, number);
  if (error != std::errc() || end != begin + digits || *begin == '-') return false;
  at += digits;
  if (next == 0) return true;
  return at < text.size() && text[at++] == next;
}

/// ".5", up to microseconds; what is finer is cut.
bool take_fraction(std::string_view text, size_t& at, int64_t& fraction_us) {
  if (at >= text.size() || text[at] != '.') return true;
  const size_t begin = ++at;
  int64_t worth_us = 100'000;
  for (; at < text.size() && text[at] >= '0' && text[at] <= '9'; at++) {
    fraction_us += (text[at] - '0') * worth_us;
    worth_us /= 10;
  }
  return at > begin;
}

/// "Z", "+01:00" or "-03:30:15", to the end.
bool take_offset(std::string_view text, size_t at, int64_t& offset_s) {
  if (text.substr(at) == "Z") return true;
  if (at >= text.size() || (text[at] != '+' && text[at] != '-')) return false;
  const int sign = text[at++] == '-' ? -1 : 1;
  int hours = 0, minutes = 0, seconds = 0;
  if (!take_digits(text, at, 2, hours, ':') || !take_digits(text, at, 2, minutes)) return false;
  if (at < text.size() && (text[at++] != ':' || !take_digits(text, at, 2, seconds))) return false;
  offset_s = sign * (hours * 3600 + minutes * 60 + seconds);
  return at == text.size() && hours < 24 && minutes < 60 && seconds < 60;
}

}  // namespace

std::optional<PatroniCluster> parse_patroni_cluster(std::string_view body, std::string& problem) {
  const std::optional<Json> object = parse_object(body);
  if (!object) {
    problem = "not an answer of Patroni: not a JSON object";
    return std::nullopt;
  }
  PatroniCluster cluster;
  if (const char* const wrong = read_cluster(*object, cluster)) {
    problem = std::string("not an answer of Patroni: ") + wrong;
    return std::nullopt;
  }
  return cluster;
}

bool patroni_state_takes_reads(std::string_view state) {
  return state == "running" || state == "streaming" || state == "in archive recovery";
}

std::optional<int64_t> parse_patroni_time(std::string_view text) {
  size_t at = 0;
  int year = 0, month = 0, day = 0, hour = 0, minute = 0, second = 0;
  int64_t fraction_us = 0, offset_s = 0;
  if (!take_digits(text, at, 4, year, '-') || !take_digits(text, at, 2, month, '-') || !take_digits(text, at, 2, day)) {
    return std::nullopt;
  }
  if (at >= text.size() || (text[at] != 'T' && text[at] != ' ')) return std::nullopt;
  at++;
  if (!take_digits(text, at, 2, hour, ':') || !take_digits(text, at, 2, minute, ':') ||
      !take_digits(text, at, 2, second) || !take_fraction(text, at, fraction_us) || !take_offset(text, at, offset_s)) {
    return std::nullopt;
  }
  const std::chrono::year_month_day date{std::chrono::year(year), std::chrono::month(static_cast<unsigned>(month)),
                                         std::chrono::day(static_cast<unsigned>(day))};
  if (!date.ok() || hour > 23 || minute > 59 || second > 60) return std::nullopt;
  const int64_t days = std::chrono::sys_days(date).time_since_epoch().count();
  const int64_t seconds = days * 86'400 + hour * 3600 + minute * 60 + second - offset_s;
  return seconds * 1'000'000 + fraction_us;
}

}  // namespace bezel::upstream
