#include <doctest/doctest.h>

#include <string>

#include "pool/transaction_command.h"

using namespace bezel::pool;

namespace {

using Command = TransactionCommand;

Command command(std::string_view text) {
  return first_statement(text).command;
}

}  // namespace

TEST_CASE("transaction commands in all their spellings") {
  for (const char* text :
       {"ROLLBACK", "rollback", "RollBack;", " \t\n rollback ; ", "ABORT", "abort work", "ROLLBACK TRANSACTION;",
        "rollback and no chain", "ROLLBACK WORK AND NO CHAIN;;", "/* a /* b */ c */ ROLLBACK -- the end",
        "-- first\nROLLBACK", ";;ROLLBACK", "ROLLBACK/**/", "ROLLBACK /* ; */ ; -- ;"}) {
    CAPTURE(text);
    CHECK(command(text) == Command::rollback);
    CHECK(first_statement(text).alone);
  }
  for (const char* text : {"COMMIT", "commit;", "END", "end transaction", "COMMIT WORK AND NO CHAIN", "\fCOMMIT\v"}) {
    CAPTURE(text);
    CHECK(command(text) == Command::commit);
    CHECK(first_statement(text).alone);
  }
  for (const char* text : {"BEGIN", "begin;", "BEGIN ISOLATION LEVEL SERIALIZABLE, READ ONLY", "START TRANSACTION",
                           "start /* x */ transaction read write;"}) {
    CAPTURE(text);
    CHECK(command(text) == Command::begin);
    CHECK(first_statement(text).alone);
  }
  for (const char* text : {"COMMIT AND CHAIN", "ROLLBACK AND CHAIN", "PREPARE TRANSACTION 'x'", "COMMIT PREPARED 'x'",
                           "ROLLBACK PREPARED 'x'", "COMMIT nonsense", "END IF"}) {
    CAPTURE(text);
    CHECK(command(text) == Command::other_end);
  }
  for (const char* text : {"SELECT 1", "PREPARE p AS SELECT 1", "ROLLBACK TO s", "rollback work to savepoint s",
                           "SAVEPOINT s", "RELEASE s", "ROLLBACKS", "COMMITTED", "_commit", "begin$", "'ROLLBACK'",
                           "(SELECT 1)", "START_REPLICATION", "START", "committ\xc3\xa9"}) {
    CAPTURE(text);
    CHECK(command(text) == Command::none);
  }
  for (const char* text : {"", " ", ";", " ; ;", "-- only this", "/* without end", "/* a */ -- b"}) {
    CAPTURE(text);
    CHECK(command(text) == Command::empty);
    CHECK(first_statement(text).alone);
  }
}

TEST_CASE("whether a statement is the only one") {
  for (const char* text : {"SELECT 1", "SELECT 1;", "SELECT 1; ;\n", "SELECT CASE WHEN true THEN 1 END", "SELECT ';'; ",
                           "INSERT INTO t VALUES ('COMMIT')"}) {
    CAPTURE(text);
    // A semicolon in a literal, with more behind it, may only err on the safe side.
    CHECK(first_statement(text).alone == (std::string_view(text) != "SELECT ';'; "));
  }
  for (const char* text : {"SELECT 1; COMMIT", "SELECT '; --'; COMMIT", "BEGIN; COMMIT", "ROLLBACK; SELECT 1",
                           "BEGIN -- ; /*\n; COMMIT -- */", "SELECT '; /*'; COMMIT; SELECT '*/'", "COMMIT; BEGIN"}) {
    CAPTURE(text);
    CHECK_FALSE(first_statement(text).alone);
  }
  CHECK(first_statement("ROLLBACK; SELECT 1").bytes == 9);
  CHECK(first_statement("/* x */ ROLLBACK ;SELECT 1").bytes == 18);
  CHECK(first_statement("ROLLBACK").bytes == 8);
}

TEST_CASE("words that may stand for an end of a transaction, and statements that commit midway") {
  CHECK(may_hold_end_of_transaction("insert into t values (1); commit"));
  CHECK(may_hold_end_of_transaction("x;END"));
  CHECK(may_hold_end_of_transaction("select 1;prepare transaction 'x'"));
  CHECK_FALSE(may_hold_end_of_transaction("select committed, ending, commit_id; select 2"));
  CHECK(may_hold_begin_of_transaction("select 1;Begin"));
  CHECK(may_hold_begin_of_transaction("select 1; start transaction"));
  CHECK_FALSE(may_hold_begin_of_transaction("select beginning, started, begin_id; commit"));
  for (const char* text : {"CALL p()", "do $$ begin commit; end $$", "VACUUM", "vacuum (full) t", "REINDEX TABLE t",
                           "CREATE INDEX CONCURRENTLY i ON t (a)", "CREATE DATABASE d", "drop database d",
                           "ALTER TABLE t DETACH PARTITION p CONCURRENTLY", "ALTER SYSTEM SET x = 1"}) {
    CAPTURE(text);
    CHECK(first_statement(text).commits_midway);
  }
  for (const char* text : {"INSERT INTO t VALUES (1) ON CONFLICT DO NOTHING", "CREATE TABLE t (a int)", "SELECT 1",
                           "UPDATE t SET a = 1", "DROP TABLE t", "COMMIT"}) {
    CAPTURE(text);
    CHECK_FALSE(first_statement(text).commits_midway);
  }
}
