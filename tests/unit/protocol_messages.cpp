#include <doctest/doctest.h>

#include <functional>
#include <limits>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

#include "protocol/messages.h"
#include "protocol/reader.h"
#include "protocol/writer.h"

using namespace bezel::protocol;
using namespace std::string_literals;
using namespace std::string_view_literals;

namespace {

std::string be32(uint32_t value) {
  return {static_cast<char>(value >> 24), static_cast<char>(value >> 16 & 0xff), static_cast<char>(value >> 8 & 0xff),
          static_cast<char>(value & 0xff)};
}

/// What a builder appends behind something that is there already.
std::string built(const std::function<void(std::string&)>& build) {
  std::string out = "kept";
  build(out);
  REQUIRE(out.substr(0, 4) == "kept");
  return out.substr(4);
}

std::string message(char type, const std::string& body) {
  return type + be32(static_cast<uint32_t>(body.size() + 4)) + body;
}

/// Every truncation of `body`, and one byte more, is malformed; the body itself is not. Copies of exact size let the
/// address sanitizer see a read too far.
template <typename Decode>
void check_only_whole(Decode decode, const std::string& body) {
  CHECK(decode(body).has_value());
  for (size_t size = 0; size < body.size(); ++size) {
    CAPTURE(size);
    const std::string prefix(body, 0, size);
    CHECK_FALSE(decode(prefix).has_value());
  }
  const std::string longer = body + "x";
  CHECK_FALSE(decode(longer).has_value());
}

const std::vector<std::string> kNames = {
    "", std::string(63, 'n'), std::string(64, 'n'), std::string(65, 'n'), std::string(10000, 'n'), "\xff\xfe\x80"};

}  // namespace

TEST_CASE("reader: reads in order and refuses to pass the end") {
  Reader reader("\x01\xff\xfe\x80\x00\x00\x01text\0rest"sv);
  CHECK(reader.u8() == 1);
  CHECK(reader.i16() == -2);
  CHECK(reader.i32() == std::numeric_limits<int32_t>::min() + 1);
  CHECK(reader.cstring() == "text");
  CHECK_FALSE(reader.cstring());
  CHECK_FALSE(reader.bytes(5));
  CHECK_FALSE(reader.bytes(std::numeric_limits<size_t>::max()));
  CHECK(reader.remaining() == 4);
  CHECK(reader.bytes(0) == "");
  CHECK(reader.bytes(1) == "r");
  CHECK_FALSE(reader.i32());
  CHECK(reader.rest() == "est");
  CHECK(reader.at_end());
  CHECK_FALSE(reader.u8());
  CHECK_FALSE(reader.u16());
  CHECK_FALSE(reader.u32());
  CHECK_FALSE(reader.cstring());
  CHECK(reader.rest().empty());
  CHECK_FALSE(Reader(std::string_view()).cstring());
}

TEST_CASE("builders: messages of the server, byte for byte") {
  using Out = std::string&;
  CHECK(built([](Out o) { append_authentication_ok(o); }) == message('R', be32(0)));
  CHECK(built([](Out o) { append_authentication_cleartext(o); }) == message('R', be32(3)));
  CHECK(built([](Out o) {
          append_authentication_md5(o, {1, 0, 255, 4});
        }) == message('R', be32(5) + "\x01\x00\xff\x04"s));
  CHECK(built([](Out o) {
          const std::string_view mechanisms[] = {"SCRAM-SHA-256-PLUS", "SCRAM-SHA-256"};
          append_authentication_sasl(o, mechanisms);
        }) == message('R', be32(10) + "SCRAM-SHA-256-PLUS\0SCRAM-SHA-256\0\0"s));
  CHECK(built([](Out o) { append_authentication_sasl_continue(o, "r=x"); }) == message('R', be32(11) + "r=x"));
  CHECK(built([](Out o) { append_authentication_sasl_final(o, "v=x"); }) == message('R', be32(12) + "v=x"));
  CHECK(built([](Out o) { append_parameter_status(o, "TimeZone", "UTC"); }) == message('S', "TimeZone\0UTC\0"s));
  CHECK(built([](Out o) { append_backend_key_data(o, -2, "a\0cd"s); }) == message('K', be32(0xfffffffe) + "a\0cd"s));
  CHECK(built([](Out o) { append_ready_for_query(o, 'T'); }) == "Z\0\0\0\x05T"s);
  CHECK(built([](Out o) { append_command_complete(o, "SELECT 1"); }) == message('C', "SELECT 1\0"s));
  CHECK(built([](Out o) { append_empty_query_response(o); }) == "I\0\0\0\x04"s);
  CHECK(built([](Out o) { append_parse_complete(o); }) == "1\0\0\0\x04"s);
  CHECK(built([](Out o) { append_bind_complete(o); }) == "2\0\0\0\x04"s);
  CHECK(built([](Out o) { append_close_complete(o); }) == "3\0\0\0\x04"s);
  CHECK(built([](Out o) { append_no_data(o); }) == "n\0\0\0\x04"s);
  CHECK(built([](Out o) { append_portal_suspended(o); }) == "s\0\0\0\x04"s);
  CHECK(built([](Out o) {
          append_parameter_description(o, std::vector<uint32_t>{23, 0x01020304});
        }) == message('t', "\0\x02\0\0\0\x17\x01\x02\x03\x04"s));
}

TEST_CASE("builders: rows") {
  const ColumnDescription columns[] = {{"id", type_oid::kInt4, 4, 0}, {"name"}};
  CHECK(built([&](std::string& o) { append_row_description(o, columns); }) ==
        message('T',
                "\0\x02id\0\0\0\0\0\0\0\0\0\0\x17\0\x04\xff\xff\xff\xff\0\0"
                "name\0\0\0\0\0\0\0\0\0\0\x19\xff\xff\xff\xff\xff\xff\0\0"s));
  CHECK(built([](std::string& o) { append_row_description(o, {}); }) == message('T', "\0\0"s));
  const std::optional<std::string_view> values[] = {"7", std::nullopt, ""};
  CHECK(built([&](std::string& o) { append_data_row(o, values); }) == message('D',
                                                                              "\0\x03\0\0\0\x01"
                                                                              "7\xff\xff\xff\xff\0\0\0\0"s));
}

TEST_CASE("builders: messages of the client, byte for byte") {
  using Out = std::string&;
  CHECK(built([](Out o) { append_query(o, "select 1"); }) == message('Q', "select 1\0"s));
  CHECK(built([](Out o) { append_parse(o, "s", "select $1", std::vector<uint32_t>{25}); }) ==
        message('P', "s\0select $1\0\0\x01\0\0\0\x19"s));
  const std::optional<std::string_view> values[] = {"ab", std::nullopt};
  CHECK(built([&](Out o) { append_bind(o, "p", "s", values); }) == message('B',
                                                                           "p\0s\0\0\0\0\x02\0\0\0\x02"
                                                                           "ab\xff\xff\xff\xff\0\0"s));
  CHECK(built([](Out o) { append_describe(o, 'S', "s"); }) == message('D', "Ss\0"s));
  CHECK(built([](Out o) { append_close(o, 'P', ""); }) == message('C', "P\0"s));
  CHECK(built([](Out o) { append_execute(o, "p", 10); }) == message('E', "p\0\0\0\0\x0a"s));
  CHECK(built([](Out o) { append_sync(o); }) == "S\0\0\0\x04"s);
  CHECK(built([](Out o) { append_flush(o); }) == "H\0\0\0\x04"s);
  CHECK(built([](Out o) { append_copy_fail(o, "why"); }) == message('f', "why\0"s));
  CHECK(built([](Out o) { append_terminate(o); }) == "X\0\0\0\x04"s);
  CHECK(built([](Out o) { append_password_message(o, "pw"); }) == message('p', "pw\0"s));
  CHECK(built([](Out o) { append_sasl_initial_response(o, "M", "n,,"); }) == message('p', "M\0\0\0\0\x03n,,"s));
  CHECK(built([](Out o) { append_sasl_initial_response(o, "M", std::nullopt); }) ==
        message('p', "M\0\xff\xff\xff\xff"s));
  CHECK(built([](Out o) { append_sasl_response(o, "c=biws"); }) == message('p', "c=biws"));
}

TEST_CASE("builders: a zero byte ends a text, too many elements leave nothing") {
  CHECK(built([](std::string& o) { append_query(o, "a\0Z\0\0\0\x05I"s); }) == message('Q', "a\0"s));
  std::string out = "kept";
  const std::vector<uint32_t> oids(65536, 23);
  CHECK_THROWS_AS(append_parse(out, "s", "t", oids), std::length_error);
  CHECK(out == "kept");
  const std::vector<uint32_t> most(65535, 23);
  append_parse(out, "s", "t", most);
  CHECK(decode_parse(std::string_view(out).substr(9))->type_count() == 65535);
}

TEST_CASE("writer: no message longer than its length word can say") {
  std::string out = "kept";
  const std::string_view huge(out.data(), kMessageLengthMax + 1);  // never read: the size is refused first
  CHECK_THROWS_AS(append_sasl_initial_response(out, "M", huge), std::length_error);
  CHECK(out == "kept");
}

TEST_CASE("decoders: Authentication") {
  CHECK(decode_authentication(be32(0))->code == authentication::kOk);
  CHECK(decode_authentication(be32(3))->code == authentication::kCleartextPassword);
  check_only_whole(decode_authentication, be32(5) + "salt");
  CHECK(decode_authentication(be32(5) + "salt")->payload == "salt");
  CHECK_FALSE(decode_authentication(be32(0) + "x"));
  CHECK_FALSE(decode_authentication(be32(3) + "x"));
  CHECK_FALSE(decode_authentication("\0\0\0"s));
  CHECK(decode_authentication(be32(11) + "r=1")->payload == "r=1");
  CHECK(decode_authentication(be32(12))->payload.empty());
  CHECK(decode_authentication(be32(0xffffffff))->code == -1);
}

TEST_CASE("decoders: SASL mechanisms") {
  check_only_whole(decode_sasl_mechanisms, "SCRAM-SHA-256-PLUS\0SCRAM-SHA-256\0\0"s);
  CHECK(*decode_sasl_mechanisms("B\0A\0\0"s) == std::vector<std::string_view>{"B", "A"});
  CHECK(decode_sasl_mechanisms("\0"s)->empty());
  std::string many;
  for (int i = 0; i < 10000; ++i) many += "M\0"s;
  CHECK(decode_sasl_mechanisms(many + "\0"s)->size() == 32);
  CHECK_FALSE(decode_sasl_mechanisms(many));
}

TEST_CASE("decoders: ParameterStatus, CommandComplete, ReadyForQuery") {
  check_only_whole(decode_parameter_status, "TimeZone\0Europe/Berlin\0"s);
  CHECK(decode_parameter_status("a\0\0"s)->value.empty());
  check_only_whole(decode_command_complete, "INSERT 0 1\0"s);
  CHECK(decode_command_complete("INSERT 0 1\0"s) == "INSERT 0 1");
  for (const char status : {'I', 'T', 'E'}) CHECK(decode_ready_for_query(std::string(1, status)) == status);
  for (const std::string& body : {""s, "X"s, "\0"s, "II"s}) CHECK_FALSE(decode_ready_for_query(body));
}

TEST_CASE("decoders: BackendKeyData has a secret of 4 to 256 bytes") {
  for (size_t size = 0; size <= 300; ++size) {
    const std::string secret(size, '\x80');
    const std::string body = be32(0x80000000) + secret;
    const auto key = decode_backend_key_data(body);
    CHECK(key.has_value() == (size >= 4 && size <= 256));
    if (key) {
      CHECK(key->process_id == std::numeric_limits<int32_t>::min());
      CHECK(key->secret == secret);
    }
  }
  for (size_t size = 0; size < 4; ++size) CHECK_FALSE(decode_backend_key_data(std::string(size, 'x')));
}

TEST_CASE("decoders: Parse") {
  const std::string body = "name\0select $1, $2\0\0\x02\0\0\0\x17\xff\xff\xff\xff"s;
  check_only_whole(decode_parse, body);
  const auto parse = decode_parse(body);
  CHECK(parse->name == "name");
  CHECK(parse->text == "select $1, $2");
  REQUIRE(parse->type_count() == 2);
  CHECK(parse->type_oid_at(0) == 23);
  CHECK(parse->type_oid_at(1) == 0xffffffff);
  CHECK(decode_parse("\0\0\0\0"s)->type_count() == 0);
  CHECK_FALSE(decode_parse("\0\0\xff\xff"s));
  for (const std::string& name : kNames) {
    std::string out;
    append_parse(out, name, "t");
    CHECK(decode_parse(std::string_view(out).substr(5))->name == name);
  }
}

TEST_CASE("decoders: the beginning of a Bind, at every split") {
  const std::string body = "portal\0statement\0\0\0\0\0\0\0"s;
  const size_t names = "portal\0statement\0"s.size();
  for (size_t size = 0; size <= body.size(); ++size) {
    CAPTURE(size);
    const std::string available(body, 0, size);
    const BindPrefix prefix = decode_bind_prefix(available, body.size());
    if (size < names) {
      CHECK(prefix.status == BindPrefix::Status::need_more);
    } else {
      CHECK(prefix.status == BindPrefix::Status::ok);
      CHECK(prefix.portal == "portal");
      CHECK(prefix.statement == "statement");
      CHECK(prefix.bytes == names);
    }
    // The same bytes as a whole body.
    const bool whole = decode_bind_prefix(available, size).status == BindPrefix::Status::ok;
    CHECK(whole == (size >= names));
    if (size < names) CHECK(decode_bind_prefix(available, size).status == BindPrefix::Status::malformed);
  }
  // The next message's bytes do not count.
  CHECK(decode_bind_prefix("p\0s\0"s, 3).status == BindPrefix::Status::malformed);
}

TEST_CASE("decoders: the names of a Bind are bounded, whole or not") {
  for (const std::string& name : kNames) {
    const std::string body = name + "\0"s + name + "\0"s;
    const BindPrefix prefix = decode_bind_prefix(body, 1 << 30);
    CHECK(prefix.status == BindPrefix::Status::ok);
    CHECK(prefix.portal == name);
    CHECK(prefix.statement == name);
  }
  const std::string longest(kBindNameBytesMax, 'n');
  CHECK(decode_bind_prefix(longest + "\0\0"s, 1 << 20).status == BindPrefix::Status::ok);
  CHECK(decode_bind_prefix(longest, 1 << 20).status == BindPrefix::Status::need_more);
  CHECK(decode_bind_prefix(longest + "n", 1 << 20).status == BindPrefix::Status::too_long);
  CHECK(decode_bind_prefix(longest + "n\0\0"s, 1 << 20).status == BindPrefix::Status::too_long);
  CHECK(decode_bind_prefix("p\0"s + longest + "n", 1 << 20).status == BindPrefix::Status::too_long);
}

TEST_CASE("decoders: Describe, Close, Execute, Query, password") {
  check_only_whole(decode_describe, "Sname\0"s);
  check_only_whole(decode_close, "P\0"s);
  CHECK(decode_close("Pname\0"s)->kind == 'P');
  CHECK(decode_describe("Sname\0"s)->name == "name");
  for (int kind = 0; kind < 256; ++kind) {
    const bool known = kind == 'S' || kind == 'P';
    CHECK(decode_describe(std::string(1, static_cast<char>(kind)) + "n\0"s).has_value() == known);
  }
  check_only_whole(decode_execute, "portal\0\0\0\0\x05"s);
  CHECK(decode_execute("portal\0\xff\xff\xff\xff"s)->rows_max == -1);
  check_only_whole(decode_query, "select '\xff'\0"s);
  CHECK_FALSE(decode_query("a\0b\0"s));
  check_only_whole(decode_password, "secret\0"s);
  CHECK(decode_password("\0"s) == "");
  for (const std::string& name : kNames) {
    const std::string body = "S" + name + "\0"s;
    CHECK(decode_close(body)->name == name);
  }
}

TEST_CASE("decoders: SASLInitialResponse with lying lengths (CVE-2026-6664)") {
  const std::string body = "SCRAM-SHA-256\0\0\0\0\x03n,,"s;
  check_only_whole(decode_sasl_initial_response, body);
  CHECK(decode_sasl_initial_response(body)->mechanism == "SCRAM-SHA-256");
  CHECK(decode_sasl_initial_response(body)->data == "n,,");
  check_only_whole(decode_sasl_initial_response, "M\0\xff\xff\xff\xff"s);
  CHECK_FALSE(decode_sasl_initial_response("M\0\xff\xff\xff\xff"s)->data.has_value());
  CHECK(decode_sasl_initial_response("M\0\0\0\0\0"s)->data == "");
  for (const uint32_t length : {0u, 2u, 4u, 0x7fffffffu, 0x80000000u, 0xfffffffeu, 0xffffffffu}) {
    CAPTURE(length);
    CHECK_FALSE(decode_sasl_initial_response("M\0"s + be32(length) + "n,,"));
  }
}

TEST_CASE("decoders: arbitrary bytes are answered without harm") {
  // A small generator of its own keeps the case the same on every machine.
  uint64_t state = 88172645463325252u;
  const auto next = [&] {
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return state;
  };
  size_t accepted = 0;
  for (int round = 0; round < 20000; ++round) {
    std::string body(next() % 24, '\0');
    for (char& c : body) c = (next() % 3) != 0 ? "\0\0SPITE\xff\x7f\x80"[next() % 10] : static_cast<char>(next());
    accepted += decode_authentication(body).has_value() + decode_sasl_mechanisms(body).has_value() +
                decode_parameter_status(body).has_value() + decode_backend_key_data(body).has_value() +
                decode_ready_for_query(body).has_value() + decode_command_complete(body).has_value() +
                decode_parse(body).has_value() + decode_describe(body).has_value() + decode_execute(body).has_value() +
                decode_query(body).has_value() + decode_sasl_initial_response(body).has_value();
    const BindPrefix prefix = decode_bind_prefix(body, body.size());
    CHECK(prefix.bytes <= body.size());
    CHECK(prefix.status != BindPrefix::Status::need_more);
  }
  CHECK(accepted > 1000);
}
