#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "pool/journal.h"
#include "pool/parameters.h"
#include "pool/prepared_statements.h"
#include "pool/transaction_command.h"
#include "protocol/error_response.h"

namespace bezel::pool {

/// What a request, that is a Query, a FunctionCall or all messages up to a Sync, may have done to the transaction.
struct RequestEffect {
  bool may_end = false;     ///< it may have committed, or prepared, the transaction; or ended it and done more
  bool commits = false;     ///< COMMIT or END, and nothing else
  bool rolls_back = false;  ///< ROLLBACK or ABORT, and nothing else
  bool begins = false;      ///< its first statement is BEGIN
  bool only_begins = false;
  bool commits_midway = false;  ///< a statement in it may commit while it still runs
  bool is_query = false;        ///< a Query
  /// What is carried out, in order, each with an answer of its own: a Query's statements, or what is executed.
  /// `other_end`: nobody knows what, or how many.
  std::vector<TransactionCommand> commands;

  /// Whether a transaction is open after the first `completed` of its commands, if one was open before them or not;
  /// nothing: that is not known.
  std::optional<bool> open_after(bool open, size_t completed) const;
};

/// What the journal tells.
struct JournalReading {
  bool certain = false;  ///< false: it is not complete, or cannot be read, and the rest says nothing
  bool can_be_replayed = false;
  std::vector<RequestEffect> requests;  ///< each up to its end
  RequestEffect rest;                   ///< of what follows the last of them
};

/// Finds the statement that the client has under a name, or nullptr.
using FindStatement = std::function<StatementPtr(std::string_view name)>;

/// `names_are_known`: what `find` does not find, was not prepared by the protocol.
JournalReading read_journal(const Journal& journal, const FindStatement& find, bool names_are_known);

/// What is known when a server is lost that a client was using.
struct ServerLoss {
  /// What the client is told: the server's own words, or that the connection is gone.
  protocol::ProtocolError error;
  std::string_view reason;          ///< for the log
  bool said_goodbye = false;        ///< the last thing that came was FATAL 57P01 (admin_shutdown)
  bool refused_by_standby = false;  ///< it is the one that has to go: a standby where a primary is wanted
  char status = 'I';                ///< of the transaction, as the server said last
  bool answered = false;            ///< something has gone to the client since it was linked
  bool in_answer = false;           ///< the same, and no ReadyForQuery since
  bool written = true;              ///< something of what the client asked may have left
  bool error_told = false;          ///< the request being answered has got its error already
  size_t completed = 0;             ///< of its commands, ahead of that
  size_t requests_skipped = 0;      ///< Queries behind that error in the same batch: nobody carries them out
  bool in_message = false;          ///< a message has gone to the client only in part
  bool copying_in = false;          ///< the oldest request waits for the client's data
  size_t requests_owed = 0;         ///< unanswered ones that end with a ReadyForQuery
  bool batch_open = false;          ///< after them comes a batch of the extended protocol without its Sync yet
  bool request_incomplete = false;  ///< the last one is a message that has been written only in part
  size_t replays_left = 0;
  ParameterSetPtr parameters_before;  ///< the client's, before the transaction; nullptr: it has not changed any
  std::string undone_parameters;      ///< ParameterStatus messages for the change back
};

/// An answer of the pooler's to one request that the server owes.
struct LossReply {
  enum class Error : uint8_t {
    none,         ///< told already
    lost,         ///< the loss's own
    doubtful,     ///< 08007
    aborted,      ///< 25P02, as in every failed transaction
    rolled_back,  ///< no error: CommandComplete for ROLLBACK
  };
  Error error = Error::lost;
  char ready = 'I';  ///< the status in ReadyForQuery; '\0': none, as its Sync is still to come
  bool operator==(const LossReply&) const = default;
};

/// What becomes of the client.
struct LossVerdict {
  enum class Kind : uint8_t {
    nothing,  ///< it asked for nothing; a transaction that was open has failed
    replay,   ///< what it asked goes to another server
    answers,  ///< `replies` are given
  };
  Kind kind = Kind::nothing;
  std::vector<LossReply> replies;
  /// 'E': from now on it is in a failed transaction without a server. 'I': in none.
  char status = 'I';
  /// What comes up to the next Sync is skipped.
  bool skip_until_sync = false;

  bool in_doubt() const;
};

LossVerdict decide(const ServerLoss& loss, const JournalReading& journal);

}  // namespace bezel::pool
