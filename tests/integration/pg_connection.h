#pragma once

#include <libpq-fe.h>

#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace bezel::integration {

/// What a query has answered.
class PgResult {
 public:
  explicit PgResult(PGresult* result) : result_(result, &PQclear) {}

  ExecStatusType status() const { return PQresultStatus(result_.get()); }
  /// Whether it succeeded, with rows or without, or is the end of a pipeline's batch.
  bool ok() const;
  int rows() const { return PQntuples(result_.get()); }
  /// A value as text, by row and column; empty for NULL and for what is not there.
  std::string value(int row = 0, int column = 0) const;
  std::string value(int row, const char* column) const { return value(row, PQfnumber(result_.get(), column)); }
  std::string sqlstate() const { return field(PG_DIAG_SQLSTATE); }
  std::string severity() const { return field(PG_DIAG_SEVERITY_NONLOCALIZED); }
  /// The error's primary message.
  std::string message() const { return field(PG_DIAG_MESSAGE_PRIMARY); }
  std::string command_tag() const { return PQcmdStatus(result_.get()); }
  PGresult* get() const { return result_.get(); }

 private:
  std::string field(int code) const;

  std::unique_ptr<PGresult, decltype(&PQclear)> result_;
};

/// One connection by libpq. Notices are collected. Not for several threads at once.
class PgConnection {
 public:
  /// Connects, to PostgreSQL or to Bezel. Whether that worked: connected(), and error() if not.
  explicit PgConnection(const std::string& conninfo);
  PgConnection(PgConnection&&) = default;
  PgConnection& operator=(PgConnection&&) = default;

  bool connected() const { return PQstatus(get()) == CONNECTION_OK; }
  std::string error() const { return PQerrorMessage(get()); }
  /// error() and all notices: libpq takes an error that comes while nothing was asked for a notice.
  std::string complaints() const;

  PgResult exec(const std::string& sql);
  /// By the extended protocol; parameters are text.
  PgResult exec_params(const std::string& sql, const std::vector<std::string>& parameters = {});
  PgResult prepare(const std::string& name, const std::string& sql);
  PgResult exec_prepared(const std::string& name, const std::vector<std::string>& parameters = {});
  /// The one value that a query answers. Throws std::runtime_error, with the error, when it fails.
  std::string value(const std::string& sql);
  /// Runs it. Throws std::runtime_error, with the error, when it fails.
  void run(const std::string& sql) { value(sql); }

  /// Sends a query and does not wait for its answer.
  void send(const std::string& sql);
  /// The next result of what was sent; its get() is nullptr at the end. Throws when none comes within kPatience.
  PgResult next_result();
  /// All results of what was sent; the last one counts.
  PgResult last_result();

  const std::vector<std::string>& notices() const { return *notices_; }
  std::string parameter_status(const char* name) const;
  int server_pid() const { return PQbackendPID(get()); }
  void close() { connection_.reset(); }
  PGconn* get() const { return connection_.get(); }

 private:
  std::unique_ptr<PGconn, decltype(&PQfinish)> connection_;
  std::unique_ptr<std::vector<std::string>> notices_;  // a fixed place: libpq has a pointer to it
};

}  // namespace bezel::integration
