#include <doctest/doctest.h>

#include <string>

#include "pool/parameters.h"

using bezel::pool::parameter_change_sql;
using bezel::pool::parameter_is_session_state;
using bezel::pool::parameter_key;
using bezel::pool::ParameterSetPtr;
using bezel::pool::ParameterTable;
using bezel::pool::ReportedParameters;

namespace {

ReportedParameters server_defaults() {
  ReportedParameters defaults;
  defaults.set("TimeZone", "UTC");
  defaults.set("DateStyle", "ISO, MDY");
  defaults.set("application_name", "");
  return defaults;
}

}  // namespace

TEST_CASE("names are compared without their case, and some are the server's own") {
  CHECK(parameter_key("TimeZone") == "timezone");
  CHECK(parameter_is_session_state("timezone"));
  CHECK_FALSE(parameter_is_session_state("server_version"));
  CHECK_FALSE(parameter_is_session_state("in_hot_standby"));
}

TEST_CASE("equal sets are one object, whatever way they came about") {
  ParameterTable table;
  const ParameterSetPtr one = table.intern({{"b", "2"}, {"a", "1"}});
  CHECK(table.intern({{"a", "0"}, {"b", "2"}, {"a", "1"}}) == one);
  CHECK(table.with(table.with(table.empty(), "a", "1"), "b", "2") == one);
  CHECK(table.without(table.with(one, "c", "3"), "c") == one);
  CHECK(table.with(one, "a", "1") == one);
  CHECK(table.without(one, "x") == one);
  CHECK(table.without(table.without(one, "a"), "b") == table.empty());
  CHECK(table.with(one, "a", "") != one);
  CHECK(*one->find("b") == "2");
  CHECK(one->find("c") == nullptr);
  // What one value ends with and the next name begins with does not make two sets equal.
  CHECK(table.intern({{"a", "b"}}) != table.intern({{"ab", ""}}));
}

TEST_CASE("sets that nobody has do not pile up") {
  ParameterTable table;
  for (int i = 0; i < 10'000; i++) table.intern({{"application_name", std::to_string(i)}});
  const ParameterSetPtr kept = table.intern({{"application_name", "x"}});
  CHECK(table.intern({{"application_name", "x"}}) == kept);
}

TEST_CASE("reported parameters keep their order and spelling; the last value counts") {
  ReportedParameters reported = server_defaults();
  reported.set("TIMEZONE", "Asia/Tokyo");
  REQUIRE(reported.entries().size() == 3);
  CHECK(reported.entries()[0].name == "TimeZone");
  CHECK(*reported.find("timezone") == "Asia/Tokyo");
  CHECK(reported.find("search_path") == nullptr);
}

TEST_CASE("only the difference is set") {
  ParameterTable table;
  const ReportedParameters defaults = server_defaults();
  const auto sql = [&](const ParameterSetPtr& from, const ParameterSetPtr& to) {
    return parameter_change_sql(*from, *to, defaults);
  };
  const ParameterSetPtr tokyo = table.intern({{"timezone", "Asia/Tokyo"}});
  CHECK(sql(table.empty(), table.empty()).empty());
  CHECK(sql(tokyo, tokyo).empty());
  CHECK(sql(table.empty(), tokyo) == "SELECT pg_catalog.set_config(E'timezone',E'Asia/Tokyo',false)");
  CHECK(sql(tokyo, table.empty()) == "RESET \"timezone\";");
  CHECK(sql(table.empty(), table.intern({{"timezone", "UTC"}})).empty());
  CHECK(sql(tokyo, table.intern({{"timezone", "UTC"}})) == "SELECT pg_catalog.set_config(E'timezone',E'UTC',false)");
  CHECK(sql(tokyo, table.intern({{"application_name", "a"}, {"datestyle", "German"}})) ==
        "RESET \"timezone\";SELECT pg_catalog.set_config(E'application_name',E'a',false),"
        "pg_catalog.set_config(E'datestyle',E'German',false)");
}

TEST_CASE("values and names cannot leave their quotes") {
  ParameterTable table;
  const ReportedParameters defaults = server_defaults();
  const ParameterSetPtr odd = table.intern({{"application_name", "it's \\ ; drop"}});
  CHECK(parameter_change_sql(*table.empty(), *odd, defaults) ==
        "SELECT pg_catalog.set_config(E'application_name',E'it''s \\\\ ; drop',false)");
  const ParameterSetPtr named = table.intern({{"my.na\"me", "x"}});
  CHECK(parameter_change_sql(*named, *table.empty(), defaults) == "RESET \"my\".\"na\"\"me\";");
}
