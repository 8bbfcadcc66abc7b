#include <fmt/format.h>

#include <algorithm>
#include <ctime>
#include <tuple>

#include "admin/commands.h"
#include "admin/connection_lists.h"
#include "admin/wall_time.h"

// SHOW CLIENTS, SERVERS, SOCKETS and ACTIVE_SOCKETS: one row a connection.

namespace bezel::admin {

namespace {

using enum ColumnType;
constexpr Column kSocketColumns[] = {{"type"},
                                     {"user"},
                                     {"database"},
                                     {"replication"},
                                     {"state"},
                                     {"addr"},
                                     {"port", int4},
                                     {"local_addr"},
                                     {"local_port", int4},
                                     {"connect_time"},
                                     {"request_time"},
                                     {"wait", int4},
                                     {"wait_us", int4},
                                     {"close_needed", int4},
                                     {"ptr"},
                                     {"link"},
                                     {"remote_pid", int4},
                                     {"tls"},
                                     {"application_name"},
                                     {"prepared_statements", int4},
                                     {"id", int4},
                                     // SHOW SOCKETS has these too:
                                     {"recv_pos", int4},
                                     {"pkt_pos", int4},
                                     {"pkt_remain", int4},
                                     {"send_pos", int4},
                                     {"send_remain", int4},
                                     {"pkt_avail", int4},
                                     {"send_avail", int4},
                                     // Not PgBouncer's:
                                     {"ktls", int4}};
constexpr size_t kConnectionColumnCount = 21;
constexpr std::span<const Column> kConnectionColumns = std::span(kSocketColumns).first<kConnectionColumnCount>();

using ConnectionRows = std::vector<pool::ConnectionRow>;

/// PgBouncer shows addresses of its objects; ours are known by their ids.
std::string pointer_text(uint64_t id) {
  return id == 0 ? std::string() : fmt::format("{:#x}", id);
}

void write(ResultRows& rows, const pool::ConnectionRow& row, std::string_view state) {
  rows.text(row.is_server ? "S" : "C");
  rows.text(row.user.empty() ? "(nouser)" : row.user).text(row.database.empty() ? "(nodb)" : row.database);
  rows.text(row.replication).text(state);
  rows.text(row.ends.peer_address).number(row.ends.peer_port);
  rows.text(row.ends.local_address).number(row.ends.local_port);
  rows.text(wall_time(row.connected_at_us));
  rows.text(wall_time(row.request_at_us != 0 ? row.request_at_us : row.connected_at_us));
  rows.number(row.wait_us / 1'000'000).number(row.wait_us % 1'000'000).number(row.close_needed ? 1 : 0);
  rows.text(pointer_text(row.id)).text(pointer_text(row.link)).number(row.remote_pid);
  rows.text(row.tls).text(row.application_name).number(row.prepared_statements);
  rows.number(static_cast<int64_t>(row.id));
}

void write_buffers(ResultRows& rows, const pool::ConnectionRow& row) {
  const auto kept = static_cast<int64_t>(row.buffered_bytes), unsent = static_cast<int64_t>(row.unsent_bytes);
  rows.number(kept).number(0).number(0);  // recv_pos, pkt_pos, pkt_remain
  rows.number(0).number(unsent);          // send_pos, send_remain
  rows.number(kept).number(unsent);       // pkt_avail, send_avail
  rows.number(0);                         // ktls: docs/decisions/0008-no-ktls.md
}

void sort_by_pool(ConnectionRows& rows) {
  std::sort(rows.begin(), rows.end(), [](const pool::ConnectionRow& a, const pool::ConnectionRow& b) {
    return std::tie(a.database, a.user, a.id) < std::tie(b.database, b.user, b.id);
  });
}

/// An active client that is linked to no server has nothing to do.
std::string_view shown_state(const pool::ConnectionRow& row) {
  const bool idle = !row.is_server && row.link == 0 && row.state == "active";
  return idle ? "idle" : std::string_view(row.state);
}

/// SHOW SOCKETS names the lists in which PgBouncer keeps its sockets.
std::string list_name(const pool::ConnectionRow& row) {
  if (row.is_server) return row.state == "new" ? "sv_login" : "sv_" + row.state;
  return row.state == "idle" ? "cl_active" : "cl_" + row.state;
}

void show_one_kind(const CallPtr& call, bool servers) {
  call->console.fleet().list_connections(call->worker, servers, [call](ConnectionRows rows) {
    sort_by_pool(rows);
    for (const pool::ConnectionRow& row : rows)
      if (row.is_server || row.state != "login") write(call->rows, row, shown_state(row));
    call->finish("SHOW");
  });
}

void show_sockets(const CallPtr& call, bool active_only) {
  list_all_connections(call, [call, active_only](ConnectionRows clients, ConnectionRows servers) {
    sort_by_pool(clients);
    sort_by_pool(servers);
    for (const ConnectionRows* list : {&clients, &servers}) {
      for (const pool::ConnectionRow& row : *list) {
        if (active_only && row.buffered_bytes == 0 && row.unsent_bytes == 0) continue;
        write(call->rows, row, list_name(row));
        write_buffers(call->rows, row);
      }
    }
    call->finish("SHOW");
  });
}

}  // namespace

constexpr Command kShowClients{
    .name = "clients", .role = pool::ConsoleRole::stats, .columns = kConnectionColumns, .run = [](const CallPtr& call) {
      show_one_kind(call, false);
    }};
constexpr Command kShowServers{
    .name = "servers", .role = pool::ConsoleRole::stats, .columns = kConnectionColumns, .run = [](const CallPtr& call) {
      show_one_kind(call, true);
    }};
constexpr Command kShowSockets{
    .name = "sockets", .role = pool::ConsoleRole::stats, .columns = kSocketColumns, .run = [](const CallPtr& call) {
      show_sockets(call, false);
    }};
constexpr Command kShowActiveSockets{.name = "active_sockets",
                                     .role = pool::ConsoleRole::stats,
                                     .columns = kSocketColumns,
                                     .run = [](const CallPtr& call) { show_sockets(call, true); }};

}  // namespace bezel::admin
