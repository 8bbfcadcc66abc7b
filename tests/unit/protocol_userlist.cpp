#include <doctest/doctest.h>

#include <string>
#include <string_view>

#include "protocol/userlist.h"

using namespace bezel::protocol;
using namespace std::string_literals;

namespace {

/// The secret of the only user of a one-line file; "<error>" when the line is refused.
std::string secret_of(const std::string& line) {
  const Userlist list = parse_userlist(line);
  REQUIRE(list.entries.size() + list.errors.size() == 1);
  return list.entries.empty() ? "<error>" : list.entries[0].secret;
}

}  // namespace

TEST_CASE("userlist: PgBouncer's format") {
  const Userlist list = parse_userlist(
      "; a comment\n"
      "# another\n"
      "\n"
      "  \t\n"
      "\"alice\" \"secret\"\n"
      "  \"bob\"\t \"md58bbf3f45673bf67d02e4214911f3417f\"  \r\n"
      "  ; \"not\" \"read\"\n"
      "\"o\"\"hara\" \"say \"\"hi\"\"\"\n"
      "\"empty\" \"\"\n"
      "\"more\" \"pw\" \"ignored\" and this\n"
      "\"last\" \"without line end\"");
  CHECK(list.errors.empty());
  REQUIRE(list.entries.size() == 6);
  CHECK(list.entries[0].user == "alice");
  CHECK(list.entries[0].secret == "secret");
  CHECK(list.entries[0].line == 5);
  CHECK(list.entries[1].user == "bob");
  CHECK(list.entries[1].secret == "md58bbf3f45673bf67d02e4214911f3417f");
  CHECK(list.entries[2].user == "o\"hara");
  CHECK(list.entries[2].secret == "say \"hi\"");
  CHECK(list.entries[3].secret.empty());
  CHECK(list.entries[4].secret == "pw");
  CHECK(list.entries[5].secret == "without line end");
  CHECK(list.entries[5].line == 11);
  CHECK(parse_userlist("").entries.empty());
}

TEST_CASE("userlist: the last line of a user wins") {
  const Userlist list = parse_userlist("\"a\" \"1\"\n\"b\" \"2\"\n\"a\" \"3\"\n");
  REQUIRE(list.entries.size() == 2);
  CHECK(list.entries[0].secret == "3");
  CHECK(list.entries[0].line == 3);
  CHECK(list.entries[1].secret == "2");
}

TEST_CASE("userlist: quotes that the writer did not double, where they can mean one thing") {
  CHECK(secret_of("\"u\" \"a\"b\"") == "a\"b");
  CHECK(secret_of("\"u\" \"a\"b\"  \r\n") == "a\"b");
  CHECK(secret_of("\"u\" \"ab\"\"") == "ab\"");
  CHECK(secret_of("\"u\" \"\"\"") == "\"");
  CHECK(secret_of("\"u\" \"a\"b\"c\"d\"") == "a\"b\"c\"d");
  CHECK(secret_of("\"u\" \"a\"b\"\"c\"") == "a\"b\"\"c");
  CHECK(secret_of("\"u\" \"a \"b\"") == "a \"b");
  // Well formed by the rule, so the rule counts.
  CHECK(secret_of("\"u\" \"a\"\"b\"") == "a\"b");
  CHECK(secret_of("\"u\" \"\"\"\"") == "\"");
  // Two readings.
  CHECK(secret_of("\"u\" \"a\" b\"") == "<error>");
  CHECK(secret_of("\"u\" \"a\"b\" \"c\"") == "<error>");
  CHECK(secret_of("\"u\" \"a\" \"b\"c\"") == "<error>");
}

TEST_CASE("userlist: faulty lines are named by number and cost only themselves") {
  struct Row {
    std::string line;
    const char* message;
  };
  const Row rows[] = {
      {"alice \"x\"", "expected a user name in double quotes"},
      {"\"alice", "the user name has no closing quote"},
      {"\"\" \"x\"", "the user name is empty"},
      {"\"" + std::string(128, 'n') + "\" \"x\"", "the user name is longer than 127 bytes"},
      {"\"alice\"", "expected white space and a secret in double quotes after the user name"},
      {"\"alice\" secret", "expected white space and a secret in double quotes after the user name"},
      {"\"alice\", \"secret\"", "expected white space and a secret in double quotes after the user name"},
      {"\"alice\" \"", "the secret has no closing quote"},
      {"\"alice\" \"secret", "the secret has no closing quote"},
      {"\"alice\" \"secret\"x", "expected white space or the end of the line after the secret"},
      {"\"alice\" \"se\0cret\""s, "zero byte in the line"},
      {"\"alice\" \"" + std::string(65537, 's') + "\"", "the secret is longer than 65536 bytes"},
  };
  for (const Row& row : rows) {
    CAPTURE(row.message);
    const Userlist list = parse_userlist("\"before\" \"1\"\n" + row.line + "\n\"after\" \"2\"\n");
    REQUIRE(list.errors.size() == 1);
    CHECK(list.errors[0].line == 2);
    CHECK(list.errors[0].message == row.message);
    CHECK(list.errors[0].message.find("secret\"") == std::string::npos);
    REQUIRE(list.entries.size() == 2);
    CHECK(list.entries[1].user == "after");
  }
}

TEST_CASE("userlist: long names and secrets, any bytes but zero") {
  for (const size_t size : {size_t{1}, size_t{63}, size_t{64}, size_t{65}, size_t{127}}) {
    const Userlist list = parse_userlist("\"" + std::string(size, '\xff') + "\" \"\xc3\xa4\xfe\"");
    REQUIRE(list.entries.size() == 1);
    CHECK(list.entries[0].user == std::string(size, '\xff'));
    CHECK(list.entries[0].secret == "\xc3\xa4\xfe");
  }
  const std::string longest(kUserlistSecretBytesMax, 's');
  CHECK(secret_of("\"u\" \"" + longest + "\"") == longest);
}

TEST_CASE("userlist: errors are bounded, every truncation is survived") {
  std::string garbage;
  for (int i = 0; i < 5000; ++i) garbage += "x\n";
  CHECK(parse_userlist(garbage).errors.size() == kUserlistErrorsMax);

  const std::string text = "\"a\"\"b\" \"c\"\"d\" \"e\"\n;x\n\"f\" \"g\"h\"\n";
  REQUIRE(parse_userlist(text).entries.size() == 2);
  for (size_t size = 0; size < text.size(); ++size) {
    const std::string cut(text, 0, size);
    const Userlist list = parse_userlist(cut);
    CHECK(list.entries.size() + list.errors.size() <= 2);
  }
}
