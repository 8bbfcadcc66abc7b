#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "pool/client_statements.h"
#include "pool/prepared_statements.h"
#include "pool/transaction_command.h"
#include "protocol/error_response.h"
#include "protocol/frames.h"

namespace bezel::pool {

/// Answers a client whose transaction was lost together with its server, as PostgreSQL would in a failed transaction:
/// ROLLBACK and COMMIT end it, everything else is refused with 25P02.
///
/// Also skips the rest of a batch that was under way, after whose Sync the client is in no transaction.
class FailedTransaction {
 public:
  /// A message is looked at no further than that; a longer text ends no transaction.
  static constexpr size_t kInspectedBytesMax = 16 * 1024;

  struct Start {
    bool skip_until_sync = false;  ///< an error has been sent in a batch that still lacks its Sync
    bool in_transaction = true;    ///< false: when that Sync has come, it is over
    /// The error that the client has not been told yet; nothing: it knows.
    std::optional<protocol::ProtocolError> untold;
    /// ParameterStatus messages that go ahead of the first answer.
    std::string untold_parameters;
  };
  explicit FailedTransaction(Start start);

  enum class Next : uint8_t {
    stays,
    over,  ///< the client is in no transaction any more; what follows goes to a server
    rest,  ///< the same, and what follows the ROLLBACK in the text (rest()) goes on as a Query
  };

  /// Deals with one message. `body`: its first kInspectedBytesMax bytes, or all. `statements`: the client's, or nullptr
  /// where names are the servers' own business. REQUIRES: a type that a client may send, but not Terminate.
  Next take(const protocol::FrameHeader& header, std::string_view body, ClientStatements* statements,
            StatementTable& table, std::string& answers);
  /// ERROR 25P02.
  static void append_refusal(std::string& answers);
  /// After Next::rest. Points into the body.
  std::string_view rest() const { return rest_; }

 private:
  Next query(std::string_view body, bool whole, std::string& answers);
  void parse(std::string_view body, bool whole, ClientStatements* statements, StatementTable& table,
             std::string& answers);
  void bind(std::string_view body, size_t body_bytes, const ClientStatements* statements, std::string& answers);
  void describe(std::string_view body, const ClientStatements* statements, std::string& answers);
  void close(std::string_view body, ClientStatements* statements, std::string& answers);
  Next execute(std::string_view body, std::string& answers);
  Next sync(std::string& answers);
  /// What is prepared under the name; nothing: no such statement is known.
  std::optional<TransactionCommand> prepared(std::string_view name, const ClientStatements* statements) const;
  void refuse(std::string& answers);
  /// An error in a batch that has nothing to do with the failed transaction.
  void refuse_unknown(std::string& answers, std::string_view state, std::string_view message);
  /// ERROR, and in the extended protocol nothing more up to the Sync.
  void refuse_batch(std::string& answers);

  Start start_;
  // What was prepared and bound here last: a driver does one after the other.
  std::optional<TransactionCommand> parsed_, bound_;
  std::string parsed_name_, portal_;
  std::string_view rest_;
};

}  // namespace bezel::pool
