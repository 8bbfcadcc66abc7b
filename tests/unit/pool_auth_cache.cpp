// What is remembered about users, and for how long; what a server's answer means.

#include <doctest/doctest.h>

#include <string>
#include <vector>

#include "pool/auth_query.h"
#include "pool/auth_result.h"
#include "protocol/messages.h"
#include "protocol/sqlstate.h"

using namespace bezel::pool;
namespace protocol = bezel::protocol;
using Lookup = AuthCache::Lookup;

namespace {

constexpr int64_t kSecondUs = 1'000'000;
const protocol::ProtocolError kAway = {protocol::sqlstate::kCannotConnectNow, "away", "", ""};

AuthAnswer secret(const std::string& text) {
  return {AuthAnswer::Kind::secret, protocol::parse_secret(text)};
}

/// The cache, a clock, and what waiters were told.
struct Fixture {
  AuthCache cache;
  AuthCache::Terms terms{30 * kSecondUs, 3600 * kSecondUs};
  int64_t now_us = 1000 * kSecondUs;
  std::vector<AuthReply> told;
  AuthReply reply;

  static AuthQuestion question(const std::string& user) { return {std::string("source\0", 7), user}; }
  Lookup look_up(const std::string& user = "anna") {
    return cache.look_up(question(user), terms, now_us, reply, [this](const AuthReply& one) { told.push_back(one); });
  }
  void answer(const AuthAnswer& answer, const std::string& user = "anna") {
    cache.answered(question(user), answer, now_us);
  }
  void fail(const std::string& user = "anna") { cache.failed(question(user), kAway, true, now_us); }
};

}  // namespace

TEST_CASE_FIXTURE(Fixture, "auth cache: one question for all who have it, and none while its answer holds") {
  CHECK(look_up() == Lookup::ask);
  CHECK(look_up() == Lookup::joined);
  CHECK(look_up("berta") == Lookup::ask);
  answer(secret("one"));
  REQUIRE(told.size() == 2);
  CHECK(told[1].answer.secret.text == "one");
  CHECK_FALSE(told[1].cached);
  now_us += 29 * kSecondUs;
  CHECK(look_up() == Lookup::known);
  CHECK(reply.answer.secret.text == "one");
  CHECK((reply.cached && !reply.stale));
  now_us += 2 * kSecondUs;
  CHECK(look_up() == Lookup::ask);
  CHECK(told.size() == 2);
}

TEST_CASE_FIXTURE(Fixture, "auth cache: a ttl of 0 has every login ask") {
  terms.ttl_us = 0;
  CHECK(look_up() == Lookup::ask);
  answer(secret("one"));
  CHECK(look_up() == Lookup::ask);
}

TEST_CASE_FIXTURE(Fixture, "auth cache: that there is no such user holds for seconds only") {
  look_up();
  answer({});
  CHECK(look_up() == Lookup::known);
  CHECK(reply.answer.kind == AuthAnswer::Kind::unknown);
  now_us += AuthCache::kRefusalTtlUs;
  CHECK(look_up() == Lookup::ask);
}

TEST_CASE_FIXTURE(Fixture, "auth cache: that a user has no password holds for seconds only") {
  look_up();
  answer({AuthAnswer::Kind::no_password});
  CHECK(look_up() == Lookup::known);
  now_us += AuthCache::kRefusalTtlUs;
  CHECK(look_up() == Lookup::ask);
}

TEST_CASE_FIXTURE(Fixture, "auth cache: a password that expires while it is kept is not kept any longer") {
  AuthAnswer until = secret("one");
  until.expires_at_us = now_us + 10 * kSecondUs;
  look_up();
  answer(until);
  now_us += 10 * kSecondUs - 1;
  CHECK(look_up() == Lookup::known);
  CHECK(reply.answer.kind == AuthAnswer::Kind::secret);
  now_us += 1;
  CHECK(look_up() == Lookup::ask);
  // Nor does it serve while the server is away.
  fail();
  CHECK(told.back().answer.kind == AuthAnswer::Kind::no_password);
  CHECK(told.back().answer.secret.text.empty());
  CHECK(look_up() == Lookup::known);
  CHECK(reply.stale);
  CHECK(reply.answer.kind == AuthAnswer::Kind::no_password);
}

TEST_CASE_FIXTURE(Fixture, "auth cache: old answers serve while the server is away, for so long") {
  look_up();
  answer(secret("one"));
  now_us += 31 * kSecondUs;
  CHECK(look_up() == Lookup::ask);
  CHECK(cache.can_do_without(question("anna"), now_us));
  fail();
  REQUIRE(told.size() == 2);
  CHECK_FALSE(told[1].error);
  CHECK(told[1].answer.secret.text == "one");
  CHECK(told[1].stale);
  // For a moment nobody tries again.
  CHECK(look_up() == Lookup::known);
  CHECK(reply.stale);
  now_us += AuthCache::kDownUs;
  CHECK(look_up() == Lookup::ask);
  fail();
  // Who is not known waits for the server in any case, and gets the error.
  CHECK(look_up("berta") == Lookup::ask);
  CHECK_FALSE(cache.can_do_without(question("berta"), now_us));
  fail("berta");
  CHECK(told.back().error->message == "away");
  now_us += 3600 * kSecondUs;
  CHECK(look_up() == Lookup::ask);
  fail();
  CHECK(told.back().error);
}

TEST_CASE_FIXTURE(Fixture, "auth cache: stale_max 0 serves nothing old") {
  terms.stale_max_us = 0;
  look_up();
  answer(secret("one"));
  now_us += 31 * kSecondUs;
  look_up();
  CHECK_FALSE(cache.can_do_without(question("anna"), now_us));
  fail();
  CHECK(told.back().error);
}

TEST_CASE_FIXTURE(Fixture, "auth cache: a wrong password has it asked again, once a second") {
  look_up();
  answer(secret("one"));
  CHECK_FALSE(cache.doubt(question("anna"), now_us));  // it has just been asked
  CHECK(look_up() == Lookup::known);
  now_us += AuthCache::kDoubtAfterUs;
  CHECK(cache.doubt(question("anna"), now_us));
  CHECK(look_up() == Lookup::ask);
  answer(secret("two"));
  CHECK_FALSE(cache.doubt(question("anna"), now_us));
  CHECK(look_up() == Lookup::known);
  CHECK(reply.answer.secret.text == "two");
}

TEST_CASE_FIXTURE(Fixture, "auth cache: forgetting concerns answers under way too") {
  look_up();
  answer(secret("one"));
  look_up("berta");
  cache.forget_all();
  CHECK(look_up() == Lookup::ask);
  answer(secret("old"), "berta");
  REQUIRE(told.size() == 2);
  CHECK(told[1].answer.secret.text == "old");
  CHECK(look_up("berta") == Lookup::ask);
}

TEST_CASE_FIXTURE(Fixture, "auth cache: bounded, and names of nobody do not push users out") {
  look_up();
  answer(secret("one"));
  for (size_t i = 0; i < AuthCache::kUnknownMax + 10; i++) {
    const std::string name = "nobody" + std::to_string(i);
    look_up(name);
    answer({}, name);
  }
  CHECK(cache.size() == AuthCache::kUnknownMax + 1);
  CHECK(look_up() == Lookup::known);
  CHECK(look_up("nobody5") == Lookup::ask);
  for (size_t i = 0; i < AuthCache::kUsersMax; i++) {
    const std::string name = "user" + std::to_string(i);
    look_up(name);
    answer(secret("x"), name);
  }
  CHECK(cache.size() == AuthCache::kUnknownMax + AuthCache::kUsersMax);
  CHECK(look_up("user0") == Lookup::known);
  CHECK(look_up() == Lookup::ask);  // the oldest
}

TEST_CASE_FIXTURE(Fixture, "auth cache: what users of a source mostly have") {
  CHECK(cache.prefers_scram(question("").source));
  look_up();
  answer(secret("md5" + std::string(32, 'a')));
  CHECK_FALSE(cache.prefers_scram(question("").source));
  CHECK(cache.prefers_scram("another"));
}

// ---- Sources
// -----------------------------------------------------------------------------------------------------------

TEST_CASE("auth source: a database's own settings come before the global ones; nothing of clients is in it") {
  Settings settings;
  DatabaseSettings app;
  app.name = "app";
  app.dbname = "app_on_server";
  app.hosts = {{"here", 5432}};
  app.user = "forced";
  app.password = "forced-password";
  app.connect_query = "SELECT 1";
  app.server_parameters = {{"search_path", "evil"}};
  settings.databases["app"] = app;
  CHECK_FALSE(find_auth_source(settings, "app", &app).source);
  settings.auth_user = "asker";
  const auto global = find_auth_source(settings, "app", &app);
  REQUIRE(global.source);
  CHECK(global.source->entry.user == "asker");
  CHECK(global.source->entry.password.empty());
  CHECK(global.source->entry.dbname == "app_on_server");
  CHECK(global.source->entry.connect_query.empty());
  for (const auto& [name, value] : global.source->entry.server_parameters) {
    CHECK(name != "search_path");
    CHECK(value.find("evil") == std::string::npos);
  }
  CHECK_FALSE(find_auth_source(settings, "nonesuch", nullptr).source);

  DatabaseSettings own = app;
  own.auth_user = "own_asker";
  own.auth_query = "SELECT 1, 2";
  const auto by_database = find_auth_source(settings, "app", &own);
  CHECK(by_database.source->entry.user == "own_asker");
  CHECK(by_database.source->query == "SELECT 1, 2");
  CHECK(by_database.source->id != global.source->id);

  settings.auth_dbname = "users";
  CHECK(find_auth_source(settings, "app", &app).problem == "auth_dbname: no such database: users");
  settings.databases["users"].hosts = {{"there", 1}};
  const auto elsewhere = find_auth_source(settings, "app", &app);
  CHECK(elsewhere.source->database == "users");
  CHECK(elsewhere.source->entry.dbname == "users");
  CHECK(elsewhere.source->entry.hosts.front().host == "there");
  CHECK(find_auth_source(settings, "nonesuch", nullptr).source->id == elsewhere.source->id);
}

// ---- Answers
// -----------------------------------------------------------------------------------------------------------

namespace {

using Row = std::vector<std::optional<std::string_view>>;

/// One query's answer.
std::string part_bytes(size_t columns, const std::vector<Row>& rows) {
  std::string bytes;
  protocol::append_parse_complete(bytes);
  const std::vector<protocol::ColumnDescription> described(columns, {.name = "x"});
  protocol::append_row_description(bytes, described);
  for (const Row& row : rows) protocol::append_data_row(bytes, row);
  protocol::append_command_complete(bytes, "SELECT 1");
  protocol::append_ready_for_query(bytes, 'I');
  return bytes;
}

/// What auth_query answers, and what the server says about the role: nothing.
std::string answer_bytes(size_t columns, const std::vector<Row>& rows) {
  return part_bytes(columns, rows) + part_bytes(3, {});
}

std::string error_bytes(std::string_view sqlstate, const std::string& message) {
  std::string bytes;
  protocol::append_error_response(bytes, "ERROR", {sqlstate, message, "", ""});
  protocol::append_ready_for_query(bytes, 'I');
  return bytes;
}

constexpr int64_t kNowUs = 5'000'000;

AuthResult read(const std::string& bytes, AuthResult::State expected = AuthResult::State::complete) {
  AuthResult whole("anna"), bytewise("anna");
  CHECK(whole.take(bytes) == expected);
  auto state = AuthResult::State::reading;
  for (size_t i = 0; i < bytes.size() && state == AuthResult::State::reading; i++)
    state = bytewise.take(bytes.substr(i, 1));
  CHECK(state == expected);
  CHECK(bytewise.problem() == whole.problem());
  return whole;
}

}  // namespace

TEST_CASE("auth result: users, nobody, and no password") {
  using Kind = AuthAnswer::Kind;
  CHECK(read(answer_bytes(2, {{"anna", "pw"}})).answer(kNowUs).secret.text == "pw");
  CHECK(read(answer_bytes(3, {{"anna", "pw", "more"}})).answer(kNowUs).kind == Kind::secret);
  CHECK(read(answer_bytes(2, {})).answer(kNowUs).kind == Kind::unknown);
  CHECK(read(answer_bytes(2, {{std::nullopt, std::nullopt}})).answer(kNowUs).kind == Kind::unknown);
  CHECK(read(answer_bytes(2, {{std::nullopt, "pw"}})).answer(kNowUs).kind == Kind::unknown);
  CHECK(read(answer_bytes(2, {{"anna", std::nullopt}})).answer(kNowUs).kind == Kind::no_password);
  CHECK(read(answer_bytes(2, {{"anna", ""}})).answer(kNowUs).kind == Kind::no_password);
  const AuthResult other = read(answer_bytes(2, {{"ann", "pw"}}));
  CHECK(other.answer(kNowUs).kind == Kind::unknown);
  CHECK(other.remark().find("ann") != std::string::npos);
}

TEST_CASE("auth result: what is wrong with the query") {
  CHECK(read(answer_bytes(1, {{"anna"}})).problem().find("two columns") != std::string::npos);
  CHECK(read(answer_bytes(1, {})).problem().find("two columns") != std::string::npos);
  CHECK(read(answer_bytes(2, {{"anna", "pw"}, {"anna", "pw2"}})).problem().find("more than one row") !=
        std::string::npos);
  const std::string refused = error_bytes(protocol::sqlstate::kInsufficientPrivilege, "permission denied");
  CHECK(read(refused + part_bytes(3, {{"anna", "t", std::nullopt}})).problem() == "permission denied");
  const std::string impossible = error_bytes(protocol::sqlstate::kCharacterNotInRepertoire, "invalid byte sequence");
  const std::string not_text = impossible + impossible;
  CHECK(read(not_text).problem().empty());
  CHECK(read(not_text).role_problem().empty());
  CHECK(read(not_text).answer(kNowUs).kind == AuthAnswer::Kind::unknown);
}

TEST_CASE("auth result: the role's own word comes on top of the query's (CVE-2025-2291)") {
  using Kind = AuthAnswer::Kind;
  const auto with_role = [](const std::vector<Row>& rows, const Row& found = {"anna", "pw"}) {
    return read(part_bytes(2, {found}) + part_bytes(3, rows));
  };
  CHECK(with_role({}).answer(kNowUs).kind == Kind::secret);  // a user that is no role
  const AuthAnswer for_ever = with_role({{"anna", "t", std::nullopt}}).answer(kNowUs);
  CHECK(for_ever.kind == Kind::secret);
  CHECK_FALSE(for_ever.expires_at_us);
  const AuthAnswer for_a_while = with_role({{"anna", "t", "1500"}}).answer(kNowUs);
  CHECK(for_a_while.kind == Kind::secret);
  CHECK(for_a_while.expires_at_us == kNowUs + 1'500'000);
  const AuthAnswer no_time = with_role({{"anna", "t", "9223372036854775807"}}).answer(kNowUs);
  CHECK(no_time.kind == Kind::secret);
  CHECK(no_time.expires_at_us > kNowUs);
  for (const char* left_ms : {"0", "-1", "-9000000000", "-9223372036854775808"}) {
    const AuthAnswer expired = with_role({{"anna", "t", left_ms}}).answer(kNowUs);
    CHECK(expired.kind == Kind::no_password);
    CHECK(expired.secret.text.empty());
  }
  const AuthResult locked = with_role({{"anna", "f", std::nullopt}});
  CHECK(locked.answer(kNowUs).kind == Kind::unknown);
  CHECK(locked.remark() == "the role may not log in");
  CHECK(with_role({{"ann", "f", std::nullopt}}).answer(kNowUs).kind == Kind::secret);  // a cut name
  CHECK(with_role({{"anna", "f", std::nullopt}}, {"anna", std::nullopt}).answer(kNowUs).kind == Kind::unknown);
  CHECK(with_role({{"anna", "t", "1500"}}, {"anna", std::nullopt}).answer(kNowUs).kind == Kind::no_password);
  for (const Row& odd : {Row{"anna", "maybe", std::nullopt}, Row{"anna", std::nullopt, "5"}, Row{"anna", "t", "soon"},
                         Row{"anna", "f"}, Row{}}) {
    const AuthResult result = read(part_bytes(2, {{"anna", "pw"}}) + part_bytes(odd.size(), {odd}));
    CHECK(result.role_problem() == "the answer is not of the form that PostgreSQL gives");
    CHECK(result.answer(kNowUs).kind == Kind::secret);
  }
  const AuthResult refused = read(part_bytes(2, {{"anna", "pw"}}) +
                                  error_bytes(protocol::sqlstate::kInsufficientPrivilege, "permission denied"));
  CHECK(refused.problem().empty());
  CHECK(refused.role_problem() == "permission denied");
  CHECK(refused.answer(kNowUs).kind == Kind::secret);
}

TEST_CASE("auth result: what is not the protocol") {
  using State = AuthResult::State;
  read(std::string("D\0\0\0\x0a\0\1\0\0\0\0", 11), State::broken);  // a row of no description
  read(std::string("T\xff\xff\xff\xff", 5), State::broken);
  read(std::string("T\0\0\0\3", 5), State::broken);
  read(std::string("G\0\0\0\4", 5), State::broken);
  read(std::string("Z\0\0\0\5T", 6), State::broken);
  std::string lying = answer_bytes(2, {});
  lying.resize(lying.find('C'));
  read(lying + std::string("D\0\0\0\x0e\0\2\x7f\xff\xff\xff\0\0\0\0", 15), State::broken);
  AuthResult result("anna");
  CHECK(result.take(answer_bytes(2, {}) + "x") == State::complete);
  CHECK(result.has_more());
}
