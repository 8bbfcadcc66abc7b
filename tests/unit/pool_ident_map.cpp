#include <doctest/doctest.h>

#include <string>

#include "pool/ident_map.h"

using bezel::pool::IdentMap;

TEST_CASE("ident map: names, and several lines") {
  IdentMap map;
  CHECK(map.add("alice.smith", "alice").empty());
  CHECK(map.add("alice.smith", "reports").empty());
  CHECK(map.add_for_all("root").empty());
  CHECK(map.allows("alice.smith", "alice"));
  CHECK(map.allows("alice.smith", "reports"));
  CHECK_FALSE(map.allows("alice.smith", "bob"));
  CHECK_FALSE(map.allows("alice", "alice"));
  CHECK_FALSE(map.allows("Alice.Smith", "alice"));
  CHECK_FALSE(map.allows("", ""));
  CHECK(map.allows("root", "anybody"));
  CHECK_FALSE(IdentMap().allows("alice", "alice"));
}

TEST_CASE("ident map: regular expressions") {
  IdentMap map;
  CHECK(map.add("/^(.*)@example\\.org$", "\\1").empty());
  CHECK(map.add("/^svc-([a-z]+)-[0-9]+$", "app_\\1_rw").empty());
  CHECK(map.add("/^guest", "guest").empty());
  CHECK(map.add("/^(x)?y$", "opt\\1").empty());
  CHECK(map.allows("alice@example.org", "alice"));
  CHECK_FALSE(map.allows("alice@example.org", "bob"));
  CHECK_FALSE(map.allows("alice@exampleXorg", "alice"));
  CHECK_FALSE(map.allows("alice@example.org.evil.net", "alice"));
  CHECK(map.allows("svc-billing-17", "app_billing_rw"));
  CHECK_FALSE(map.allows("svc-billing-", "app_billing_rw"));
  CHECK(map.allows("guest17", "guest"));
  CHECK_FALSE(map.allows("the guest", "guest"));
  CHECK(map.allows("xy", "optx"));
  CHECK_FALSE(map.allows("y", "opt"));  // the parentheses matched nothing
  CHECK(map.add_for_all("/^dba_").empty());
  CHECK(map.allows("dba_eve", "postgres"));
}

TEST_CASE("ident map: only the first \\1 is replaced, and literal lines replace none") {
  IdentMap map;
  CHECK(map.add("/^(a+)$", "\\1\\1").empty());
  CHECK(map.add("plain", "\\1").empty());
  CHECK(map.allows("aa", "aa\\1"));
  CHECK_FALSE(map.allows("aa", "aaaa"));
  CHECK(map.allows("plain", "\\1"));
}

TEST_CASE("ident map: what is wrong with a pattern is said") {
  IdentMap map;
  CHECK(map.add("/(", "x").find("invalid regular expression \"(\"") == 0);
  CHECK(map.add("/^x$", "\\1") ==
        "regular expression \"^x$\" has no parentheses as requested by the back-reference in \"\\1\"");
  CHECK(map.add("/(a)\\1", "x") == "back-references inside a regular expression are not supported");
  CHECK(map.add("/a\\\\1", "x").empty());  // a backslash, then a figure
  CHECK(map.add("/" + std::string(IdentMap::kPatternBytesMax + 1, 'a'), "x") ==
        "expected a regular expression of at most 1000 bytes");
  CHECK_FALSE(map.allows("x", "x"));
}

TEST_CASE("ident map: repetitions that take the memory are refused") {
  IdentMap map;
  for (const char* pattern : {"/a{1,32767}", "/a{1001}", "/(((a{1,100}){1,100}){1,100})", "/(ab{500}){3}",
                              "/x(.{,40}){30,}", "/a{99999999999999999999999}", "/(a{1001}", "/[(]a{1000}"}) {
    CHECK_MESSAGE(
        map.add(pattern, "x") == "expected a regular expression of at most 1000 bytes with its repetitions written out",
        pattern);
  }
  for (const char* pattern :
       {"/^[a-z]{1,63}@[a-z]{1,63}\\.org$", "/(a{1,30}){1,30}", "/a{1,1000}", "/\\{a{5}", "/a{x}", "/(a|b)*{2}"}) {
    CHECK_MESSAGE(map.add(pattern, "x").find("written out") == std::string::npos, pattern);
  }
  CHECK(map.allows("abc@def.org", "x"));
}

TEST_CASE("ident map: long names and hidden ends match nothing") {
  IdentMap map;
  CHECK(map.add("/.*", "x").empty());
  CHECK(map.allows(std::string(IdentMap::kSystemUserBytesMax, 'a'), "x"));
  CHECK_FALSE(map.allows(std::string(IdentMap::kSystemUserBytesMax + 1, 'a'), "x"));
  CHECK_FALSE(map.allows(std::string_view("a\0b", 3), "x"));
  // One that takes other implementations for ever, or their stack.
  IdentMap slow;
  CHECK(slow.add("/^(a+)+$", "x").empty());
  CHECK_FALSE(slow.allows(std::string(IdentMap::kSystemUserBytesMax - 1, 'a') + "b", "x"));
}
