#include "src/dns/resolv_conf.h"

#include <algorithm>
#include <charconv>
#include <optional>

#include "src/dns/words.h"

namespace bezel::dns {
namespace {

constexpr uint16_t kDnsPort = 53;
// libc's limits.
constexpr int kNdotsMax = 15;
constexpr int kTimeoutMaxS = 30;
constexpr int kAttemptsMax = 5;

std::optional<int> number(std::string_view text) {
  int value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size() || value < 0) return std::nullopt;
  return value;
}

std::optional<net::SocketAddress> server_address(std::string_view text) {
  // c-ares takes no scope, which link-local addresses need.
  if (text.find('%') != std::string_view::npos) return std::nullopt;
  if (const auto plain = net::SocketAddress::from_literal(text, kDnsPort)) return plain;
  const size_t colon = text.rfind(':');
  if (colon == std::string_view::npos) return std::nullopt;
  const auto port = number(text.substr(colon + 1));
  if (!port || *port < 1 || *port > UINT16_MAX) return std::nullopt;
  return net::SocketAddress::from_literal(text.substr(0, colon), static_cast<uint16_t>(*port));
}

void read_option(std::string_view option, ResolvConf& conf) {
  const size_t colon = option.find(':');
  const std::string_view name = option.substr(0, colon);
  if (name == "rotate") conf.rotate = true;
  if (name == "use-vc") conf.use_tcp = true;
  if (colon == std::string_view::npos) return;
  const auto value = number(option.substr(colon + 1));
  if (!value) return;
  if (name == "ndots") conf.ndots = std::min(*value, kNdotsMax);
  if (name == "timeout") conf.timeout_ms = std::clamp(*value, 1, kTimeoutMaxS) * 1000;
  if (name == "attempts") conf.attempts = std::clamp(*value, 1, kAttemptsMax);
}

void add_domain(std::string_view domain, ResolvConf& conf) {
  while (!domain.empty() && domain.back() == '.') domain.remove_suffix(1);
  if (!domain.empty() && conf.search.size() < ResolvConf::kSearchMax) conf.search.emplace_back(domain);
}

void read_line(std::string_view line, ResolvConf& conf, bool& names_domains) {
  line = line.substr(0, line.find_first_of("#;"));
  const std::string_view key = next_word(line);
  if (key == "nameserver") {
    const auto server = server_address(next_word(line));
    if (server && conf.servers.size() < ResolvConf::kServersMax) conf.servers.push_back(*server);
  } else if (key == "search" || key == "domain") {
    // The last such line holds.
    names_domains = true;
    conf.search.clear();
    do {
      add_domain(next_word(line), conf);
    } while (key == "search" && !line.empty());
  } else if (key == "options") {
    while (!line.empty()) read_option(next_word(line), conf);
  }
}

}  // namespace

ResolvConf ResolvConf::parse(std::string_view text, std::string_view host_name) {
  ResolvConf conf;
  bool names_domains = false;
  while (!text.empty()) read_line(next_line(text), conf, names_domains);
  const size_t dot = host_name.find('.');
  if (!names_domains && dot != std::string_view::npos) add_domain(host_name.substr(dot + 1), conf);
  if (conf.servers.empty()) conf.servers.push_back(*net::SocketAddress::from_literal("127.0.0.1", kDnsPort));
  return conf;
}

std::vector<std::string> ResolvConf::candidates(std::string_view name) const {
  if (!name.empty() && name.back() == '.') return {std::string(name.substr(0, name.size() - 1))};
  std::vector<std::string> names;
  const bool as_it_is_first = std::count(name.begin(), name.end(), '.') >= ndots;
  if (as_it_is_first) names.emplace_back(name);
  for (const std::string& domain : search) names.push_back(std::string(name) + "." + domain);
  if (!as_it_is_first) names.emplace_back(name);
  return names;
}

}  // namespace bezel::dns
