#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "bench/frames.h"
#include "bench/sql_statement.h"

namespace bezel::bench {

/// One connection of the fake PostgreSQL server, without I/O: bytes in, bytes out. It holds no data (each SELECT is one
/// row of one column), but keeps to the protocol: transaction status, the extended protocol's named statements and
/// portals, what follows an error, and ParameterStatus for parameters that PostgreSQL reports. A pooler that mixes up
/// its clients gets errors from it.
class NullSession {
 public:
  /// What consume() found in the bytes.
  struct Outcome {
    bool login_asked = false;  ///< the startup packet is complete: call finish_login() when the delay is over
    bool close = false;        ///< the peer said good-bye or spoke nonsense; send `out` and close
    uint32_t statements = 0;   ///< statements executed
    uint32_t replies = 0;      ///< ReadyForQuery messages written
  };

  /// `serial` makes process id and cancel key of the connection.
  explicit NullSession(uint32_t serial);

  /// Takes in received bytes and appends the answers to `out`.
  Outcome consume(std::string_view bytes, std::string& out);

  /// Appends the end of the login, up to ReadyForQuery. REQUIRES: consume() asked for it.
  void finish_login(std::string& out);

 private:
  struct Prepared {
    StatementKind kind = StatementKind::kEmpty;
    std::string_view tag;
    std::string text;
    uint16_t parameter_count = 0;
  };

  void consume_startup(std::string_view body, std::string& out, Outcome& outcome);
  void set_startup_parameters(std::string_view body);
  void dispatch(const Frame& frame, std::string& out, Outcome& outcome);
  void simple_query(std::string_view body, std::string& out, Outcome& outcome);
  void parse(std::string_view body, std::string& out);
  void bind(std::string_view body, std::string& out);
  void describe(std::string_view body, std::string& out);
  void execute_portal(std::string_view body, std::string& out, Outcome& outcome);
  void close_object(std::string_view body, std::string& out);

  /// Executes; false after an ErrorResponse.
  bool execute(const Statement& statement, bool with_row_description, std::string& out, Outcome& outcome);
  void apply_assignments(const Statement& statement, std::string& out);
  void reset_parameters(std::string& out);
  void assign(const std::string& name, std::string value, std::string& out);
  void fail(std::string_view sql_state, std::string_view text, std::string& out);
  void fail_extended(std::string_view sql_state, std::string_view text, std::string& out);
  void ready(std::string& out, Outcome& outcome);

  /// Parameters that PostgreSQL 15 reports when they change, with the current value.
  using Parameters = std::vector<std::pair<std::string, std::string>>;

  uint32_t serial_;
  FrameReader reader_;
  Parameters parameters_;
  Parameters session_defaults_;
  bool login_asked_ = false;
  bool logged_in_ = false;
  bool skip_to_sync_ = false;
  char status_ = 'I';
  std::unordered_map<std::string, Prepared> prepared_;
  std::unordered_map<std::string, Prepared> portals_;
};

}  // namespace bezel::bench
