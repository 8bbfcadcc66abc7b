#include <fmt/format.h>

#include <chrono>

#include "admin/commands.h"
#include "admin/wall_time.h"

namespace bezel::admin {

namespace {

constexpr Column kMemberColumns[] = {{"database"},
                                     {"source"},
                                     {"member"},
                                     {"host"},
                                     {"port", ColumnType::int4},
                                     {"role"},
                                     {"said"},
                                     {"serves"},
                                     {"state"},
                                     {"timeline", ColumnType::int8},
                                     {"lag", ColumnType::int8},
                                     {"servers", ColumnType::int4},
                                     {"upstream"},
                                     {"since"},
                                     {"why"},
                                     {"remark"}};

constexpr Column kFailoverColumns[] = {{"id", ColumnType::int8},
                                       {"database"},
                                       {"began"},
                                       {"duration_ms", ColumnType::int8},
                                       {"from"},
                                       {"to"},
                                       {"timeline", ColumnType::int8},
                                       {"reason"},
                                       {"held", ColumnType::int8},
                                       {"replayed", ColumnType::int8},
                                       {"failed", ColumnType::int8},
                                       {"in_doubt", ColumnType::int8}};

std::string_view source_name(pool::UpstreamSource source) {
  switch (source) {
    case pool::UpstreamSource::fixed:
      return "static";
    case pool::UpstreamSource::dns:
      return "dns";
    case pool::UpstreamSource::patroni:
      return "patroni";
    case pool::UpstreamSource::kubernetes:
      return "kubernetes";
  }
  return "";
}

std::string_view role_name(pool::MemberRole role) {
  switch (role) {
    case pool::MemberRole::unknown:
      return "";
    case pool::MemberRole::primary:
      return "primary";
    case pool::MemberRole::standby_leader:
      return "standby_leader";
    case pool::MemberRole::replica:
      return "replica";
  }
  return "";
}

std::optional<std::string> unless_empty(std::string_view text) {
  return text.empty() ? std::nullopt : std::optional<std::string>(text);
}

template <typename Number>
void number_or_null(ResultRows& rows, const std::optional<Number>& number) {
  if (number) {
    rows.number(static_cast<int64_t>(*number));
  } else {
    rows.null();
  }
}

/// What else there is to know of the cluster.
std::string remark(const pool::UpstreamRow& upstream) {
  if (!upstream.source_answers) return "no answer from the source: " + upstream.silence;
  if (upstream.scheduled) {
    return fmt::format("switchover {}at {}", upstream.scheduled->to.empty() ? "" : "to " + upstream.scheduled->to + " ",
                       wall_time(upstream.scheduled->at_wall_us));
  }
  return upstream.paused ? "Patroni is paused: no automatic failover" : "";
}

void run_members(const CallPtr& call) {
  for (const pool::UpstreamRow& upstream : call->console.fleet().upstreams()) {
    for (const pool::MemberRow& row : upstream.members) {
      const pool::Member& member = row.member;
      call->rows.text(upstream.databases).text(source_name(upstream.source)).text(member.name);
      call->rows.text(member.address.host).number(member.address.port);
      call->rows.text_or_null(unless_empty(role_name(member.role))).text_or_null(unless_empty(row.said));
      call->rows.text(row.is_primary ? "yes" : "no").text_or_null(unless_empty(member.state));
      number_or_null(call->rows, row.is_primary ? upstream.timeline : member.timeline);
      number_or_null(call->rows, member.lag_bytes);
      call->rows.number(row.servers).text(upstream.state);
      call->rows.text_or_null(upstream.since_wall_us == 0 ? std::nullopt
                                                          : std::optional(wall_time(upstream.since_wall_us)));
      call->rows.text_or_null(unless_empty(upstream.why)).text_or_null(unless_empty(remark(upstream)));
    }
  }
  call->finish("SHOW");
}

void run_failovers(const CallPtr& call) {
  for (const pool::UpstreamRow& upstream : call->console.fleet().upstreams()) {
    for (const pool::Failover& failover : upstream.failovers) {
      call->rows.number(static_cast<int64_t>(failover.number)).text(upstream.databases);
      call->rows.text(wall_time(failover.began_wall_us));
      if (failover.ended_us == 0) {
        call->rows.null();
      } else {
        call->rows.number((failover.ended_us - failover.began_us) / 1000);
      }
      call->rows.text_or_null(unless_empty(failover.from)).text_or_null(unless_empty(failover.to));
      number_or_null(call->rows, failover.timeline);
      call->rows.text(failover.reason);
      for (const uint64_t count : {failover.held, failover.replayed, failover.failed_transactions, failover.in_doubt}) {
        call->rows.number(static_cast<int64_t>(count));
      }
    }
  }
  call->finish("SHOW");
}

}  // namespace

constexpr Command kShowUpstream{
    .name = "upstream", .role = pool::ConsoleRole::stats, .columns = kMemberColumns, .run = run_members};
constexpr Command kShowFailovers{
    .name = "failovers", .role = pool::ConsoleRole::stats, .columns = kFailoverColumns, .run = run_failovers};

}  // namespace bezel::admin
