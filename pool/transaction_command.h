#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

namespace bezel::pool {

/// What a statement does to the transaction that it runs in, as far as its first words tell.
enum class TransactionCommand : uint8_t {
  none,       ///< surely neither begins nor ends one
  empty,      ///< there is no statement
  begin,      ///< BEGIN, START TRANSACTION
  commit,     ///< COMMIT, END
  rollback,   ///< ROLLBACK, ABORT; not to a savepoint
  other_end,  ///< ends one in another way: COMMIT AND CHAIN, PREPARE TRANSACTION, COMMIT PREPARED, ...
};

/// The first statement of a text.
struct FirstStatement {
  TransactionCommand command = TransactionCommand::none;
  /// Nothing but white space, comments and semicolons follows it. Never true by mistake; for a statement with a
  /// semicolon in a literal it may be false.
  bool alone = false;
  /// It may commit what it has done so far while it still runs: CALL, DO, VACUUM, CREATE INDEX CONCURRENTLY, ...
  bool commits_midway = false;
  size_t bytes = 0;  ///< commit and rollback: of the text that it takes, its semicolon included
};

/// Reads no more of the text than it must, allocates nothing, and takes time linear in the text's size.
FirstStatement first_statement(std::string_view text);

/// Whether an end of a transaction may stand anywhere in the text: one of the words COMMIT, END, ROLLBACK, ABORT,
/// PREPARE, CALL, DO.
bool may_hold_end_of_transaction(std::string_view text);

/// The same for its beginning: BEGIN or START.
bool may_hold_begin_of_transaction(std::string_view text);

}  // namespace bezel::pool
