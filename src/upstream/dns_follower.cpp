#include "src/upstream/dns_follower.h"

#include <fmt/format.h>

#include <algorithm>
#include <limits>
#include <set>
#include <utility>

namespace bezel::upstream {
namespace {

constexpr int64_t kNever = std::numeric_limits<int64_t>::max();

std::string member_name(const pool::HostAddress& address) {
  const bool is_plain_ipv6 = address.host.find(':') != std::string::npos && address.host.front() != '[';
  if (is_plain_ipv6 && address.host.front() != '/') return fmt::format("[{}]:{}", address.host, address.port);
  return fmt::format("{}:{}", address.host, address.port);
}

/// Sockets' folders and addresses in figures stand for themselves.
bool needs_no_lookup(const std::string& host) {
  return host.starts_with('/') || net::SocketAddress::from_literal(host, 0).has_value();
}

}  // namespace

/// One of the hosts. A name has one target, itself; SRV records have theirs.
struct DnsFollower::Name {
  enum class Kind : uint8_t { fixed, addresses, services };
  struct Found {
    std::vector<dns::Service> services;
    std::map<std::string, std::vector<net::SocketAddress>> targets = {};

    bool is_empty() const {
      return std::all_of(targets.begin(), targets.end(), [](const auto& target) { return target.second.empty(); });
    }
  };

  pool::HostAddress host;
  Kind kind;
  Found known = {};
  Found coming = {};  ///< of the lookup under way; what was known of the same targets among it
  bool running = false;
  size_t targets_left = 0;
  int64_t began_at_us = 0;
  int64_t look_again_us = 0;  ///< after that time; of the lookup under way, or the last one
  int64_t due_at_us = 0;

  static Name of(const pool::HostAddress& host) {
    if (needs_no_lookup(host.host)) return {host, Kind::fixed};
    if (host.port == 0) return {host, Kind::services};
    return {host, Kind::addresses, {{{host.host, host.port, 0, 0}}}};
  }
};

DnsFollower::DnsFollower(uv_loop_t* loop, const pool::UpstreamSettings& settings, Observer& observer, LogFunction log)
    : loop_(loop),
      timer_(new uv_timer_t),
      settings_(settings),
      observer_(observer),
      log_(std::move(log)),
      client_(loop) {
  uv_timer_init(loop, timer_);
  timer_->data = this;
  for (const pool::HostAddress& host : settings.hosts) names_.push_back(Name::of(host));
}

DnsFollower::~DnsFollower() {
  *alive_ = false;
  uv_close(reinterpret_cast<uv_handle_t*>(timer_),
           [](uv_handle_t* handle) { delete reinterpret_cast<uv_timer_t*>(handle); });
}

void DnsFollower::start() {
  started_ = true;
  for (Name& name : names_) {
    name.due_at_us = now_us();
    if (name.kind == Name::Kind::fixed) answered_ = true;
  }
  tell_at_us_ = now_us() + kRoundPatienceUs;
  arm_timer();
}

void DnsFollower::set_changing(bool changing) {
  if (changing && !changing_) {
    for (Name& name : names_) name.due_at_us = now_us();
  }
  changing_ = changing;
  if (started_) arm_timer();
}

void DnsFollower::switch_over(const std::string&, const std::string&, std::function<void(std::string)> done) {
  done("the primary can only be switched over where Patroni is asked for it (upstream: {source: patroni})");
}

int64_t DnsFollower::due_us(const Name& name) const {
  if (name.kind == Name::Kind::fixed || name.running) return kNever;
  return changing_ ? std::min(name.due_at_us, name.began_at_us + kChangingIntervalUs) : name.due_at_us;
}

void DnsFollower::arm_timer() {
  int64_t next_us = kNever;
  for (const Name& name : names_) next_us = std::min(next_us, due_us(name));
  if (answered_ || !errors_.empty()) next_us = std::min(next_us, running_ > 0 ? tell_at_us_ : now_us());
  if (next_us == kNever) {
    uv_timer_stop(timer_);
    return;
  }
  const int64_t delay_us = std::max<int64_t>(0, next_us - now_us());
  uv_timer_start(
      timer_, [](uv_timer_t* timer) { static_cast<DnsFollower*>(timer->data)->tick(); },
      static_cast<uint64_t>((delay_us + 999) / 1000), 0);
}

void DnsFollower::tick() {
  const int64_t now = now_us();
  for (Name& name : names_) {
    if (due_us(name) <= now) look_up(name);
  }
  if (running_ == 0 || now >= tell_at_us_) return tell();
  arm_timer();
}

void DnsFollower::look_up(Name& name) {
  if (running_++ == 0) tell_at_us_ = now_us() + kRoundPatienceUs;
  name.running = true;
  name.began_at_us = now_us();
  name.look_again_us = settings_.dns_max_ttl_us;
  const dns::Sources sources{.resolv_conf = settings_.resolv_conf};
  if (name.kind == Name::Kind::services) {
    client_.find_services(sources, name.host.host,
                          [this, &name](const dns::Answer& answer) { take_services(name, answer); });
    return;
  }
  name.coming = name.known;
  name.targets_left = 1;
  client_.find_addresses(sources, name.host.host,
                         [this, &name](const dns::Answer& answer) { take_addresses(name, name.host.host, answer); });
}

void DnsFollower::take_services(Name& name, const dns::Answer& answer) {
  note(name, name.host.host, answer);
  if (answer.failure != dns::Answer::Failure::none) return conclude(name);
  name.coming = {.services = answer.services};
  for (const dns::Service& service : answer.services) {
    const auto found = name.known.targets.find(service.target);
    auto& addresses = name.coming.targets[service.target];
    if (found != name.known.targets.end()) addresses = found->second;
  }
  name.targets_left = name.coming.targets.size();
  for (const auto& [target, addresses] : name.coming.targets) {
    client_.find_addresses(
        {.resolv_conf = settings_.resolv_conf}, target,
        [this, &name, target = target](const dns::Answer& found) { take_addresses(name, target, found); });
  }
}

void DnsFollower::take_addresses(Name& name, const std::string& target, const dns::Answer& answer) {
  note(name, target, answer);
  if (answer.failure == dns::Answer::Failure::none) {
    answered_ = true;
    name.coming.targets[target] = answer.addresses;
  }
  if (--name.targets_left == 0) conclude(name);
}

void DnsFollower::note(Name& name, const std::string& asked, const dns::Answer& answer) {
  int64_t again_us = settings_.dns_max_ttl_us;
  switch (answer.failure) {
    case dns::Answer::Failure::none:
      if (answer.ttl_s != dns::Answer::kNoTtl) again_us = int64_t{answer.ttl_s} * 1'000'000;
      break;
    case dns::Answer::Failure::final:
      again_us = settings_.dns_nxdomain_ttl_us;
      break;
    case dns::Answer::Failure::passing:
      again_us = settings_.dns_min_ttl_us;
      break;
  }
  name.look_again_us = std::min(name.look_again_us, again_us);
  if (answer.failure == dns::Answer::Failure::none) return;
  errors_ += fmt::format("{}could not resolve \"{}\": {}", errors_.empty() ? "" : "; ", asked, answer.error);
}

void DnsFollower::conclude(Name& name) {
  name.running = false;
  running_--;
  name.due_at_us = now_us() + std::max(name.look_again_us, settings_.dns_min_ttl_us);
  // Targets of which nobody knows an address do not take the place of those that have some.
  if (!name.coming.is_empty()) name.known = std::move(name.coming);
  name.coming = {};
  if (running_ == 0 || now_us() >= tell_at_us_) return tell();
  arm_timer();
}

void DnsFollower::tell() {
  const bool answered = std::exchange(answered_, false);
  const std::string errors = std::exchange(errors_, {});
  arm_timer();
  // From here on the observer may destroy this.
  const std::shared_ptr<bool> alive = alive_;
  if (!errors.empty()) observer_.on_silence(errors);
  if (*alive && answered) observer_.on_membership(membership());
}

pool::Membership DnsFollower::membership() {
  pool::Membership result;
  std::set<std::string> taken;
  bool is_cut = false;
  const auto add = [&](const pool::HostAddress& address) {
    std::string its_name = member_name(address);
    if (!taken.insert(its_name).second) return;
    is_cut |= result.members.size() == kMembersMax;
    if (!is_cut) result.members.push_back({std::move(its_name), address});
  };
  for (const Name& name : names_) {
    if (name.kind == Name::Kind::fixed) add(name.host);
    for (const dns::Service& service : name.known.services) {
      const auto found = name.known.targets.find(service.target);
      if (found == name.known.targets.end()) continue;
      for (const net::SocketAddress& address : found->second) add({address.host_text(), service.port});
    }
  }
  if (is_cut && !is_cut_) {
    log_(pool::LogLevel::warning,
         fmt::format("the names of an upstream have more than {} addresses: the others are left out", kMembersMax));
  }
  is_cut_ = is_cut;
  return result;
}

}  // namespace bezel::upstream
