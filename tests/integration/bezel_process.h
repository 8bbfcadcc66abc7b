#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "integration/child_process.h"
#include "integration/pg_connection.h"
#include "integration/temporary_folder.h"

namespace bezel::integration {

class PostgresServer;

/// What a Bezel is started with. Values stand in the file as they are given here, so they may be any YAML.
struct Configuration {
  /// Settings of the top level, over the tests' own: listen_addr, listen_port, unix_socket_dir (none), auth_type
  /// scram-sha-256, auth_file, admin_users [admin], stats_users [stats], log_level debug.
  std::map<std::string, std::string> settings = {};
  /// By name. Without any: `app`, at PostgresServer::shared().
  std::map<std::string, std::string> databases = {};
  std::map<std::string, std::string> users = {};
  /// The content of auth_file. Empty: the users app, admin and stats with plain passwords.
  std::string userlist = {};
  /// Goes to the end of the file as it is.
  std::string further_lines = {};
  std::vector<std::string> environment = {};
  /// A command that executes the command after it, in surroundings of its making.
  std::vector<std::string> wrapper = {};
};

/// The entry of `databases:` for a server, with further parameters.
std::string database_at(const PostgresServer& server, const std::string& further = "");

/// The pooler under test: the built binary with a configuration of its own, killed and reaped with the object.
class BezelProcess {
 public:
  /// Returns when it listens. Throws std::runtime_error, with its log, when it ends instead.
  explicit BezelProcess(Configuration configuration = {});
  /// Tells it to end at once, unless it has ended. It must do so with status 0, and have said nothing that a sanitizer
  /// says: otherwise the running test case fails, or else the whole process.
  ~BezelProcess();

  uint16_t port() const { return port_; }
  std::string conninfo(const std::string& further = "", const std::string& user = "app",
                       const std::string& password = "app-secret", const std::string& database = "app") const;
  /// A new connection. Throws std::runtime_error when it is refused.
  PgConnection connect(const std::string& further = "") const;
  PgConnection connect_as(const std::string& user, const std::string& password,
                          const std::string& database = "app") const;
  /// The console, as user admin.
  PgConnection console() const { return connect_as("admin", "admin-secret", "pgbouncer"); }
  /// One value of one row of a SHOW; empty if there is no such row. `key` is the content of the column `where`.
  std::string show(const std::string& what, const std::string& column, const std::string& where,
                   const std::string& key);

  /// Writes the file anew; it is read at the next reload.
  void write_configuration(const Configuration& configuration);
  void write_userlist(const std::string& content) { folder_.write("userlist.txt", content); }
  const std::string& configuration_path() const { return path_; }
  const TemporaryFolder& folder() const { return folder_; }

  ChildProcess& process() { return *process_; }
  std::string log() const { return process_->log(); }

 private:
  TemporaryFolder folder_;
  uint16_t port_;
  std::string path_;
  std::unique_ptr<ChildProcess> process_;
  std::unique_ptr<PgConnection> console_;
};

}  // namespace bezel::integration
