#include <doctest/doctest.h>

#include <memory>
#include <string>

#include "pool/prepared_statements.h"

using bezel::pool::ServerStatements;
using bezel::pool::StatementPtr;
using bezel::pool::StatementTable;

namespace {

std::string definition(const std::string& text) {
  return text + std::string("\0\0\0", 3);
}

}  // namespace

TEST_CASE("the same text and types are one statement, as long as somebody has it") {
  StatementTable table(3, 4);
  const StatementPtr one = table.intern(definition("select 1"));
  CHECK(one->id == 3);
  CHECK(one->server_name == "bezel_ps_3");
  CHECK(table.intern(definition("select 1")) == one);
  const StatementPtr two = table.intern(definition("select 2"));
  CHECK(two->id == 7);
  CHECK(table.size() == 2);
  const std::string other_types = std::string("select 1\0\0\1\0\0\0\x17", 15);
  const StatementPtr typed = table.intern(other_types);
  CHECK(typed != one);
}

TEST_CASE("a statement that nobody has leaves the table, and its number is not used again") {
  StatementTable table(0, 1);
  uint64_t id = 0;
  {
    const StatementPtr gone = table.intern(definition("select 1"));
    id = gone->id;
  }
  CHECK(table.size() == 0);
  CHECK(table.intern(definition("select 1"))->id > id);
}

TEST_CASE("a statement may outlive its table") {
  auto table = std::make_unique<StatementTable>(0, 1);
  const StatementPtr statement = table->intern(definition("select 1"));
  table.reset();
  CHECK(statement->definition == definition("select 1"));
}

TEST_CASE("a server gives up the statement that was used least recently") {
  StatementTable table(0, 1);
  const StatementPtr a = table.intern("a"), b = table.intern("b"), c = table.intern("c");
  ServerStatements server;
  for (const StatementPtr& statement : {a, b, c}) {
    server.add(statement, 1);
    server.confirm(statement);
  }
  CHECK(server.size() == 3);
  CHECK(server.has(a));  // used just now
  CHECK(server.take_overflow(3) == nullptr);
  CHECK(server.take_overflow(2) == b);
  CHECK_FALSE(server.has(b));
  CHECK(server.take_overflow(2) == nullptr);
  CHECK(server.take_overflow(1) == c);
  server.clear();
  CHECK(server.size() == 0);
}

TEST_CASE("until it is confirmed, a statement is in doubt for later batches and is not given up") {
  StatementTable table(0, 1);
  const StatementPtr a = table.intern("a"), b = table.intern("b");
  ServerStatements server;
  server.add(a, 5);
  CHECK_FALSE(server.in_doubt(a, 5));
  CHECK(server.in_doubt(a, 6));
  CHECK_FALSE(server.in_doubt(b, 6));
  CHECK(server.take_overflow(0) == nullptr);
  server.confirm(a);
  CHECK_FALSE(server.in_doubt(a, 6));
  CHECK(server.take_overflow(0) == a);
  server.add(b, 7);
  server.remove(b);
  CHECK_FALSE(server.has(b));
  CHECK_FALSE(server.in_doubt(b, 8));
}
