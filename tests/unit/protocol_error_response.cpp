#include <doctest/doctest.h>

#include <string>
#include <string_view>

#include "protocol/error_response.h"
#include "protocol/sqlstate.h"

using namespace bezel::protocol;
using namespace std::string_literals;
using namespace std::string_view_literals;

TEST_CASE("ErrorResponse: built field by field") {
  std::string out = "x";
  append_error_response(out, severity::kFatal, sqlstate::kTooManyConnections, "no more");
  const std::string body = "SFATAL\0VFATAL\0C53300\0Mno more\0\0"s;
  CHECK(out == "xE\0\0\0"s + static_cast<char>(body.size() + 4) + body);

  out.clear();
  append_notice_response(out, severity::kNotice, "00000", "m", "d", "h");
  CHECK(out == "N\0\0\0\x25SNOTICE\0VNOTICE\0C00000\0Mm\0Dd\0Hh\0\0"s);

  out.clear();
  append_error_response(out, severity::kError, ProtocolError{sqlstate::kSyntaxError, "a\0Z\0"s, "", "hint"});
  CHECK(out.substr(5) == "SERROR\0VERROR\0C42601\0Ma\0Hhint\0\0"s);
}

TEST_CASE("ErrorResponse: all fields are read, unknown ones skipped") {
  const auto fields = decode_error_fields(
      "SFEHLER\0VERROR\0C23505\0Mm\0Dd\0Hh\0P7\0p8\0qq\0Ww\0ss\0tt\0cc\0dd\0nn\0Ff.c\0L12\0Rr\0Xnew\0\0"sv);
  REQUIRE(fields);
  CHECK(fields->severity_localized == "FEHLER");
  CHECK(fields->severity == "ERROR");
  CHECK(fields->sqlstate == "23505");
  CHECK(fields->message == "m");
  CHECK(fields->detail == "d");
  CHECK(fields->hint == "h");
  CHECK(fields->position == "7");
  CHECK(fields->internal_position == "8");
  CHECK(fields->internal_query == "q");
  CHECK(fields->where == "w");
  CHECK(fields->schema == "s");
  CHECK(fields->table == "t");
  CHECK(fields->column == "c");
  CHECK(fields->data_type == "d");
  CHECK(fields->constraint == "n");
  CHECK(fields->file == "f.c");
  CHECK(fields->line == "12");
  CHECK(fields->routine == "r");
}

TEST_CASE("ErrorResponse: any of S, V, C and M may be missing (CVE-2026-6666)") {
  const std::string parts[] = {"SERROR\0"s, "VERROR\0"s, "C42601\0"s, "Mbad\0"s};
  for (unsigned mask = 0; mask < 16; ++mask) {
    std::string body;
    for (unsigned i = 0; i < 4; ++i) {
      if (mask & (1u << i)) body += parts[i];
    }
    body += '\0';
    const auto fields = decode_error_fields(body);
    REQUIRE(fields);
    CHECK(fields->severity == ((mask & 3) != 0 ? "ERROR" : ""));
    CHECK(fields->sqlstate == ((mask & 4) != 0 ? "42601" : ""));
    CHECK(fields->message == ((mask & 8) != 0 ? "bad" : ""));
  }
}

TEST_CASE("ErrorResponse: the first of a repeated field counts, an empty one too") {
  const auto fields = decode_error_fields("C\0C42601\0Ma\0Mb\0\0"sv);
  REQUIRE(fields);
  CHECK(fields->sqlstate.empty());
  CHECK(fields->message == "a");
}

TEST_CASE("ErrorResponse: every truncation and what is left over is malformed") {
  const std::string body = "SERROR\0VERROR\0C42601\0Mbad\xff\0\0"s;
  REQUIRE(decode_error_fields(body));
  for (size_t size = 0; size < body.size(); ++size) {
    CHECK_FALSE(decode_error_fields(std::string(body, 0, size)));
  }
  CHECK_FALSE(decode_error_fields(body + "x"));
  CHECK_FALSE(decode_error_fields("M"));
  CHECK_FALSE(decode_error_fields(std::string(100000, 'M')));
}
