#pragma once

#include <memory>
#include <string>
#include <string_view>

namespace bezel::pool {

/// What a console user may do: everything, or SHOW.
enum class ConsoleRole : uint8_t { admin, stats };

/// The client of a console session, as the session sees it. Used by the worker's thread only.
class ConsoleClient {
 public:
  /// Sends protocol messages.
  virtual void send(std::string_view messages) = 0;
  /// The message that the session was given last has been answered: the next one may come (at once, from inside this
  /// call, or later).
  virtual void message_done() = 0;
  /// Ends the connection after what was sent.
  virtual void end() = 0;
  virtual int worker_index() const = 0;

 protected:
  ~ConsoleClient() = default;
};

/// One login to the console database. Made after authentication; the client is already told ReadyForQuery.
/// Destroyed when the client is gone: callbacks that are still under way must not touch it then.
class ConsoleSession {
 public:
  virtual ~ConsoleSession() = default;
  /// One whole frontend message. Answers by client.send() and then calls client.message_done() exactly once, now or
  /// later; no further message comes before that.
  virtual void on_message(char type, std::string_view body) = 0;
  /// The client's cancel key came in with a CancelRequest: ends a command that still waits, with an error. A PAUSE or
  /// SUSPEND that waits is undone. Nothing happens when no command waits.
  virtual void on_cancel() = 0;
};

class ConsoleFactory {
 public:
  virtual ~ConsoleFactory() = default;
  /// Any worker's thread may call this. `client` outlives the session.
  virtual std::unique_ptr<ConsoleSession> open(const std::string& user, ConsoleRole role, ConsoleClient& client) = 0;
  /// The ParameterStatus messages that a console login is greeted with (server_version "1.25.0/bezel…", client_encoding
  /// …).
  virtual std::string greeting() const = 0;
};

}  // namespace bezel::pool
