#include <doctest/doctest.h>

#include "pool/client_statements.h"

using bezel::pool::ClientStatements;
using bezel::pool::StatementPtr;
using bezel::pool::StatementTable;

TEST_CASE("a change holds at once, and is confirmed or taken back by the answer") {
  StatementTable table(0, 1);
  const StatementPtr a = table.intern("a"), b = table.intern("b");
  ClientStatements names;
  names.change("s", a);
  CHECK(names.find("s") == a);
  names.confirm();
  names.change("s", nullptr);
  names.change("s", b);
  names.change("t", b);
  CHECK(names.find("s") == b);
  names.take_back(3);
  CHECK(names.find("s") == a);
  CHECK(names.find("t") == nullptr);
  CHECK(names.size() == 1);
}

TEST_CASE("only the oldest changes are taken back") {
  StatementTable table(0, 1);
  const StatementPtr a = table.intern("a"), b = table.intern("b");
  ClientStatements names;
  names.change("s", a);
  names.next_batch();
  names.change("t", b);
  names.take_back(1);
  CHECK(names.find("s") == nullptr);
  CHECK(names.find("t") == b);
  names.confirm();
  CHECK_FALSE(names.in_doubt("t"));
}

TEST_CASE("a name is in doubt while an earlier batch that changed it is unanswered") {
  StatementTable table(0, 1);
  ClientStatements names;
  names.change("s", table.intern("a"));
  CHECK_FALSE(names.in_doubt("s"));
  names.next_batch();
  CHECK(names.in_doubt("s"));
  CHECK_FALSE(names.in_doubt("t"));
  names.confirm();
  CHECK_FALSE(names.in_doubt("s"));
}

TEST_CASE("an error names the client's name: of a refused Parse the one that was tried") {
  StatementTable table(0, 1);
  const StatementPtr a = table.intern("a");
  ClientStatements names;
  names.change("s", a);
  CHECK(names.name_of(a->server_name) == "s");
  CHECK(names.name_of("bezel_ps_99").empty());
  names.change("t", a);
  names.note_taken("t", a);
  CHECK(names.name_of(a->server_name) == "t");
  names.note_taken("s", a);  // of the same batch only the first is ever answered
  CHECK(names.name_of(a->server_name) == "t");
  names.next_batch();
  names.note_taken("s", a);
  CHECK(names.name_of(a->server_name) == "s");
}
