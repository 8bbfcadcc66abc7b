#include <doctest/doctest.h>

#include <string>

#include "admin/commands.h"
#include "admin/driver_statements.h"
#include "admin/request.h"
#include "admin/statement.h"

using namespace bezel;
using namespace bezel::admin;

namespace {

const Command* command_of(std::string_view text) {
  const Interpretation meaning = interpret(text);
  return meaning.request ? meaning.request->command : nullptr;
}

std::string argument_of(std::string_view text) {
  const Interpretation meaning = interpret(text);
  return meaning.request ? meaning.request->argument : "(no request)";
}

std::string failure_of(std::string_view text) {
  const Interpretation meaning = interpret(text);
  return meaning.failure ? meaning.failure->message : "(no failure)";
}

}  // namespace

TEST_CASE("admin: pieces of a statement") {
  const Tokens scanned = tokenize("SET \"a\"\"b\" /* x /* y */ */ = 'it''s' -- rest\n ;; ");
  REQUIRE(scanned.well_formed);
  REQUIRE(scanned.tokens.size() == 4);
  CHECK(scanned.tokens[1].text == "a\"b");
  CHECK(scanned.tokens[1].kind == Token::Kind::quoted_name);
  CHECK(scanned.tokens[2].is_symbol('='));
  CHECK(scanned.tokens[3].text == "it's");
  CHECK(normalized(tokenize("Select  pg_catalog . Version ( )").tokens) == "select pg_catalog.version()");
}

TEST_CASE("admin: what is not closed, or too long, is no statement") {
  for (const char* text : {"SHOW \"pools", "SET a = 'b", "SHOW POOLS /* x", "/* /* */"}) {
    CAPTURE(text);
    CHECK_FALSE(tokenize(text).well_formed);
    CHECK(failure_of(text) == "invalid command '" + std::string(text) + "', use SHOW HELP;");
  }
  std::string many;
  for (size_t i = 0; i <= kTokensMax; i++) many += "a ";
  CHECK_FALSE(tokenize(many).well_formed);
}

TEST_CASE("admin: nothing but blanks, comments and semicolons is the empty statement") {
  for (const char* text : {"", " ", ";", " ; ;\n", "-- x", "/* x */ ;"}) {
    CAPTURE(text);
    const Interpretation meaning = interpret(text);
    CHECK_FALSE(meaning.request);
    CHECK_FALSE(meaning.failure);
  }
}

TEST_CASE("admin: every command is found by its name, whatever its case") {
  for (const Command* command : show_commands()) {
    CAPTURE(command->name);
    CHECK(command_of("show " + std::string(command->name)) == command);
    CHECK(command_of("/* tool */ Select\t\"" + std::string(command->name) + "\" ; ") == command);
  }
  for (const Command* command : action_commands()) {
    CAPTURE(command->name);
    CHECK(command_of(command->name) == command);
  }
  CHECK(command_of("sHoW pOoLs") == &kShowPools);
  CHECK(command_of("HELP") == &kShowHelp);
}

TEST_CASE("admin: arguments keep their case and their quotes are taken off") {
  CHECK(argument_of("PAUSE MyDb") == "MyDb");
  CHECK(argument_of("PAUSE \"my-\"\"db\";") == "my-\"db");
  CHECK(argument_of("KILL_CLIENT 17") == "17");
  CHECK(argument_of("shutdown wait_for_clients") == "wait_for_clients");
  CHECK(argument_of("RESUME") == "");
}

TEST_CASE("admin: what the console does not understand") {
  for (const char* text : {"SHOW",          "SHOW ALL",
                           "SHOW nix",      "nix",
                           "SHOW POOLS x",  "PAUSE a b",
                           "PAUSE my-db",   "RELOAD x",
                           "SUSPEND x",     "SHUTDOWN now",
                           "SET",           "SET a",
                           "SET a =",       "SET = b",
                           "SET a b",       "SHOW POOLS; SHOW STATS",
                           "SELECT 2",      "select * from pg_class",
                           "ROLLBACK TO a", "'SHOW' POOLS",
                           "SHOW 'POOLS'"}) {
    CAPTURE(text);
    CHECK(failure_of(text) == "invalid command '" + std::string(text) + "', use SHOW HELP;");
  }
  CHECK(failure_of("SHOW " + std::string(64, 'x')) == "bad arguments");
  CHECK(failure_of(std::string(16, 'x')) == "bad arguments");
  CHECK(failure_of("PAUSE " + std::string(64, 'x')) == "bad arguments");
  CHECK(argument_of("PAUSE " + std::string(63, 'x')) == std::string(63, 'x'));
  CHECK(failure_of("SET a = '" + std::string(1024, 'x') + "'") == "bad arguments");
}

TEST_CASE("admin: an error repeats a long statement in part, whole characters only") {
  std::string text(959, '+');
  text += "\xc3\xa4\xc3\xa4";
  CHECK(failure_of(text) == "invalid command '" + std::string(959, '+') + "', use SHOW HELP;");
}

TEST_CASE("admin: statements have no parameters") {
  const Interpretation meaning = interpret("SHOW $1");
  REQUIRE(meaning.failure);
  CHECK(meaning.failure->sqlstate == "0A000");
}

TEST_CASE("admin: forms of SET") {
  struct Case {
    const char* text;
    const char* key;
    const char* value;
  };
  for (const Case& expected :
       {Case{"SET a = b", "a", "b"}, Case{"set A to 'b c'", "A", "b c"}, Case{"SET \"a\"=\"b\"\"c\"", "a", "b\"c"},
        Case{"SET a = -1.5", "a", "-1.5"}, Case{"SET SESSION a TO 10s;", "a", "10s"},
        Case{"SET LOCAL a = x, 'y'", "a", "x, 'y'"}, Case{"SET session = on", "session", "on"},
        Case{"SET to = to", "to", "to"}, Case{"SET a = ''", "a", ""}}) {
    CAPTURE(expected.text);
    const Interpretation meaning = interpret(expected.text);
    REQUIRE(meaning.request);
    CHECK(meaning.request->command == &kSet);
    CHECK(meaning.request->key == expected.key);
    CHECK(meaning.request->argument == expected.value);
  }
}

TEST_CASE("admin: what drivers send by themselves") {
  for (const char* text : {"SET extra_float_digits = 3", "SET application_name = 'x'", "set DateStyle TO 'ISO, MDY'",
                           "SET TIME ZONE 'UTC'", "SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY",
                           "SET names 'utf8'", "SET search_path TO a, b"}) {
    CAPTURE(text);
    CHECK(command_of(text) == &kSetIgnored);
  }
  for (const char* text : {"BEGIN", "begin isolation level serializable;", "START TRANSACTION READ ONLY"})
    CHECK(command_of(text) == &kBegin);
  for (const char* text : {"COMMIT", "end work"}) CHECK(command_of(text) == &kCommit);
  for (const char* text : {"ROLLBACK", "abort transaction"}) CHECK(command_of(text) == &kRollback);
  CHECK(command_of("DISCARD ALL") == &kDiscardAll);
  CHECK(command_of("DEALLOCATE ALL") == &kDeallocateAll);
  CHECK(command_of("DEALLOCATE \"x y\"") == &kDeallocate);
  CHECK(argument_of("DEALLOCATE \"x y\"") == "x y");
  CHECK(command_of("SELECT pg_advisory_unlock_all();\nCLOSE ALL;\nUNLISTEN *;\nRESET ALL;") == &kDriverReset);
  CHECK(command_of("select  1;") == &kDriverQuery);
  CHECK(command_of("SELECT version") == &kShowVersion);
  CHECK(command_of("SELECT version()") == &kDriverQuery);
}
