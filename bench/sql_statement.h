#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace bezel::bench {

/// What the fake server makes of a statement: enough to answer it with the messages PostgreSQL would send.
enum class StatementKind {
  kEmpty,
  kRow,
  kCommand,
  kBegin,
  kCommit,
  kRollback,
  kSet,
  kReset,
  kDiscardAll,
  kDeallocate,
  kUnknown
};

/// One statement, classified by its first word.
struct Statement {
  StatementKind kind = StatementKind::kEmpty;
  std::string_view tag;  ///< of CommandComplete; static storage
  std::string_view text;
};

/// An assignment to a run-time parameter, of a SET or a set_config() call.
struct Assignment {
  std::string name;
  std::string value;
  bool to_default = false;
};

/// Classifies a single statement.
Statement classify(std::string_view text);

/// Takes the first statement off `sql`, up to a semicolon outside quotes ('' and "" only; dollar quotes are not known).
std::string_view take_statement(std::string_view& sql);

/// The assignment of `SET [SESSION|LOCAL] name TO|= value`, of `RESET name` (to_default) or one for each
/// set_config('name', 'value', ...) in a SELECT.
std::vector<Assignment> assignments_of(const Statement& statement);

/// The operand of `DEALLOCATE [PREPARE] name`; "all" for ALL.
std::string deallocated_name(std::string_view text);

}  // namespace bezel::bench
