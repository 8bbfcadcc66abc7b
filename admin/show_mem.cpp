#include <malloc.h>

#include "admin/commands.h"
#include "admin/connection_lists.h"
#include "admin/process_figures.h"

namespace bezel::admin {

namespace {

using enum ColumnType;
constexpr Column kColumns[] = {{"name"}, {"size", int4}, {"used", int4}, {"free", int4}, {"memtotal", int4}};

struct Held {
  uint64_t connections = 0, prepared_statements = 0, buffer_bytes = 0;
};

Held held_by(const std::vector<pool::ConnectionRow>& rows) {
  Held held;
  for (const pool::ConnectionRow& row : rows) {
    held.connections++;
    held.prepared_statements += row.prepared_statements;
    held.buffer_bytes += row.buffered_bytes + row.unsent_bytes;
  }
  return held;
}

void write_all(const CallPtr& call, const Held& clients, const Held& servers) {
  const auto row = [&](std::string_view name, uint64_t size, uint64_t used, uint64_t free, uint64_t total) {
    call->rows.text(name);
    for (const uint64_t value : {size, used, free, total}) call->rows.number(static_cast<int64_t>(value));
  };
  const ProcessFigures process = process_figures();
  const struct mallinfo2 heap = mallinfo2();
  row("resident", process.page_bytes, process.resident_bytes / process.page_bytes, 0, process.resident_bytes);
  row("heap", 1, heap.uordblks, heap.fordblks, heap.arena);
  row("heap_mapped", 1, heap.hblkhd, 0, heap.hblkhd);
  row("clients", 0, clients.connections, 0, clients.buffer_bytes);
  row("servers", 0, servers.connections, 0, servers.buffer_bytes);
  row("client_prepared_statements", 0, clients.prepared_statements, 0, 0);
  row("server_prepared_statements", 0, servers.prepared_statements, 0, 0);
}

void run(const CallPtr& call) {
  list_all_connections(call,
                       [call](std::vector<pool::ConnectionRow> clients, std::vector<pool::ConnectionRow> servers) {
                         write_all(call, held_by(clients), held_by(servers));
                         call->finish("SHOW");
                       });
}

}  // namespace

constexpr Command kShowMem{.name = "mem", .role = pool::ConsoleRole::stats, .columns = kColumns, .run = run};

}  // namespace bezel::admin
