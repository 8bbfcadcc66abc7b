#include "src/dns/hosts_file.h"

#include <strings.h>

#include "src/dns/reply.h"
#include "src/dns/words.h"

namespace bezel::dns {
namespace {

constexpr std::string_view kLocalhost = "localhost";

bool same_name(std::string_view a, std::string_view b) {
  return a.size() == b.size() && ::strncasecmp(a.data(), b.data(), a.size()) == 0;
}

bool is_localhost(std::string_view name) {
  if (same_name(name, kLocalhost)) return true;
  if (name.size() <= kLocalhost.size()) return false;
  const std::string_view end = name.substr(name.size() - kLocalhost.size());
  return same_name(end, kLocalhost) && name[name.size() - kLocalhost.size() - 1] == '.';
}

void read_line(std::string_view line, std::string_view name, Answer& answer) {
  line = line.substr(0, line.find('#'));
  const std::string_view address_text = next_word(line);
  while (!line.empty()) {
    if (!same_name(next_word(line), name)) continue;
    const auto address = net::SocketAddress::from_literal(address_text, 0);
    if (address) answer.addresses.push_back(*address);
    return;
  }
}

}  // namespace

std::optional<Answer> find_in_hosts(std::string_view hosts_text, std::string_view name) {
  if (!name.empty() && name.back() == '.') name.remove_suffix(1);
  if (name.empty()) return std::nullopt;
  Answer answer;
  while (!hosts_text.empty()) read_line(next_line(hosts_text), name, answer);
  if (answer.addresses.empty() && is_localhost(name)) {
    for (const char* loopback : {"127.0.0.1", "::1"}) {
      answer.addresses.push_back(*net::SocketAddress::from_literal(loopback, 0));
    }
  }
  if (answer.addresses.empty()) return std::nullopt;
  put_in_order(answer);
  return answer;
}

}  // namespace bezel::dns
