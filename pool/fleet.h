#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "pool/byte_stream.h"
#include "pool/settings.h"
#include "pool/statistics.h"
#include "pool/upstream.h"

namespace bezel::pool {

/// One row of SHOW CLIENTS, SHOW SERVERS or SHOW SOCKETS.
struct ConnectionRow {
  bool is_server = false;
  uint64_t id = 0;    ///< unique in the process; KILL_CLIENT takes it
  uint64_t link = 0;  ///< id of the other side's connection while linked, else 0
  std::string user, database, state, application_name;
  std::string replication = "none";
  StreamEnds ends;
  int64_t connected_at_us = 0;  ///< since 1970
  int64_t request_at_us = 0;    ///< since 1970; 0: none yet
  int64_t wait_us = 0;          ///< how long a waiting client has waited; 0 else
  bool close_needed = false;
  uint32_t remote_pid = 0;  ///< server: backend's PID; client on a Unix socket: its PID
  std::string tls;
  uint32_t prepared_statements = 0;
  uint64_t unsent_bytes = 0;    ///< SHOW SOCKETS: queued for sending
  uint64_t buffered_bytes = 0;  ///< SHOW SOCKETS: received and kept
};

/// State of one database entry, for SHOW DATABASES (paused, disabled, connections now).
struct DatabaseState {
  std::string name;
  bool paused = false, disabled = false;
  int current_connections = 0, current_client_connections = 0;
};

/// One row of SHOW USERS' figures.
struct UserState {
  std::string name;
  int current_connections = 0, current_client_connections = 0;
};

enum class Operation : uint8_t {
  pause,    ///< stop handing out servers, close each at its end of transaction; done when none is left
  resume,   ///< undo pause, suspend and kill
  disable,  ///< refuse new clients
  enable,
  kill,         ///< drop all clients and servers of a database at once, then pause it
  reconnect,    ///< close each server when it becomes free
  wait_close,   ///< done when all servers that reconnect marked are gone
  suspend,      ///< stop reading, flush everything; done when flushed (or after suspend_timeout)
  kill_client,  ///< drop one client
};

struct OperationRequest {
  Operation operation;
  std::string database;    ///< empty: all
  uint64_t client_id = 0;  ///< kill_client
};

/// What the console and the metrics see of all workers together.
class Fleet {
 public:
  virtual ~Fleet() = default;
  virtual SettingsPtr settings() const = 0;      ///< any thread
  virtual StatisticsRegistry& statistics() = 0;  ///< any thread
  virtual std::vector<DatabaseState>
  database_states() = 0;  ///< any thread; databases from the configuration and those made by "*"
  virtual std::vector<UserState> user_states() = 0;  ///< any thread
  /// Rows of all clients or all servers; `done` runs on worker `caller`'s thread. Called by that thread.
  virtual void list_connections(int caller, bool servers, std::function<void(std::vector<ConnectionRow>)> done) = 0;
  /// Carries out an operation on all workers; `done("")` or `done(error message)` runs on worker `caller`'s thread when
  /// it is complete, which may take long. Called by that thread.
  virtual void operate(int caller, OperationRequest request, std::function<void(std::string error)> done) = 0;
  /// What SHOW STATE says: "active", "paused" or "suspended".
  virtual std::string state() const = 0;  ///< any thread
  /// The upstreams of the configuration, with their histories.
  virtual std::vector<UpstreamRow> upstreams() const = 0;  ///< any thread
};

}  // namespace bezel::pool
