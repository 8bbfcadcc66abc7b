#include <fmt/ranges.h>

#include "admin/commands.h"

namespace bezel::admin {

namespace {

constexpr Column kHostColumns[] = {{"hostname"}, {"ttl", ColumnType::int8}, {"addrs"}};

void run_hosts(const CallPtr& call) {
  const auto hosts = call->console.program().resolved_hosts();
  if (!hosts)
    return call->fail(
        {"SHOW DNS_HOSTS is not supported", protocol::sqlstate::kFeatureNotSupported, "The resolver keeps no names."});
  for (const ResolvedHost& host : *hosts)
    call->rows.text(host.name).number(host.ttl_us / 1'000'000).text(fmt::format("{}", fmt::join(host.addresses, ",")));
  call->finish("SHOW");
}

void run_zones(const CallPtr& call) {
  call->fail({"SHOW DNS_ZONES is not supported", protocol::sqlstate::kFeatureNotSupported,
              "Zones are not watched; names are looked up again when their time is over."});
}

}  // namespace

constexpr Command kShowDnsHosts{
    .name = "dns_hosts", .role = pool::ConsoleRole::stats, .columns = kHostColumns, .run = run_hosts};
constexpr Command kShowDnsZones{.name = "dns_zones", .role = pool::ConsoleRole::stats, .run = run_zones};

}  // namespace bezel::admin
