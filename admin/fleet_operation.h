#pragma once

#include <string>
#include <string_view>

#include "admin/command.h"

namespace bezel::admin {

/// What is wrong with the database that a command names, in PgBouncer's words; empty: nothing. `verb` is what cannot be
/// done with the console itself: "pause" makes "cannot pause admin db: pgbouncer".
std::string database_fault(Console& console, const std::string& database, std::string_view verb);

/// Lets the fleet do it, and answers with the tag (or the fleet's error) when it is done.
void operate(const CallPtr& call, pool::OperationRequest request, std::string_view tag);

/// Undoes a PAUSE or SUSPEND that is under way. Nobody waits for it.
void resume_unheard(Console& console, int worker, const std::string& database);

/// Does nothing: for commands that may be left alone while the client does not wait any more.
void undo_nothing(const CallPtr& call);

}  // namespace bezel::admin
