#include <doctest/doctest.h>

#include <string>
#include <string_view>

#include "protocol/sqlstate.h"
#include "protocol/startup.h"

using namespace bezel::protocol;
using namespace std::string_literals;
using Kind = FirstPacketResult::Kind;

namespace {

std::string be32(uint32_t value) {
  return {static_cast<char>(value >> 24), static_cast<char>(value >> 16 & 0xff), static_cast<char>(value >> 8 & 0xff),
          static_cast<char>(value & 0xff)};
}

/// A packet with a true length word.
std::string packet(uint32_t code, const std::string& body) {
  return be32(static_cast<uint32_t>(8 + body.size())) + be32(code) + body;
}

constexpr uint32_t kVersion30 = 0x30000;
constexpr uint32_t kVersion32 = 0x30002;

StartupPacket startup_of(uint32_t version, const std::string& body) {
  FirstPacketResult result = decode_first_packet(packet(version, body));
  REQUIRE(result.kind == Kind::startup);
  return result.startup;
}

void check_error(const std::string& bytes, std::string_view code, std::string_view message) {
  const FirstPacketResult result = decode_first_packet(bytes);
  CHECK(result.kind == Kind::error);
  CHECK(result.error.sqlstate == code);
  CHECK(result.error.message == message);
}

/// Every proper prefix wants more, never more than the packet has; the whole is of the kind; bytes behind are not
/// taken.
void check_every_split(const std::string& bytes, Kind kind) {
  for (size_t size = 0; size < bytes.size(); ++size) {
    // A copy of the exact size, so that a read past its end is seen by the address sanitizer.
    const std::string prefix(bytes, 0, size);
    const FirstPacketResult result = decode_first_packet(prefix);
    CHECK(result.kind == Kind::need_more);
    CHECK(result.bytes_needed > size);
    CHECK(result.bytes_needed == (size < 4 ? 8 : bytes.size()));
  }
  for (const std::string& behind : {""s, "x"s, std::string(9, '\0')}) {
    const FirstPacketResult result = decode_first_packet(bytes + behind);
    CHECK(result.kind == kind);
    CHECK(result.bytes_consumed == bytes.size());
  }
}

}  // namespace

TEST_CASE("startup packet: parameters in order, database apart") {
  const StartupPacket startup = startup_of(
      kVersion30, "user\0alice\0database\0shop\0application_name\0psql\0client_encoding\0UTF8\0options\0-c a=b\0\0"s);
  CHECK(startup.protocol_major == 3);
  CHECK(startup.protocol_minor == 0);
  CHECK(startup.user == "alice");
  CHECK(startup.database == "shop");
  CHECK(startup.parameters == Parameters{{"user", "alice"},
                                         {"database", "shop"},
                                         {"application_name", "psql"},
                                         {"client_encoding", "UTF8"},
                                         {"options", "-c a=b"}});
  CHECK(startup.protocol_options.empty());
}

TEST_CASE("startup packet: the database defaults to the user, the last of a repeated name counts") {
  CHECK(startup_of(kVersion30, "user\0alice\0\0"s).database == "alice");
  CHECK(startup_of(kVersion30, "user\0alice\0database\0\0\0"s).database == "alice");
  const StartupPacket startup = startup_of(kVersion32, "user\0a\0database\0x\0user\0b\0database\0y\0\0"s);
  CHECK(startup.user == "b");
  CHECK(startup.database == "y");
  CHECK(startup.parameters.size() == 4);
}

TEST_CASE("startup packet: names of any length that fits, any bytes but zero") {
  const size_t longest = kStartupPacketBytesMax - 4 - "user"s.size() - 3;
  for (const size_t size : {size_t{1}, size_t{63}, size_t{64}, size_t{65}, size_t{1000}, longest}) {
    const std::string name(size, '\xff');  // not UTF-8
    const StartupPacket startup = startup_of(kVersion30, "user\0"s + name + "\0\0"s);
    CHECK(startup.user == name);
    CHECK(startup.database == name);
  }
  check_error(packet(kVersion30, "user\0"s + std::string(longest + 1, 'x') + "\0\0"s), sqlstate::kProtocolViolation,
              "invalid length of startup packet");
  check_error(packet(kVersion30, "user\0"s + std::string(10000, 'x') + "\0\0"s), sqlstate::kProtocolViolation,
              "invalid length of startup packet");
  // A zero byte ends the name; what follows it is the next one.
  const StartupPacket split = startup_of(kVersion30, "user\0al\0ice\0x\0\0"s);
  CHECK(split.user == "al");
  CHECK(split.parameters.back() == std::pair("ice"s, "x"s));
}

TEST_CASE("first packet: every split of every kind") {
  check_every_split(packet(kVersion32, "user\0alice\0_pq_.x\0y\0database\0d\0\0"s), Kind::startup);
  check_every_split(packet(kSslRequestCode, ""), Kind::ssl_request);
  check_every_split(packet(kGssencRequestCode, ""), Kind::gssenc_request);
  check_every_split(packet(kCancelRequestCode, be32(7) + "abcd"), Kind::cancel_request);
  check_every_split(packet(kCancelRequestCode, be32(7) + std::string(256, 'k')), Kind::cancel_request);
}

TEST_CASE("first packet: a lying length is refused before anything else is awaited") {
  for (const uint32_t length : {0u, 1u, 3u, 4u, 7u, 10005u, 65536u, 0x7fffffffu, 0x80000000u, 0xffffffffu}) {
    check_error(be32(length), sqlstate::kProtocolViolation, "invalid length of startup packet");
    check_error(be32(length) + be32(kVersion30), sqlstate::kProtocolViolation, "invalid length of startup packet");
  }
  for (const uint32_t length : {8u, 9u, 10004u}) {
    const FirstPacketResult result = decode_first_packet(be32(length));
    CHECK(result.kind == Kind::need_more);
    CHECK(result.bytes_needed == length);
  }
  check_error("GET / HTTP/1.1\r\n", sqlstate::kProtocolViolation, "invalid length of startup packet");
  check_error("\x16\x03\x01\x02\x00\x01"s, sqlstate::kProtocolViolation, "invalid length of startup packet");
  // A request for encryption carries nothing.
  check_error(be32(9) + be32(kSslRequestCode), sqlstate::kProtocolViolation, "invalid length of startup packet");
  check_error(be32(12) + be32(kGssencRequestCode), sqlstate::kProtocolViolation, "invalid length of startup packet");
}

TEST_CASE("startup packet: the layout must end with its terminator") {
  const char* layout = "invalid startup packet layout: expected terminator as last byte";
  for (const std::string& body :
       {""s, "user"s, "user\0"s, "user\0alice"s, "user\0alice\0"s, "user\0alice\0\0\0"s, "user\0alice\0\0x"s,
        "user\0alice\0database"s, "user\0alice\0database\0"s, "\0user\0alice\0\0"s}) {
    check_error(packet(kVersion30, body), sqlstate::kProtocolViolation, layout);
  }
}

TEST_CASE("startup packet: a user must be named") {
  const char* message = "no PostgreSQL user name specified in startup packet";
  check_error(packet(kVersion30, "\0"s), sqlstate::kInvalidAuthorizationSpecification, message);
  check_error(packet(kVersion30, "database\0d\0\0"s), sqlstate::kInvalidAuthorizationSpecification, message);
  check_error(packet(kVersion30, "user\0\0\0"s), sqlstate::kInvalidAuthorizationSpecification, message);
  check_error(packet(kVersion30, "user\0a\0user\0\0\0"s), sqlstate::kInvalidAuthorizationSpecification, message);
}

TEST_CASE("first packet: other major versions") {
  check_error(be32(296) + be32(0x20000), sqlstate::kFeatureNotSupported,
              "unsupported frontend protocol 2.0: server supports 3.0 to 3.2");
  check_error(packet(0x40001, "user\0a\0\0"s), sqlstate::kFeatureNotSupported,
              "unsupported frontend protocol 4.1: server supports 3.0 to 3.2");
  check_error(packet(0, ""), sqlstate::kFeatureNotSupported,
              "unsupported frontend protocol 0.0: server supports 3.0 to 3.2");
}

TEST_CASE("cancel request: process id and a secret of 4 to 256 bytes") {
  for (const size_t size : {size_t{4}, size_t{5}, size_t{32}, size_t{255}, size_t{256}}) {
    const std::string secret = std::string(size - 1, '\0') + "\xfe";
    const std::string bytes = packet(kCancelRequestCode, be32(0x80000001) + secret);
    const FirstPacketResult result = decode_first_packet(bytes);
    REQUIRE(result.kind == Kind::cancel_request);
    CHECK(result.cancel.process_id == static_cast<int32_t>(0x80000001));
    CHECK(result.cancel.secret == secret);
  }
  for (const uint32_t length : {8u, 11u}) {
    check_error(be32(length) + be32(kCancelRequestCode), sqlstate::kProtocolViolation,
                "invalid length of cancel request packet");
  }
  for (const uint32_t length : {12u, 15u, 269u, 10004u}) {
    check_error(be32(length) + be32(kCancelRequestCode), sqlstate::kProtocolViolation,
                "invalid length of cancel key in cancel request packet");
  }
}

TEST_CASE("builders of first packets") {
  std::string out = "before";
  append_ssl_request(out);
  CHECK(out == "before" + be32(8) + be32(80877103));

  out.clear();
  append_cancel_request(out, 258, "abcd");
  CHECK(out == be32(16) + be32(80877102) + be32(258) + "abcd");

  out.clear();
  const Parameters parameters = {{"user", "u"}, {"database", "d"}, {"cut\0here"s, "a\0b"s}};
  append_startup_message(out, 2, parameters);
  CHECK(out == packet(kVersion32, "user\0u\0database\0d\0cut\0a\0\0"s));
  const FirstPacketResult result = decode_first_packet(out);
  REQUIRE(result.kind == Kind::startup);
  CHECK(result.startup.parameters == Parameters{{"user", "u"}, {"database", "d"}, {"cut", "a"}});
}

TEST_CASE("options parameter: as PostgreSQL splits it") {
  const auto parsed = [](std::string_view text) {
    const StartupOptionsResult result = parse_startup_options(text);
    CHECK_FALSE(result.error.has_value());
    return result.options;
  };
  CHECK(parsed("").empty());
  CHECK(parsed(" \t\n\v\f\r ").empty());
  CHECK(parsed("-c geqo=off") == Parameters{{"geqo", "off"}});
  CHECK(parsed("  -cgeqo=off  ") == Parameters{{"geqo", "off"}});
  CHECK(parsed("--geqo=off") == Parameters{{"geqo", "off"}});
  CHECK(parsed("-c statement-timeout=1s --work-mem=4-MB") ==
        Parameters{{"statement_timeout", "1s"}, {"work_mem", "4-MB"}});
  CHECK(parsed("-c search_path=a,\\ b") == Parameters{{"search_path", "a, b"}});
  CHECK(parsed("-c x=a\\\\b") == Parameters{{"x", "a\\b"}});
  CHECK(parsed("-c x=a=b") == Parameters{{"x", "a=b"}});
  CHECK(parsed("-c x=") == Parameters{{"x", ""}});
  CHECK(parsed("-c x=end\\") == Parameters{{"x", "end"}});
  CHECK(parsed("-c my.var=1 -c MY.VAR=2 -c other=3 -c my.var=4") == Parameters{{"other", "3"}, {"my.var", "4"}});
}

TEST_CASE("options parameter: everything else is an error") {
  for (const char* text : {"-c", "-c geqo", "-cgeqo", "--geqo", "--geqo off", "--", "-", "-c =off", "--=off",
                           "geqo=off", "-d 5", "-B 100", "-c a=1 stray", "-c a=1 -e", "-c a=1 -c", "\\", "-c \\ "}) {
    CAPTURE(text);
    const StartupOptionsResult result = parse_startup_options(text);
    REQUIRE(result.error.has_value());
    CHECK(result.error->sqlstate == sqlstate::kSyntaxError);
    CHECK_FALSE(result.error->message.empty());
  }
  CHECK(parse_startup_options("-c geqo").error->message == "geqo requires a value");
  CHECK(parse_startup_options("-x 1").error->message == "invalid command-line argument for server process: -x");
}

TEST_CASE("negotiation: PostgreSQL 18's rule") {
  struct Row {
    uint16_t asked;
    bool option;
    uint16_t speaks;
    bool message;
  };
  for (const Row row :
       {Row{0, false, 0, false}, Row{1, false, 0, false}, Row{2, false, 2, false}, Row{3, false, 2, true},
        Row{9999, false, 2, true}, Row{65535, false, 2, true}, Row{0, true, 0, true}, Row{1, true, 0, true},
        Row{2, true, 2, true}, Row{9999, true, 2, true}}) {
    CAPTURE(row.asked);
    CAPTURE(row.option);
    std::string body = "user\0u\0"s;
    if (row.option) body += "_pq_.one\0x\0_pq_.\0\0"s;
    const Negotiation result = negotiate(startup_of(0x30000u + row.asked, body + "\0"s));
    CHECK(result.minor_to_speak == row.speaks);
    CHECK(result.needs_message == row.message);
    CHECK(result.unsupported ==
          (row.option ? std::vector<std::string>{"_pq_.one", "_pq_."} : std::vector<std::string>{}));
  }
}

TEST_CASE("negotiation: libpq 19's grease") {
  const StartupPacket startup =
      startup_of(0x30000 + 9999, "user\0u\0_pq_.test_protocol_negotiation\0\0database\0d\0\0"s);
  CHECK(startup.parameters == Parameters{{"user", "u"}, {"database", "d"}});
  const Negotiation result = negotiate(startup);
  CHECK(result.needs_message);
  std::string out;
  append_negotiate_protocol_version(out, result.minor_to_speak, result.unsupported);
  CHECK(out == "v" + be32(43) + be32(kVersion32) + be32(1) + "_pq_.test_protocol_negotiation\0"s);
  const auto decoded = decode_negotiate_protocol_version(std::string_view(out).substr(5));
  REQUIRE(decoded);
  CHECK(decoded->newest_minor == 2);
  CHECK(decoded->unsupported == std::vector<std::string_view>{"_pq_.test_protocol_negotiation"});
}

TEST_CASE("NegotiateProtocolVersion from a server") {
  CHECK(decode_negotiate_protocol_version(be32(kVersion30) + be32(0))->newest_minor == 0);
  CHECK(decode_negotiate_protocol_version(be32(2) + be32(0))->newest_minor == 2);  // a bare minor number
  const std::string good = be32(kVersion30) + be32(2) + "a\0bc\0"s;
  REQUIRE(decode_negotiate_protocol_version(good));
  for (size_t size = 0; size < good.size(); ++size) {
    CHECK_FALSE(decode_negotiate_protocol_version(std::string(good, 0, size)));
  }
  CHECK_FALSE(decode_negotiate_protocol_version(good + "x"));
  CHECK_FALSE(decode_negotiate_protocol_version(be32(0x20000) + be32(0)));
  for (const uint32_t count : {1u, 0x7fffffffu, 0x80000000u, 0xffffffffu}) {
    CHECK_FALSE(decode_negotiate_protocol_version(be32(kVersion30) + be32(count)));
  }

  CHECK_FALSE(negotiation_fault(2, {0, {}}));
  CHECK(negotiation_fault(2, {1, {}}));
  CHECK(negotiation_fault(2, {2, {}}));
  CHECK(negotiation_fault(2, {3, {}}));
  CHECK(negotiation_fault(0, {0, {}}));
  CHECK(negotiation_fault(2, {0, {"_pq_.x"}}));
}
