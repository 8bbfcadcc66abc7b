#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "integration/certificates.h"
#include "integration/child_process.h"
#include "integration/pg_connection.h"
#include "integration/temporary_folder.h"

namespace bezel::integration {

/// A private PostgreSQL 15 with SCRAM passwords, at own_address() and in a folder of Unix sockets. It has a superuser
/// `postgres` (password `super`), a user `app` (password kAppPassword) and a database `app` that is the user's own.
class PostgresServer {
 public:
  PostgresServer() : PostgresServer(Kind::alone, nullptr) {}
  /// One that others can replicate.
  static PostgresServer primary() { return PostgresServer(Kind::primary, nullptr); }
  /// A hot standby of it, streaming.
  static PostgresServer standby_of(const PostgresServer& primary) { return PostgresServer(Kind::standby, &primary); }

  /// The one that most tests share; it starts with its first use and ends with the process. Tests that stop or
  /// reconfigure a server have one of their own.
  static PostgresServer& shared();

  static constexpr const char* kAppPassword = "app-secret";

  const std::string& address() const;
  uint16_t port() const { return port_; }
  std::string socket_folder() const { return folder_.path() + "/sockets"; }
  /// A connection string for a direct connection.
  std::string conninfo(const std::string& user = "app", const std::string& password = kAppPassword,
                       const std::string& database = "app") const;
  /// A new direct connection of the superuser.
  PgConnection superuser(const std::string& database = "app") const;
  /// One of the test's own, for queries that look at the server from outside.
  PgConnection& observer();

  void create_user(const std::string& name, const std::string& password, const std::string& encryption);
  /// What pg_authid has for the user.
  std::string stored_secret(const std::string& user);
  /// How many backends there are for the user (all but the observer if empty).
  int backend_count(const std::string& user = "");

  /// Replaces pg_hba.conf and has it read. A line for the superuser is always added first.
  void set_hba(const std::string& lines);
  /// Restarts with TLS. `authority`: client certificates are asked for and checked against it.
  void enable_tls(const Certificate& certificate, const std::string& authority = "");
  /// Another certificate from now on, without a restart: connections that are open stay. Returns when it is shown.
  void change_certificate(const Certificate& certificate);
  void start();
  /// Smart shutdown would wait for clients: this is a fast one (SIGINT).
  void stop();
  /// As a crash: SIGKILL to the postmaster and all its backends.
  void kill();
  /// Sends signals to the postmaster, e.g. SIGSTOP.
  void signal(int number) { process_->signal(number); }
  std::string log() const { return read_file(folder_.path_of("postgresql.log")); }
  bool running() { return process_->running(); }
  /// Makes a standby a primary, on the next timeline. Returns when it is one.
  void promote();
  /// Restarts it as a standby, which takes reads and refuses writes.
  void demote();

 private:
  enum class Kind : uint8_t { alone, primary, standby };
  PostgresServer(Kind kind, const PostgresServer* primary);
  void copy(const PostgresServer& primary);

  void initialise();
  /// Copies a file to where the server, and nobody else, may read it; the copy's path.
  std::string provide(const std::string& name, const std::string& source);
  std::string data() const { return folder_.path() + "/server/data"; }

  const Kind kind_;
  TemporaryFolder folder_;
  uint16_t port_;
  std::unique_ptr<ChildProcess> process_;
  std::unique_ptr<PgConnection> observer_;
};

}  // namespace bezel::integration
