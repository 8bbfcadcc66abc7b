#include <fmt/format.h>

#include <array>

#include "admin/commands.h"

namespace bezel::admin {

namespace {

using enum ColumnType;

/// One figure of the statistics, with its names in the four commands that show it. PgBouncer names bytes differently in
/// each, and so must we.
struct Figure {
  std::string_view total_column, average_column;              ///< SHOW STATS
  std::string_view plain_total_column, plain_average_column;  ///< SHOW STATS_TOTALS, SHOW STATS_AVERAGES
  std::string_view total_name;                                ///< SHOW TOTALS, after "total_" and "avg_"
  uint64_t pool::Totals::*total;
  uint64_t Averages::*average;
};

constexpr std::array kFigures{
    Figure{"total_server_assignment_count", "avg_server_assignment_count", "server_assignment_count",
           "server_assignment_count", "server_assignment_count", &pool::Totals::server_assignments,
           &Averages::server_assignments},
    Figure{"total_xact_count", "avg_xact_count", "xact_count", "xact_count", "xact_count", &pool::Totals::transactions,
           &Averages::transactions},
    Figure{"total_query_count", "avg_query_count", "query_count", "query_count", "query_count", &pool::Totals::queries,
           &Averages::queries},
    Figure{"total_received", "avg_recv", "bytes_received", "bytes_received", "client_bytes",
           &pool::Totals::received_bytes, &Averages::received_bytes},
    Figure{"total_sent", "avg_sent", "bytes_sent", "bytes_sent", "server_bytes", &pool::Totals::sent_bytes,
           &Averages::sent_bytes},
    Figure{"total_xact_time", "avg_xact_time", "xact_time", "xact_time", "xact_time",
           &pool::Totals::transaction_time_us, &Averages::transaction_time_us},
    Figure{"total_query_time", "avg_query_time", "query_time", "query_time", "query_time", &pool::Totals::query_time_us,
           &Averages::query_time_us},
    Figure{"total_wait_time", "avg_wait_time", "wait_time", "wait_time", "wait_time", &pool::Totals::wait_time_us,
           &Averages::wait_time_us},
    Figure{"total_client_parse_count", "avg_client_parse_count", "client_parse_count", "avg_client_parse_count",
           "ps_client_parse_count", &pool::Totals::client_parses, &Averages::client_parses},
    Figure{"total_server_parse_count", "avg_server_parse_count", "server_parse_count", "avg_server_parse_count",
           "ps_server_parse_count", &pool::Totals::server_parses, &Averages::server_parses},
    Figure{"total_bind_count", "avg_bind_count", "bind_count", "avg_bind_count", "ps_bind_count", &pool::Totals::binds,
           &Averages::binds},
};
constexpr size_t kFigureCount = kFigures.size();

template <size_t kSize>
using Columns = std::array<Column, kSize>;

constexpr Columns<1 + 2 * kFigureCount> stats_columns() {
  Columns<1 + 2 * kFigureCount> columns{Column{"database"}};
  for (size_t i = 0; i < kFigureCount; i++) {
    columns[1 + i] = {kFigures[i].total_column, numeric};
    columns[1 + kFigureCount + i] = {kFigures[i].average_column, numeric};
  }
  return columns;
}

constexpr Columns<1 + kFigureCount> plain_columns(std::string_view Figure::*name) {
  Columns<1 + kFigureCount> columns{Column{"database"}};
  for (size_t i = 0; i < kFigureCount; i++) columns[1 + i] = {kFigures[i].*name, numeric};
  return columns;
}

constexpr auto kStatsColumns = stats_columns();
constexpr auto kTotalsColumns = plain_columns(&Figure::plain_total_column);
constexpr auto kAveragesColumns = plain_columns(&Figure::plain_average_column);
constexpr Column kSumColumns[] = {{"name"}, {"value", numeric}};

void write_totals(ResultRows& rows, const DatabaseStats& stats) {
  for (const Figure& figure : kFigures) rows.number(static_cast<int64_t>(stats.totals.*figure.total));
}

void write_averages(ResultRows& rows, const DatabaseStats& stats) {
  for (const Figure& figure : kFigures) rows.number(static_cast<int64_t>(stats.averages.*figure.average));
}

void run_by_database(const CallPtr& call, bool totals, bool averages) {
  for (const auto& [name, stats] : call->console.sampler().databases(call->console.now_us())) {
    call->rows.text(name);
    if (totals) write_totals(call->rows, stats);
    if (averages) write_averages(call->rows, stats);
  }
  call->finish("SHOW");
}

void run_sums(const CallPtr& call) {
  const DatabaseStats all = call->console.sampler().all(call->console.now_us());
  for (const Figure& figure : kFigures)
    call->rows.text(fmt::format("total_{}", figure.total_name)).number(static_cast<int64_t>(all.totals.*figure.total));
  for (const Figure& figure : kFigures)
    call->rows.text(fmt::format("avg_{}", figure.total_name))
        .number(static_cast<int64_t>(all.averages.*figure.average));
  call->finish("SHOW");
}

}  // namespace

constexpr Command kShowStats{
    .name = "stats", .role = pool::ConsoleRole::stats, .columns = kStatsColumns, .run = [](const CallPtr& call) {
      run_by_database(call, true, true);
    }};
constexpr Command kShowStatsTotals{.name = "stats_totals",
                                   .role = pool::ConsoleRole::stats,
                                   .columns = kTotalsColumns,
                                   .run = [](const CallPtr& call) { run_by_database(call, true, false); }};
constexpr Command kShowStatsAverages{.name = "stats_averages",
                                     .role = pool::ConsoleRole::stats,
                                     .columns = kAveragesColumns,
                                     .run = [](const CallPtr& call) { run_by_database(call, false, true); }};
constexpr Command kShowTotals{
    .name = "totals", .role = pool::ConsoleRole::stats, .columns = kSumColumns, .run = run_sums};

}  // namespace bezel::admin
