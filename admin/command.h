#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "admin/console.h"
#include "admin/result_rows.h"
#include "pool/console.h"
#include "protocol/sqlstate.h"

namespace bezel::admin {

/// An error as it is told to the client, with severity ERROR. PgBouncer's console knows one SQLSTATE for almost
/// everything; so it is the default.
struct Failure {
  std::string message;
  std::string_view sqlstate = protocol::sqlstate::kProtocolViolation;
  std::string detail = {};
};

/// What has come out of a command.
struct Outcome {
  ResultRows rows;
  std::string notices;  ///< whole NoticeResponse messages
  std::string tag;
  std::optional<Failure> failure;
  bool unanswered = false;  ///< nothing at all is sent: the process is about to end
};

/// One execution of a command: what it was given, what it makes, and how it ends. It is kept alive by those who still
/// work on it; when its client has gone meanwhile, its end is not heard by anybody.
class Call {
 public:
  Call(Console& the_console, std::string the_user, int the_worker, std::string the_argument, ResultRows empty_rows,
       std::function<void(Outcome)> done)
      : console(the_console),
        user(std::move(the_user)),
        worker(the_worker),
        argument(std::move(the_argument)),
        rows(std::move(empty_rows)),
        done_(std::move(done)) {}

  Console& console;
  const std::string user;
  const int worker;            ///< on whose thread all happens
  const std::string argument;  ///< a database, an id, a mode; SET: the value
  std::string key;             ///< SET: the setting's name
  ResultRows rows;

  void notice(std::string_view message, std::string_view detail = {});

  // One of these, on the worker's thread. The first one counts: the client may have cancelled the command meanwhile.
  void finish(std::string_view tag);
  void fail(Failure failure);
  /// finish(tag) when there is no error, else fail().
  void finish_or_fail(const std::string& error, std::string_view tag);
  void finish_unanswered();

 private:
  void end(Outcome outcome);

  std::string notices_;
  std::function<void(Outcome)> done_;
};
using CallPtr = std::shared_ptr<Call>;

/// What may follow a command's name.
enum class Argument : uint8_t { none, optional_database, database, client_id, shutdown_mode, optional_member };

/// What a command that succeeds does to the session that ran it.
enum class SessionEffect : uint8_t { none, begin_transaction, end_transaction, drop_statement, drop_statements };

/// A command of the console.
struct Command {
  std::string_view name;                              ///< lower case
  pool::ConsoleRole role = pool::ConsoleRole::admin;  ///< who may use it: admins alone, or everybody (stats)
  Argument argument = Argument::none;
  std::span<const Column> columns = {};  ///< of its rows; none: no rows
  void (*run)(const CallPtr& call) = nullptr;
  /// For commands that may wait long: the client cancelled it. Undoes what it has begun; the call is failed afterwards.
  void (*undo)(const CallPtr& call) = nullptr;
  SessionEffect effect = SessionEffect::none;
};

}  // namespace bezel::admin
