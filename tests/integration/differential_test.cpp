// The same messages to PostgreSQL and to Bezel must be answered by the same frames.

#include "integration/differential.h"

#include <doctest/doctest.h>

#include <string>
#include <utility>
#include <vector>

using namespace bezel::integration;

namespace {

using Named = std::pair<const char*, Conversation>;

constexpr const char* kCopyIn = "COPY t FROM STDIN";
constexpr const char* kInsertSeven = "INSERT INTO t VALUES (7, 'seven')";
constexpr uint32_t kInt4Add = 177;  // OID of int4pl

std::vector<Named> simple_protocol() {
  return {
      {"queries", {{Messages().query("SELECT 1")}, {Messages().query("SELECT 1; SELECT 'two', 3; SELECT NULL")}}},
      {"empty queries", {{Messages().query("")}, {Messages().query(";;")}, {Messages().query(" -- nothing")}}},
      {"errors",
       {{Messages().query("SELECT 1/0")},
        {Messages().query("selec")},
        {Messages().query("SELECT 1; SELECT 1/0; SELECT 2")}}},
      {"many queries at once",
       {{Messages().query("SELECT 1").query("SELECT 1/0").query("BEGIN").query("SELECT 2").query("COMMIT"), "ZZZZZ"}}},
      {"failed transaction",
       {{Messages().query("BEGIN")},
        {Messages().query("SELECT 1/0")},
        {Messages().query("SELECT 1")},
        {Messages().query("ROLLBACK")},
        {Messages().query("SELECT 1")}}},
      {"commit of a failed transaction",
       {{Messages().query("BEGIN; SELECT 1/0")}, {Messages().query("COMMIT")}, {Messages().query("SELECT 1")}}},
      {"savepoints",
       {{Messages().query("BEGIN; SAVEPOINT s; INSERT INTO t VALUES (9, 'x')")},
        {Messages().query("SELECT 1/0")},
        {Messages().query("ROLLBACK TO s")},
        {Messages().query("SELECT count(*) FROM t")},
        {Messages().query("COMMIT")}}},
      {"notices and warnings",
       {{Messages().query("DO $$ BEGIN RAISE NOTICE 'hello %', 1; RAISE WARNING 'careful'; END $$")},
        {Messages().query("COMMIT")},
        {Messages().query("BEGIN; BEGIN; COMMIT; COMMIT")}}},
      {"a long query", {{Messages().query("SELECT length('" + std::string(300'000, 'x') + "')")}}},
      {"a long answer", {{Messages().query("SELECT repeat('y', 700000), g FROM generate_series(1, 20) g")}}},
      {"a long error", {{Messages().query("SELECT '" + std::string(100'000, 'z') + "'::int")}}},
      {"function calls",
       {{Messages().function_call(kInt4Add, {"2", "3"})},
        {Messages().function_call(4'000'000, {})},
        {Messages().query("BEGIN").function_call(kInt4Add, {"x", "3"}).function_call(kInt4Add, {"1", "1"}), "ZZZ"},
        {Messages().query("ROLLBACK")}}},
      {"several statements in one message are one transaction",
       {{Messages().query(std::string(kInsertSeven) + "; SELECT 1/0")},
        {Messages().query("SELECT * FROM t ORDER BY a")}}},
  };
}

std::vector<Named> extended_protocol() {
  return {
      {"unnamed statement",
       {{Messages().parse("", "SELECT $1::int + 1").bind("", "", {"41"}).describe('P', "").execute().sync()}}},
      {"statement described",
       {{Messages().parse("", "SELECT $1::int, b FROM t WHERE a = $2").describe('S', "").sync()}}},
      {"empty statement", {{Messages().parse("", "").bind("", "").describe('P', "").execute().sync()}}},
      {"Sync alone", {{Messages().sync()}, {Messages().sync().sync(), "ZZ"}}},
      {"Flush alone", {{Messages().flush().sync()}, {Messages().flush().query("SELECT 1")}}},
      {"rows in portions",
       {{Messages()
             .parse("", "SELECT g FROM generate_series(1, 5) g")
             .bind("", "")
             .execute("", 2)
             .execute("", 2)
             .execute("", 2)
             .sync()}}},
      {"portal over Flush",
       {{Messages().parse("", "SELECT g FROM generate_series(1, 5) g").bind("p", "").execute("p", 2).flush(), "s"},
        {Messages().execute("p", 2).flush(), "s"},
        {Messages().execute("p", 0).sync()},
        {Messages().execute("p", 0).sync()}}},
      {"portal over Sync in a transaction",
       {{Messages().query("BEGIN")},
        {Messages().parse("", "SELECT g FROM generate_series(1, 5) g").bind("p", "").execute("p", 2).sync()},
        {Messages().execute("p", 2).describe('P', "p").sync()},
        {Messages().close('P', "p").execute("p").sync()},
        {Messages().query("ROLLBACK")}}},
      {"Flush before anything else",
       {{Messages().parse("", "SELECT 1").flush(), "1"},
        {Messages().bind("", "").flush(), "2"},
        {Messages().execute().flush(), "C"},
        {Messages().sync()}}},
      {"error before Flush, and what follows is skipped",
       {{Messages().parse("", "SELECT 1/0").bind("", "").execute().flush(), "E"},
        {Messages().parse("", "SELECT 1").bind("", "").execute().flush().sync()}}},
      {"pipeline of five batches",
       {{Messages()
             .parse("", "SELECT 1")
             .bind("", "")
             .execute()
             .sync()
             .parse("", "SELECT 2")
             .bind("", "")
             .describe('P', "")
             .execute()
             .sync()
             .parse("", "SELECT 3")
             .bind("", "")
             .execute()
             .sync()
             .query("SELECT 4")
             .parse("", "SELECT 5")
             .bind("", "")
             .execute()
             .sync(),
         "ZZZZZ"}}},
      {"error inside a pipeline",
       {{Messages()
             .parse("", "SELECT 1")
             .bind("", "")
             .execute()
             .sync()
             .parse("", "SELECT 1/0")
             .bind("", "")
             .execute()
             .parse("", "SELECT 2")
             .bind("", "")
             .execute()
             .sync()
             .parse("", "SELECT 3")
             .bind("", "")
             .execute()
             .sync(),
         "ZZZ"}}},
      {"error takes the batch's earlier statements back",
       {{Messages()
             .parse("", kInsertSeven)
             .bind("", "")
             .execute()
             .parse("", "SELECT 1/0")
             .bind("", "")
             .execute()
             .sync()},
        {Messages().query("SELECT * FROM t ORDER BY a")}}},
      {"begin and commit in one batch",
       {{Messages()
             .parse("", "BEGIN")
             .bind("", "")
             .execute()
             .parse("", kInsertSeven)
             .bind("", "")
             .execute()
             .parse("", "COMMIT")
             .bind("", "")
             .execute()
             .sync()},
        {Messages().query("SELECT count(*) FROM t")}}},
      {"transaction over batches, failing",
       {{Messages()
             .parse("", "BEGIN")
             .bind("", "")
             .execute()
             .sync()
             .parse("", "SELECT 1/0")
             .bind("", "")
             .execute()
             .sync()
             .parse("", "SELECT 1")
             .bind("", "")
             .execute()
             .sync()
             .parse("", "ROLLBACK")
             .bind("", "")
             .execute()
             .sync(),
         "ZZZZ"}}},
      {"unknown portals",
       {{Messages().execute("nope").sync()},
        {Messages().describe('P', "nope").sync()},
        {Messages().close('P', "nope").sync()}}},
      {"wrong Binds",
       {{Messages().parse("", "SELECT $1::int").bind("", "", {}).execute().sync()},
        {Messages().parse("", "SELECT $1::int").bind("", "", {"x"}).execute().sync()},
        {Messages().parse("", "SELECT $1::int").bind("", "", {"1", "2"}).sync()},
        {Messages().parse("", "SELECT 1").raw('B', std::string("\0\0\0\1\0\0", 6)).sync()}}},
      {"wrong kinds",
       {{Messages().raw('D', std::string("Zx\0", 3)).sync()}, {Messages().raw('C', std::string("Zx\0", 3)).sync()}}},
      {"query without Sync before it",
       {{Messages().parse("", "SELECT 1").bind("", "").execute().query("SELECT 2")},
        {Messages().parse("", "SELECT 1/0").bind("", "").execute().query("SELECT 2").sync()}}},
      {"large parameters",
       {{Messages().parse("", "SELECT length($1)").bind("", "", {std::string(900'000, 'p')}).execute().sync()}}},
  };
}

std::vector<Named> prepared_statements() {
  const Messages use = Messages().bind("", "s", {"5"}).describe('P', "").execute().sync();
  return {
      {"prepared once, used often",
       {{Messages().parse("s", "SELECT $1::int * 2").sync()},
        {use},
        {use},
        {Messages().append(use).append(use), "ZZ"},
        {use}}},
      {"described",
       {{Messages().parse("s", "SELECT a, b FROM t WHERE a = $1").describe('S', "s").sync()},
        {Messages().describe('S', "s").sync()}}},
      {"prepared and used in one batch", {{Messages().parse("s", "SELECT $1::int").append(use)}, {use}}},
      {"name twice",
       {{Messages().parse("s", "SELECT $1::int").sync()},
        {Messages().parse("s", "SELECT $1::int").sync()},
        {Messages().parse("s", "SELECT $1::text").sync()},
        {use}}},
      {"name twice in one batch",
       {{Messages().parse("s", "SELECT $1::int").parse("s", "SELECT $1::int").append(use)}, {use}}},
      {"unknown names",
       {{use},
        {Messages().describe('S', "nope").sync()},
        {Messages().close('S', "nope").sync()},
        {Messages().bind("", "nope").flush(), "E"},
        {Messages().sync()}}},
      {"name with quotes and spaces",
       {{Messages().parse("a \"b\" ' %s", "SELECT 1").parse("a \"b\" ' %s", "SELECT 1").sync()}}},
      {"long name",
       {{Messages().parse(std::string(3000, 'n'), "SELECT 1").parse(std::string(3000, 'n'), "SELECT 1").sync()},
        {Messages().bind("", std::string(3000, 'n')).execute().sync()}}},
      {"closed", {{Messages().parse("s", "SELECT $1::int").sync()}, {Messages().close('S', "s").sync()}, {use}}},
      {"closed and prepared anew in one batch",
       {{Messages().parse("s", "SELECT $1::int").sync()},
        {Messages().close('S', "s").parse("s", "SELECT $1::text || 'x'").append(use)},
        {use}}},
      {"closed twice", {{Messages().parse("s", "SELECT 1").close('S', "s").close('S', "s").sync()}}},
      {"failed Parse leaves the name free",
       {{Messages().parse("s", "SELEC").sync()}, {use}, {Messages().parse("s", "SELECT $1::int").sync()}, {use}}},
      {"failed Parse, unknown table",
       {{Messages().parse("s", "SELECT * FROM nope").sync()}, {Messages().parse("s", "SELECT $1::int").append(use)}}},
      {"prepared before an error in the batch stays",
       {{Messages().parse("s", "SELECT $1::int").parse("", "SELEC").sync()}, {use}}},
      {"prepared after an error in the batch is not",
       {{Messages().parse("", "SELEC").parse("s", "SELECT $1::int").sync()}, {use}}},
      {"closed after an error in the batch stays",
       {{Messages().parse("s", "SELECT $1::int").sync()},
        {Messages().parse("", "SELEC").close('S', "s").sync()},
        {use}}},
      {"closed before an error in the batch is gone",
       {{Messages().parse("s", "SELECT $1::int").sync()},
        {Messages().close('S', "s").parse("", "SELEC").sync()},
        {use}}},
      {"error, closed and prepared anew, next batch",
       {{Messages().parse("s", "SELECT $1::int").sync()},
        {Messages().parse("", "SELEC").close('S', "s").parse("s", "SELECT 1").sync().append(use), "ZZ"}}},
      {"prepared in a transaction that is rolled back",
       {{Messages().query("BEGIN")},
        {Messages().parse("s", "SELECT $1::int").sync()},
        {Messages().query("ROLLBACK")},
        {use}}},
      {"prepared in a failed transaction",
       {{Messages().query("BEGIN; SELECT 1/0")},
        {Messages().parse("s", "SELECT $1::int").sync()},
        {use},
        {Messages().parse("r", "ROLLBACK").bind("", "r").execute().sync()},
        {use}}},
      {"used in a failed transaction",
       {{Messages().parse("s", "SELECT $1::int").sync()},
        {Messages().query("BEGIN; SELECT 1/0")},
        {use},
        {Messages().describe('S', "s").sync()},
        {Messages().query("ROLLBACK")},
        {use}}},
      {"DISCARD ALL",
       {{Messages().parse("s", "SELECT $1::int").sync()},
        {Messages().query("DISCARD ALL")},
        {use},
        {Messages().parse("s", "SELECT $1::text").append(use)}}},
      {"DEALLOCATE ALL",
       {{Messages().parse("s", "SELECT $1::int").sync()},
        {Messages().query("DEALLOCATE ALL")},
        {use},
        {Messages().parse("s", "SELECT $1::text").append(use)}}},
      {"DEALLOCATE ALL in a batch",
       {{Messages().parse("s", "SELECT $1::int").parse("", "DEALLOCATE ALL").bind("", "").execute().sync()},
        {use},
        {Messages().parse("s", "SELECT $1::int").append(use)}}},
      {"DISCARD ALL in a batch",
       {{Messages().parse("s", "SELECT $1::int").sync()},
        {Messages().parse("", "DISCARD ALL").bind("", "").execute().sync()},
        {use}}},
      {"DISCARD ALL in a transaction fails and discards nothing",
       {{Messages().parse("s", "SELECT $1::int").sync()},
        {Messages().query("BEGIN")},
        {Messages().query("DISCARD ALL")},
        {Messages().query("ROLLBACK")},
        {use}}},
      {"DEALLOCATE ALL and a Parse behind it in one go",
       {{Messages().parse("s", "SELECT $1::int").sync()},
        {Messages().query("DEALLOCATE ALL").parse("s", "SELECT $1::text || '!'").append(use), "ZZ"},
        {use}}},
      {"DEALLOCATE ALL and a Parse of a new name behind it in one go",
       {{Messages().query("DEALLOCATE ALL").parse("s", "SELECT $1::int").append(use), "ZZ"},
        {use},
        {Messages().query("DISCARD ALL").parse("r", "SELECT $1::int").sync(), "ZZ"},
        {use},
        {Messages().bind("", "r", {"6"}).execute().sync()}}},
      {"many statements",
       [] {
         Messages all;
         for (int i = 0; i < 60; i++) all.parse("s" + std::to_string(i), "SELECT " + std::to_string(i) + " + $1::int");
         Conversation conversation{{all.sync()}};
         for (int i = 0; i < 60; i += 7) {
           conversation.push_back({Messages()
                                       .bind("", "s" + std::to_string(i), {"1"})
                                       .execute()
                                       .bind("", "s" + std::to_string(59 - i), {"2"})
                                       .execute()
                                       .sync()});
         }
         return conversation;
       }()},
      {"portal of a statement that is closed",
       {{Messages().parse("s", "SELECT $1::int").bind("p", "s", {"1"}).close('S', "s").execute("p").sync()}}},
      {"Flush between all steps",
       {{Messages().parse("s", "SELECT $1::int").flush(), "1"},
        {Messages().describe('S', "s").flush(), "T"},
        {Messages().bind("", "s", {"4"}).flush(), "2"},
        {Messages().close('S', "s").flush(), "3"},
        {Messages().execute().flush(), "C"},
        {Messages().sync()}}},
      {"result type changes",
       {{Messages().parse("s", "SELECT * FROM t WHERE a = $1").sync()},
        {use},
        {Messages().query("BEGIN; ALTER TABLE t ADD c int")},
        {use},
        {Messages().query("ROLLBACK")},
        {use}}},
      {"a long statement",
       {{Messages().parse("s", "SELECT $1::int, '" + std::string(200'000, 'l') + "'").append(use)}, {use}}},
  };
}

std::vector<Named> copies() {
  const Messages start = Messages().parse("", kCopyIn).bind("", "").execute();
  const Messages look = Messages().query("SELECT * FROM t ORDER BY a");
  return {
      {"in",
       {{Messages().query(kCopyIn), "G"},
        {Messages().copy_data("4\tfour\n5\t").copy_data("five\n").copy_done()},
        {look}}},
      {"in, at once", {{Messages().query(kCopyIn).copy_data("4\tfour\n").copy_done().append(look), "ZZ"}}},
      {"in, given up",
       {{Messages().query(kCopyIn), "G"}, {Messages().copy_data("4\tfour\n").copy_fail("no more")}, {look}}},
      {"in, with wrong data and late data",
       {{Messages().query(kCopyIn), "G"},
        {Messages().copy_data("x\tfour\n")},
        {Messages().copy_data("5\tfive\n").copy_done().append(look)}}},
      {"in, wrong data and all the rest at once",
       {{Messages().query(kCopyIn).copy_data("x\tfour\n").copy_data("5\tfive\n").copy_done().append(look), "ZZ"}}},
      {"out",
       {{Messages().query("COPY t TO STDOUT")},
        {Messages().query("COPY (SELECT g, repeat('x', 1000) FROM generate_series(1, 500) g) TO STDOUT")}}},
      {"out, failing half way",
       {{Messages().query("COPY (SELECT 1 / (5 - g) FROM generate_series(1, 9) g) TO STDOUT")}}},
      {"two in one message",
       {{Messages().query(std::string(kCopyIn) + "; SELECT 1; " + kCopyIn), "G"},
        {Messages().copy_data("4\tfour\n").copy_done(), "G"},
        {Messages().copy_data("5\tfive\n").copy_done()},
        {look}}},
      {"extended", {{Messages(start).flush(), "G"}, {Messages().copy_data("4\tfour\n").copy_done().sync()}, {look}}},
      {"extended, with a Sync before the data, as libpq sends it",
       {{Messages(start).sync(), "G"}, {Messages().copy_data("4\tfour\n").copy_done().sync()}, {look}}},
      {"extended, Sync before the data, all at once",
       {{Messages(start).sync().copy_data("4\tfour\n").copy_done().sync().append(look), "ZZ"}}},
      {"extended, given up", {{Messages(start).sync(), "G"}, {Messages().copy_fail("no").sync()}, {look}}},
      {"extended, given up, all at once", {{Messages(start).sync().copy_fail("no").sync().append(look), "ZZ"}}},
      {"extended, wrong data and late data",
       {{Messages(start).sync(), "G"},
        {Messages().copy_data("x\n"), "E"},
        {Messages().copy_data("5\tfive\n").copy_done().sync()},
        {look}}},
      {"extended, cannot begin",
       {{Messages()
             .parse("", "COPY nope FROM STDIN")
             .bind("", "")
             .execute()
             .sync()
             .copy_data("1\tx\n")
             .copy_done()
             .sync()
             .append(look),
         "ZZZ"}}},
      {"inside a pipeline",
       {{Messages()
             .parse("", "SELECT 1")
             .bind("", "")
             .execute()
             .append(start)
             .copy_data("4\tfour\n")
             .copy_done()
             .parse("", "SELECT 2")
             .bind("", "")
             .execute()
             .sync()
             .parse("", "SELECT 3")
             .bind("", "")
             .execute()
             .sync(),
         "ZZ"},
        {look}}},
      {"out, extended in a pipeline",
       {{Messages()
             .parse("", "COPY t TO STDOUT")
             .bind("", "")
             .execute()
             .sync()
             .parse("", "SELECT 2")
             .bind("", "")
             .execute()
             .sync(),
         "ZZ"}}},
      {"two in one batch",
       {{Messages(start).copy_data("4\tfour\n").copy_done().append(start).copy_data("5\tfive\n").copy_done().sync()},
        {look}}},
      {"Flush and Sync while data go in",
       {{Messages().query(kCopyIn), "G"},
        {Messages().copy_data("4\tfour\n").flush().sync().copy_data("5\tfive\n").copy_done()},
        {look}}},
      {"query while data go in",
       {{Messages().query(kCopyIn), "G"}, {Messages().copy_data("4\tfour\n").query("SELECT 1")}, {look}}},
      {"Parse while data go in",
       {{Messages(start).sync(), "G"},
        {Messages().copy_data("4\tfour\n").parse("", "SELECT 1"), "E"},
        {Messages().sync()},
        {look}}},
      {"data outside COPY",
       {{Messages().copy_data("x").copy_done().copy_fail("y").query("SELECT 1")},
        {Messages().copy_data("x").sync()},
        {Messages().query("BEGIN")},
        {Messages().copy_data("x").copy_done().query("SELECT 1")},
        {Messages().query("COMMIT")}}},
      {"in a transaction",
       {{Messages().query("BEGIN")},
        {Messages().query(kCopyIn), "G"},
        {Messages().copy_data("4\tfour\n").copy_done()},
        {look},
        {Messages().query("ROLLBACK")},
        {look}}},
      {"with a named statement",
       {{Messages().parse("c", kCopyIn).sync()},
        {Messages().bind("", "c").execute().sync(), "G"},
        {Messages().copy_data("4\tfour\n").copy_done().sync()},
        {Messages().bind("", "c").execute().copy_data("5\tfive\n").copy_done().sync()},
        {look}}},
      {"long data",
       {{Messages().query("COPY log FROM STDIN"), "G"},
        {Messages()
             .copy_data(std::string(500'000, 'x') + "\n")
             .copy_data(std::string(300'000, 'y') + "\n")
             .copy_done()},
        {Messages().query("SELECT length(line) FROM log")}}},
  };
}

std::vector<Named> parameters() {
  return {
      {"SET is reported, and stays",
       {{Messages().query("SET TimeZone = 'Asia/Tokyo'")},
        {Messages().query("SHOW TimeZone")},
        {Messages().query("SET TimeZone = 'Asia/Tokyo'")},
        {Messages().query("SHOW TimeZone")},
        {Messages().query("RESET TimeZone")},
        {Messages().query("SHOW TimeZone")}}},
      {"several",
       {{Messages().query("SET DateStyle = 'German'; SET IntervalStyle = 'iso_8601'")},
        {Messages().query("SELECT '2024-02-03'::date, '1 day'::interval")},
        {Messages().query("SET application_name = 'it''s me'")},
        {Messages().query("SHOW application_name")},
        {Messages().query("SELECT '2024-02-03'::date")}}},
      {"rolled back",
       {{Messages().query("BEGIN; SET TimeZone = 'Asia/Tokyo'")},
        {Messages().query("SHOW TimeZone")},
        {Messages().query("ROLLBACK")},
        {Messages().query("SHOW TimeZone")}}},
      {"local",
       {{Messages().query("BEGIN; SET LOCAL TimeZone = 'Asia/Tokyo'")},
        {Messages().query("SHOW TimeZone")},
        {Messages().query("COMMIT")},
        {Messages().query("SHOW TimeZone")}}},
      {"client encoding",
       {{Messages().query("SET client_encoding = 'LATIN1'")},
        {Messages().query("SELECT chr(228)")},
        {Messages().query("SELECT chr(228)")},
        {Messages().query("RESET client_encoding")},
        {Messages().query("SELECT chr(228)")}}},
      {"by the extended protocol",
       {{Messages().parse("", "SET TimeZone = 'Asia/Tokyo'").bind("", "").execute().sync()},
        {Messages().query("SHOW TimeZone")}}},
      {"wrong values",
       {{Messages().query("SET TimeZone = 'nowhere'")},
        {Messages().query("SHOW TimeZone")},
        {Messages().query("SET client_encoding = 'x'")}}},
      {"RESET ALL and DISCARD ALL",
       {{Messages().query("SET TimeZone = 'Asia/Tokyo'")},
        {Messages().query("RESET ALL")},
        {Messages().query("SHOW TimeZone")},
        {Messages().query("SET TimeZone = 'Asia/Tokyo'")},
        {Messages().query("DISCARD ALL")},
        {Messages().query("SHOW TimeZone")}}},
      {"standard_conforming_strings",
       {{Messages().query("SET standard_conforming_strings = off")},
        {Messages().query("SELECT '\\x'")},
        {Messages().query("SET TimeZone = 'Etc/UTC'")},
        {Messages().query("SHOW TimeZone")}}},
  };
}

std::vector<Named> broken_messages() {
  return {
      {"unknown type", {{Messages().raw('y', "")}}},
      {"unknown type in a transaction", {{Messages().query("BEGIN")}, {Messages().raw('\1', "abc")}}},
      {"query without its end", {{Messages().raw('Q', "SELECT 1")}, {Messages().query("SELECT 1")}}},
      {"query with more than its end", {{Messages().raw('Q', std::string("SELECT 1\0x", 10))}}},
      {"Execute that is too short", {{Messages().raw('E', std::string("\0\0", 2)).sync()}}},
      {"unnamed Parse that is too short", {{Messages().raw('P', std::string("\0SELECT 1", 9)).sync()}}},
      {"empty Parse", {{Messages().raw('P', "").sync()}}},
      {"empty Bind", {{Messages().raw('B', "").sync()}}},
      {"empty Describe", {{Messages().raw('D', "").sync()}}},
      {"empty Close", {{Messages().raw('C', "").sync()}}},
      {"empty function call", {{Messages().raw('F', "")}}},
  };
}

void compare_all(const std::vector<Named>& conversations) {
  static Differential differential;
  uint32_t seed = 1;
  for (const auto& [name, conversation] : conversations) {
    differential.compare(conversation, name, seed++);
    size_t bytes = 0;
    for (const Step& step : conversation) bytes += step.messages.bytes().size();
    if (bytes < 2000) differential.compare(conversation, name, seed++, Differential::Sending::bytewise);
  }
}

}  // namespace

TEST_CASE("simple protocol") {
  compare_all(simple_protocol());
}
TEST_CASE("extended protocol") {
  compare_all(extended_protocol());
}
TEST_CASE("prepared statements") {
  compare_all(prepared_statements());
}
TEST_CASE("COPY") {
  compare_all(copies());
}
TEST_CASE("parameters") {
  compare_all(parameters());
}
TEST_CASE("broken messages") {
  compare_all(broken_messages());
}
