#include <doctest/doctest.h>

#include "src/config/spelling.h"
#include "src/config/substitution.h"
#include "src/config/values.h"

using namespace bezel::config;

TEST_CASE("booleans are written as in PgBouncer") {
  for (const char* text : {"1", "yes", "true", "on", "ON", " True "}) CHECK(parse_boolean(text) == true);
  for (const char* text : {"0", "no", "false", "off", "Off"}) CHECK(parse_boolean(text) == false);
  for (const char* text : {"", "2", "y", "enabled", "1.0"}) CHECK(!parse_boolean(text));
}

TEST_CASE("durations have units, and a plain number has the setting's") {
  CHECK(parse_duration_us("5", kSecondUs) == 5'000'000);
  CHECK(parse_duration_us("0.5", kSecondUs) == 500'000);
  CHECK(parse_duration_us("0.000001", kSecondUs) == 1);
  CHECK(parse_duration_us("1500", kMillisecondUs) == 1'500'000);
  CHECK(parse_duration_us("100us", kSecondUs) == 100);
  CHECK(parse_duration_us("250ms", kSecondUs) == 250'000);
  CHECK(parse_duration_us("1.5 s", kMillisecondUs) == 1'500'000);
  CHECK(parse_duration_us("10m", kSecondUs) == 600'000'000);
  CHECK(parse_duration_us("10min", kSecondUs) == 600'000'000);
  CHECK(parse_duration_us("2h", kSecondUs) == 7200'000'000);
  CHECK(parse_duration_us("1d", kSecondUs) == 86400'000'000);
  CHECK(parse_duration_us("0", kSecondUs) == 0);
  for (const char* text : {"", "s", "-1", "+1", "5 parsecs", "1e3", ".5", "5.", "0.5us", "0.0000001", "1,5", "5s5",
                           "1h30m", "5S", "0x10", "99999999999999999999", "9223372036854775807", "200000000000000d"}) {
    CAPTURE(text);
    CHECK(!parse_duration_us(text, kSecondUs));
  }
}

TEST_CASE("sizes count in powers of 1024") {
  CHECK(parse_size_bytes("65536") == 65536);
  CHECK(parse_size_bytes("64B") == 64);
  CHECK(parse_size_bytes("64kB") == 65536);
  CHECK(parse_size_bytes("64KB") == 65536);
  CHECK(parse_size_bytes("64 KiB") == 65536);
  CHECK(parse_size_bytes("1MB") == 1048576);
  CHECK(parse_size_bytes("1MiB") == 1048576);
  CHECK(parse_size_bytes("2GB") == 2147483648);
  CHECK(parse_size_bytes("2GiB") == 2147483648);
  for (const char* text : {"", "MB", "-1", "1.5MB", "1kb", "1TB", "1mB", "9999999999999GB"}) {
    CAPTURE(text);
    CHECK(!parse_size_bytes(text));
  }
}

TEST_CASE("integers and file modes") {
  CHECK(parse_integer("42") == 42);
  CHECK(parse_integer("-3") == -3);
  CHECK(parse_integer("007") == 7);
  for (const char* text : {"", "-", "1.0", "1 2", "0x1", "99999999999999999999"}) CHECK(!parse_integer(text));
  CHECK(parse_file_mode("0777") == 0777);
  CHECK(parse_file_mode("777") == 0777);
  CHECK(parse_file_mode("0o660") == 0660);
  for (const char* text : {"", "0888", "01777", "-1", "0o", "rwx"}) CHECK(!parse_file_mode(text));
  CHECK(format_file_mode(0660) == "0660");
}

TEST_CASE("durations are printed without loss") {
  CHECK(format_duration(3600'000'000, kSecondUs) == "3600");
  CHECK(format_duration(250'000, kSecondUs) == "0.25");
  CHECK(format_duration(1, kSecondUs) == "0.000001");
  CHECK(format_duration(1'500'000, kMillisecondUs) == "1500");
  CHECK(format_duration(0, kSecondUs) == "0");
}

TEST_CASE("names stand between commas") {
  CHECK(split_names("a, b ,c") == std::vector<std::string>{"a", "b", "c"});
  CHECK(split_names(" , ,").empty());
}

TEST_CASE("variables are replaced once") {
  const Environment environment = {{"A", "one"}, {"EMPTY", ""}, {"NESTED", "${A}"}, {"_B2", "two"}};
  const auto text = [&](const char* from) {
    const Substitution result = substitute(from, environment);
    CHECK(result.error == "");
    return result.text;
  };
  CHECK(text("plain $ $$ $A {A}") == "plain $ $$ $A {A}");
  CHECK(text("${A}") == "one");
  CHECK(text("<${A}${_B2}>") == "<onetwo>");
  CHECK(text("${EMPTY}") == "");
  CHECK(text("${EMPTY:-x}") == "x");
  CHECK(text("${UNSET:-}") == "");
  CHECK(text("${UNSET:-a:-b ${}") == "a:-b ${");
  CHECK(text("${A:-x}") == "one");
  CHECK(text("$${A}") == "${A}");
  CHECK(text("$$${A}") == "$${A}");
  CHECK(text("${NESTED}") == "${A}");
  CHECK(substitute("${UNSET}", environment).error == "the environment variable UNSET is not set");
  for (const char* bad : {"${", "${A", "${}", "${1A}", "${A-x}", "${ A}", "x${A}${", "${A\xc3\xa4}"}) {
    CAPTURE(bad);
    CHECK(substitute(bad, environment).error != "");
    CHECK(substitute(bad, environment).text == "");
  }
  CHECK(is_one_substitution("${A}"));
  CHECK(is_one_substitution("${A:-b}"));
  for (const char* no : {"", "x${A}", "${A}x", "${A}${A}", "$${A}", "${A"}) CHECK(!is_one_substitution(no));
}

TEST_CASE("near spellings are found, far ones are not") {
  const std::vector<std::string_view> names = {"listen_port", "listen_addr", "pool_mode"};
  CHECK(nearest_spelling("listen_prt", names) == "listen_port");
  CHECK(nearest_spelling("Listen-Port", names) == "listen_port");
  CHECK(nearest_spelling("poolmode", names) == "pool_mode");
  CHECK(nearest_spelling("colour", names) == "");
  CHECK(nearest_spelling("", names) == "");
  CHECK(nearest_spelling(std::string(1000, 'x'), names) == "");
  CHECK(did_you_mean("pool_mod", names) == "; did you mean \"pool_mode\"?");
}

TEST_CASE("what is shown in an error cannot break the line or flood it") {
  CHECK(quoted("a\nb\x1b") == "'a?b?'");
  CHECK(quoted(std::string(200, 'x')) == "'" + std::string(80, 'x') + "...'");
}
