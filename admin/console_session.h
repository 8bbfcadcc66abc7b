#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "admin/command.h"
#include "admin/console.h"
#include "admin/request.h"
#include "pool/console.h"

namespace bezel::admin {

/// Appends an ErrorResponse with severity ERROR.
void append_error(std::string& out, const Failure& failure);

/// One login to the console: speaks the simple and the extended query protocol (documentation, "Message Flow") and runs
/// one command at a time. Lives on one worker's thread.
class ConsoleSession final : public pool::ConsoleSession {
 public:
  /// How many prepared statements, and how many portals, a session may have at a time.
  static constexpr size_t kStatementsMax = 1000;

  ConsoleSession(Console& console, std::string user, pool::ConsoleRole role, pool::ConsoleClient& client);
  ~ConsoleSession() override;

  void on_message(char type, std::string_view body) override;
  void on_cancel() override;

 private:
  /// A statement that was parsed; without a request it is the empty one.
  struct Prepared {
    std::optional<Request> request;
    std::span<const Column> columns() const { return request ? request->columns : std::span<const Column>(); }
  };

  /// A statement that was bound, and its result once it was executed.
  struct Portal {
    Prepared prepared;
    std::vector<Format> formats;  ///< one a column, or none: all text
    bool executed = false;
    ResultRows rows;
    std::string tag;
    size_t rows_sent = 0;
  };

  // Messages. Each handler ends in done() or failed_*(), at once or when its command has ended.
  void on_query(std::string_view body);
  void on_parse(std::string_view body);
  void on_bind(std::string_view body);
  void on_describe(std::string_view body);
  void on_execute(std::string_view body);
  void on_close(std::string_view body);
  void on_sync();
  void on_unknown(char type);

  /// Checks the right to run a command and runs it. `ended` is called once, unless the session is gone by then.
  void run(const Request& request, std::vector<Format> formats, std::function<void(Outcome)> ended);
  /// What comes before any command may run: nothing, or why it may not.
  std::optional<Failure> refusal(const Request& request) const;
  void log(const Request& request);
  /// Applies what a command that has ended does to the session.
  void settle(const Request& request, Outcome& outcome);
  void drop_statement(const std::string& name, Outcome& outcome);

  void answer_query(const Outcome& outcome);
  void end_portal_run(const std::string& name, uint32_t rows_max, Outcome outcome);
  void send_portal_rows(Portal& portal, uint32_t rows_max, std::string answer = {});
  std::optional<Failure> bind(std::string_view body);
  std::optional<Failure> add_statement(std::string_view body);

  /// An error in the extended protocol, after what `answer` holds: what follows is skipped until Sync.
  void fail_extended(const Failure& failure, std::string answer = {});
  /// Ends the connection with an error.
  void fail_connection(const std::string& message);
  /// The message is answered.
  void done();

  Console& console_;
  const std::string user_;
  const pool::ConsoleRole role_;
  pool::ConsoleClient& client_;
  const int worker_;
  pool::PoolStatistics& statistics_;
  std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);  ///< commands under way look here before they come back

  std::map<std::string, Prepared, std::less<>> statements_;
  std::map<std::string, Portal, std::less<>> portals_;
  char transaction_status_ = 'I';  ///< as ReadyForQuery says it
  bool skip_until_sync_ = false;
  CallPtr running_;
  const Command* running_command_ = nullptr;
};

}  // namespace bezel::admin
