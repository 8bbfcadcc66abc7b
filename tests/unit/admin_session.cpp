#include <doctest/doctest.h>

#include <string>

#include "admin/console_session.h"
#include "admin/driver_statements.h"
#include "protocol/messages.h"
#include "tests/unit/admin_fakes.h"

using namespace bezel;
using namespace bezel::admin;
using namespace bezel::admin::fakes;

namespace {

/// Messages of the extended protocol in a row.
struct Extended {
  std::string bytes;
  Extended& parse(std::string_view text, std::string_view name = "") {
    protocol::append_parse(bytes, name, text);
    return *this;
  }
  Extended& bind(std::string_view portal = "", std::string_view statement = "") {
    protocol::append_bind(bytes, portal, statement);
    return *this;
  }
  /// With result formats.
  Extended& bind_formats(std::initializer_list<int> formats) {
    std::string body("\0\0\0\0\0\0", 6);
    const auto u16 = [&](size_t value) {
      body.push_back(static_cast<char>(value >> 8));
      body.push_back(static_cast<char>(value & 0xff));
    };
    u16(formats.size());
    for (const int format : formats) u16(static_cast<size_t>(format));
    return raw('B', body);
  }
  Extended& describe(char kind, std::string_view name = "") {
    protocol::append_describe(bytes, kind, name);
    return *this;
  }
  Extended& execute(int rows_max = 0, std::string_view portal = "") {
    protocol::append_execute(bytes, portal, rows_max);
    return *this;
  }
  Extended& close(char kind, std::string_view name) {
    protocol::append_close(bytes, kind, name);
    return *this;
  }
  Extended& sync() {
    protocol::append_sync(bytes);
    return *this;
  }
  Extended& flush() {
    protocol::append_flush(bytes);
    return *this;
  }
  Extended& raw(char type, std::string_view body) {
    bytes.push_back(type);
    const size_t length = body.size() + 4;
    for (int shift = 24; shift >= 0; shift -= 8) bytes.push_back(static_cast<char>((length >> shift) & 0xff));
    bytes.append(body);
    return *this;
  }
  Extended& query(std::string_view text) {
    protocol::append_query(bytes, text);
    return *this;
  }
};

Answer ask(Fixture& fixture, const Extended& messages) {
  const int before = fixture.client.done;
  const size_t count = split_messages(messages.bytes).size();
  fixture.send(messages.bytes);
  CHECK(fixture.client.done == before + static_cast<int>(count));
  return fixture.take();
}

}  // namespace

TEST_CASE("admin: simple protocol") {
  Fixture fixture;
  const Answer answer = fixture.query("SHOW STATE");
  CHECK(answer.types == "TDDDCZ");
  CHECK(answer.tag == "SHOW");
  CHECK(answer.status == 'I');
  CHECK(answer.rows == std::vector<TextRow>{{"active", "yes"}, {"paused", "no"}, {"suspended", "no"}});
  CHECK(fixture.query(" ; ").types == "IZ");
  const Answer wrong = fixture.query("nix");
  CHECK(wrong.types == "EZ");
  CHECK(wrong.error == "invalid command 'nix', use SHOW HELP;");
  CHECK(wrong.sqlstate == "08P01");
  CHECK(wrong.severity == "ERROR");
  CHECK(fixture.client.done == 3);
}

TEST_CASE("admin: help is a notice") {
  Fixture fixture;
  const Answer answer = fixture.query("SHOW HELP");
  CHECK(answer.types == "NCZ");
  CHECK(answer.notice == "Console usage");
  CHECK(answer.notice_detail.find("\tKILL_CLIENT <client_id>") != std::string::npos);
  CHECK(answer.tag == "SHOW");
}

TEST_CASE("admin: extended protocol, statement and portal described") {
  Fixture fixture;
  const Answer answer =
      ask(fixture, Extended().parse("SHOW STATE").describe('S').bind().describe('P').execute().sync());
  CHECK(answer.types == "1tT2TDDDCZ");
  CHECK(answer.columns == std::vector<std::string>{"key", "value", "key", "value"});
  const Answer no_rows = ask(fixture, Extended().parse("RELOAD").describe('S').bind().describe('P').execute().sync());
  CHECK(no_rows.types == "1tn2nCZ");
  CHECK(fixture.program.reloads == 1);
  const Answer empty = ask(fixture, Extended().parse("").describe('S').bind().execute().sync());
  CHECK(empty.types == "1tn2IZ");
  const Answer help = ask(fixture, Extended().parse("SHOW HELP").bind().execute().sync());
  CHECK(help.types == "12NCZ");
}

TEST_CASE("admin: results in binary format") {
  Fixture fixture;
  fixture.fleet.registry.add_pool("app", "u", 0)->queries.add(123450006789);
  fixture.program.hosts = {ResolvedHost{"db", 70'000'000, {"10.0.0.1", "::1"}}};
  SUBCASE("int4 and text") {
    const Answer answer = ask(fixture, Extended().parse("SHOW LISTS").bind_formats({1}).describe('P').execute().sync());
    CHECK(answer.formats == std::vector<int>{1, 1});
    CHECK(answer.rows.at(0) == TextRow{"databases", std::string("\0\0\0\1", 4)});
  }
  SUBCASE("int8") {
    const Answer answer = ask(fixture, Extended().parse("SHOW DNS_HOSTS").bind_formats({0, 1, 1}).execute().sync());
    CHECK(answer.rows.at(0) == TextRow{"db", std::string("\0\0\0\0\0\0\0\x46", 8), "10.0.0.1,::1"});
  }
  SUBCASE("numeric: 1234 5000 6789 in digits of base 10000") {
    const Answer answer = ask(fixture, Extended().parse("SHOW STATS_TOTALS").bind_formats({1}).execute().sync());
    CHECK(answer.rows.at(0).at(3) == std::string("\0\3\0\2\0\0\0\0\x04\xd2\x13\x88\x1a\x85", 14));
    CHECK(answer.rows.at(0).at(1) == std::string(8, '\0'));
  }
  SUBCASE("boolean") {
    const Answer answer =
        ask(fixture, Extended().parse("SELECT pg_is_in_recovery()").bind_formats({1}).execute().sync());
    CHECK(answer.rows.at(0) == TextRow{std::string(1, '\0')});
  }
  SUBCASE("a number that int4 cannot hold is an error in binary and whole in text") {
    pool::ConnectionRow row;
    row.id = uint64_t{1} << 40;
    fixture.fleet.client_rows = {row};
    const Answer binary = ask(fixture, Extended().parse("SHOW CLIENTS").bind_formats({1}).execute().sync());
    CHECK(binary.types == "12EZ");
    CHECK(binary.sqlstate == "22003");
    CHECK(fixture.query("SHOW CLIENTS").row_map(0).at("id") == "1099511627776");
  }
}

TEST_CASE("admin: a numeric without its trailing zeros") {
  constexpr Column kColumns[] = {{"n", ColumnType::numeric}};
  const auto binary = [&](int64_t value) {
    ResultRows rows(kColumns, {Format::binary});
    rows.number(value);
    std::string bytes;
    rows.append_to(bytes, 0, 1);
    return read_row(split_messages(bytes).at(0).body).at(0);
  };
  CHECK(binary(0) == std::string(8, '\0'));
  CHECK(binary(10000) == std::string("\0\1\0\1\0\0\0\0\0\1", 10));
  CHECK(binary(-30000000) == std::string("\0\1\0\1\x40\0\0\0\x0b\xb8", 10));
  CHECK(binary(9223372036854775807).size() == 8 + 10);
}

TEST_CASE("admin: wrong formats of a Bind") {
  Fixture fixture;
  CHECK(ask(fixture, Extended().parse("SHOW STATE").bind_formats({0, 1, 0}).execute().sync()).error ==
        "bind message has 3 result formats but query has 2 columns");
  CHECK(ask(fixture, Extended().parse("SHOW STATE").bind_formats({2}).execute().sync()).sqlstate == "22023");
}

TEST_CASE("admin: after an error all is skipped until Sync, a Query too") {
  Fixture fixture;
  const Answer answer = ask(
      fixture, Extended().parse("nix").bind().describe('P').query("RELOAD").execute().close('S', "").flush().sync());
  CHECK(answer.types == "EZ");
  CHECK(fixture.program.reloads == 0);
  CHECK(ask(fixture, Extended().parse("RELOAD").bind().execute().sync()).types == "12CZ");
}

TEST_CASE("admin: names of statements and portals") {
  Fixture fixture;
  const auto error = [&](const Extended& messages) {
    const Answer answer = ask(fixture, messages);
    return answer.sqlstate + " " + answer.error;
  };
  CHECK(error(Extended().bind("", "a").sync()) == "26000 prepared statement \"a\" does not exist");
  CHECK(error(Extended().bind().sync()) == "26000 unnamed prepared statement does not exist");
  CHECK(error(Extended().describe('S', "a").sync()) == "26000 prepared statement \"a\" does not exist");
  CHECK(error(Extended().describe('P', "p").sync()) == "34000 portal \"p\" does not exist");
  CHECK(error(Extended().execute(0, "p").sync()) == "34000 portal \"p\" does not exist");
  CHECK(ask(fixture, Extended().parse("SHOW STATE", "a").sync()).types == "1Z");
  CHECK(error(Extended().parse("SHOW STATE", "a").sync()) == "42P05 prepared statement \"a\" already exists");
  CHECK(error(Extended().bind("p", "a").bind("p", "a").sync()) == "42P03 cursor \"p\" already exists");
  CHECK(ask(fixture, Extended().close('S', "a").close('S', "a").close('P', "p").sync()).types == "333Z");
  CHECK(ask(fixture, Extended().parse("SHOW STATE", "a").parse("SHOW STATE").parse("SHOW LISTS").sync()).types ==
        "111Z");
  CHECK(fixture.query("DEALLOCATE a").tag == "DEALLOCATE");
  CHECK(fixture.query("DEALLOCATE a").sqlstate == "26000");
  CHECK(ask(fixture, Extended().parse("SHOW STATE", "a").sync()).types == "1Z");
  CHECK(fixture.query("DISCARD ALL").tag == "DISCARD ALL");
  CHECK(ask(fixture, Extended().parse("SHOW STATE", "a").sync()).types == "1Z");
}

TEST_CASE("admin: portals end at Sync outside a transaction") {
  Fixture fixture;
  CHECK(ask(fixture, Extended().parse("SHOW STATE").bind("p").sync().execute(0, "p").sync()).types == "12ZEZ");
  fixture.query("BEGIN");
  CHECK(ask(fixture, Extended().parse("SHOW STATE").bind("p").sync().execute(0, "p").sync()).types == "12ZDDDCZ");
}

TEST_CASE("admin: a portal is fetched in parts") {
  Fixture fixture;
  const Answer answer = ask(fixture, Extended().parse("SHOW STATE").bind().execute(2).execute(2).execute(2).sync());
  CHECK(answer.types == "12DDsDCCZ");
}

TEST_CASE("admin: how many statements a session may have") {
  Fixture fixture;
  Extended many;
  for (size_t i = 0; i < ConsoleSession::kStatementsMax; i++) many.parse("RELOAD", std::to_string(i));
  CHECK(ask(fixture, many.sync()).error == "");
  const Answer answer = ask(fixture, Extended().parse("RELOAD", "one more").sync());
  CHECK(answer.sqlstate == "54000");
}

TEST_CASE("admin: no parameters") {
  Fixture fixture;
  const std::optional<std::string_view> value = "x";
  std::string bind;
  protocol::append_bind(bind, "", "", std::span(&value, 1));
  const Answer answer = ask(fixture, Extended().parse("SHOW STATE").raw('B', bind.substr(5)).sync());
  CHECK(answer.error == "bind message supplies 1 parameters, but prepared statement \"\" requires 0");
}

TEST_CASE("admin: malformed messages are errors, at any cut") {
  Extended good;
  good.parse("SHOW STATE", "a").bind("p", "a").describe('P', "p").execute(0, "p").close('P', "p").query("SHOW STATE");
  for (const Message& message : split_messages(good.bytes)) {
    for (size_t size = 0; size < message.body.size(); size++) {
      CAPTURE(message.type);
      CAPTURE(size);
      Fixture fixture;
      fixture.send(Extended().parse("SHOW STATE", "a").bytes);
      fixture.take();
      const Answer answer = ask(fixture, Extended().raw(message.type, message.body.substr(0, size)).sync());
      CHECK(answer.types == (message.type == 'Q' ? "EZZ" : "EZ"));
      CHECK(answer.sqlstate == "08P01");
    }
  }
}

TEST_CASE("admin: hostile counts of a Bind") {
  Fixture fixture;
  fixture.send(Extended().parse("SHOW STATE").bytes);
  fixture.take();
  const std::string_view bodies[] = {
      {"\0\0\xff\xff", 4},                       // formats without end
      {"\0\0\0\0\xff\xff", 6},                   // parameters without end
      {"\0\0\0\0\0\1\x7f\xff\xff\xff", 10},      // a parameter without its bytes
      {"\0\0\0\0\0\1\xff\xff\xff\xfe\0\0", 12},  // a length of -2
      {"\0\0\0\0\0\0\xff\xff", 8},               // result formats without end
      {"\0\0\0\0\0\0\0\0x", 9},                  // something left over
  };
  for (const std::string_view body : bodies)
    CHECK(ask(fixture, Extended().raw('B', body).sync()).error == "invalid message format");
}

TEST_CASE("admin: transactions are believed in") {
  Fixture fixture;
  CHECK(fixture.query("BEGIN").status == 'T');
  CHECK(fixture.query("SHOW STATE").status == 'T');
  CHECK(fixture.query("COMMIT").status == 'I');
  CHECK(fixture.query("BEGIN").tag == "BEGIN");
  SUBCASE("an error in one fails it") {
    CHECK(fixture.query("nix").status == 'E');
    const Answer answer = fixture.query("RELOAD");
    CHECK(answer.sqlstate == "25P02");
    CHECK(fixture.program.reloads == 0);
    const Answer end = fixture.query("COMMIT");
    CHECK(end.tag == "ROLLBACK");
    CHECK(end.status == 'I');
  }
  SUBCASE("so does a command's own failure") {
    fixture.program.reload_error = "line 3";
    CHECK(fixture.query("RELOAD").status == 'E');
    CHECK(fixture.query("ROLLBACK").status == 'I');
  }
  SUBCASE("and one in the extended protocol") {
    CHECK(ask(fixture, Extended().parse("nix").sync()).status == 'E');
  }
}

TEST_CASE("admin: other messages") {
  Fixture fixture;
  SUBCASE("Terminate") {
    fixture.session->on_message('X', {});
    CHECK(fixture.client.ended);
    CHECK(fixture.client.sent.empty());
  }
  SUBCASE("of a COPY that never began") {
    for (const char type : {'d', 'c', 'f', 'H'}) fixture.session->on_message(type, {});
    CHECK(fixture.client.sent.empty());
    CHECK(fixture.client.done == 4);
  }
  SUBCASE("a function call") {
    fixture.session->on_message('F', {});
    const Answer answer = fixture.take();
    CHECK(answer.severity == "FATAL");
    CHECK(answer.error == "unsupported packet type for admin console: 70");
    CHECK(fixture.client.ended);
    CHECK(fixture.client.done == 1);
  }
}

TEST_CASE("admin: a command that takes its time") {
  Fixture fixture;
  fixture.fleet.deferred = true;
  std::string pause;
  protocol::append_query(pause, "PAUSE");
  fixture.send(pause);
  CHECK(fixture.client.sent.empty());
  CHECK(fixture.client.done == 0);
  SUBCASE("is answered when it has ended") {
    fixture.fleet.complete();
    CHECK(fixture.take().types == "CZ");
    CHECK(fixture.client.done == 1);
  }
  SUBCASE("can be cancelled, which undoes it") {
    fixture.session->on_cancel();
    const Answer answer = fixture.take();
    CHECK(answer.sqlstate == "57014");
    CHECK(answer.types == "EZ");
    REQUIRE(fixture.fleet.operations.size() == 2);
    CHECK(fixture.fleet.operations[1].operation == pool::Operation::resume);
    fixture.fleet.complete();
    CHECK(fixture.client.sent.empty());
    CHECK(fixture.client.done == 1);
    fixture.session->on_cancel();
    CHECK(fixture.client.sent.empty());
  }
  SUBCASE("does not touch a client that is gone") {
    fixture.session.reset();
    fixture.fleet.complete();
    CHECK(fixture.client.sent.empty());
    CHECK(fixture.client.done == 0);
  }
}

TEST_CASE("admin: a cancelled WAIT_CLOSE undoes nothing, and a KILL cannot be cancelled") {
  Fixture fixture;
  fixture.fleet.deferred = true;
  std::string message;
  protocol::append_query(message, "WAIT_CLOSE");
  fixture.send(message);
  fixture.session->on_cancel();
  CHECK(fixture.take().sqlstate == "57014");
  CHECK(fixture.fleet.operations.size() == 1);
  fixture.fleet.complete();
  message.clear();
  protocol::append_query(message, "KILL");
  fixture.send(message);
  fixture.session->on_cancel();
  CHECK(fixture.client.sent.empty());
  fixture.fleet.complete();
  CHECK(fixture.take().tag == "KILL");
}

TEST_CASE("admin: rows that come later go through the extended protocol too") {
  Fixture fixture;
  fixture.fleet.deferred = true;
  fixture.fleet.client_rows.resize(2);
  fixture.send(Extended().parse("SHOW SOCKETS").bind().execute().bytes);
  CHECK(fixture.take().types == "12");
  fixture.fleet.complete();
  CHECK(fixture.take().types == "DDC");
}

TEST_CASE("admin: the last session that leaves a suspended pooler resumes it") {
  Fixture fixture;
  FakeClient other_client;
  auto other = fixture.console.open("bob", pool::ConsoleRole::stats, other_client);
  fixture.fleet.now = "suspended";
  other.reset();
  CHECK(fixture.fleet.operations.empty());
  SUBCASE("") {
    fixture.session.reset();
    REQUIRE(fixture.fleet.operations.size() == 1);
    CHECK(fixture.fleet.operations[0].operation == pool::Operation::resume);
  }
  SUBCASE("but not when the process ends") {
    fixture.program.ending = true;
    fixture.session.reset();
    CHECK(fixture.fleet.operations.empty());
  }
}

TEST_CASE("admin: the greeting") {
  const Fixture fixture;
  std::map<std::string, std::string> parameters;
  for (const Message& message : split_messages(fixture.console.greeting())) {
    REQUIRE(message.type == 'S');
    const auto parameter = protocol::decode_parameter_status(message.body);
    REQUIRE(parameter);
    parameters[std::string(parameter->name)] = parameter->value;
  }
  CHECK(parameters.at("server_version") == "1.25.0/bezel");
  CHECK(parameters.at("client_encoding") == "UTF8");
  CHECK(parameters.at("DateStyle") == "ISO");
  CHECK(parameters.at("standard_conforming_strings") == "on");
}

TEST_CASE("admin: drivers' statements are answered") {
  Fixture fixture(pool::ConsoleRole::stats);
  CHECK(fixture.query("SELECT 1").rows == std::vector<TextRow>{{"1"}});
  CHECK(fixture.query("SELECT 1").tag == "SELECT 1");
  CHECK(fixture.query("SELECT current_user").rows == std::vector<TextRow>{{"alice"}});
  CHECK(fixture.query("SHOW TRANSACTION ISOLATION LEVEL").rows == std::vector<TextRow>{{"read committed"}});
  const Answer parameter = fixture.query("SHOW Client_Encoding");
  CHECK(parameter.columns == std::vector<std::string>{"client_encoding"});
  CHECK(parameter.rows == std::vector<TextRow>{{"UTF-8"}});
  const Answer set = fixture.query("SET datestyle = 'ISO'");
  CHECK(set.types == "NCZ");
  CHECK(set.notice == "SET ignored");
  CHECK(set.tag == "SET");
  for (const std::string_view text : driver_queries()) {
    CAPTURE(text);
    CHECK(fixture.query(text).error.empty());
  }
}
