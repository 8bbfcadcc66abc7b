#include <random>

#include "dns_fixture.h"
#include "src/dns/reply.h"

namespace bezel::dns {
namespace {

using namespace fake_dns;
using Names = std::vector<std::string>;

std::string reply_to(const std::string& name, RecordType type, const Reply& reply) {
  return packet_of(query_packet(name, static_cast<uint16_t>(type)), reply, true);
}

TEST_CASE("dns: addresses in a reply, in order, once, with the least time to live") {
  const std::string packet =
      reply_to("db.example", RecordType::a,
               {.answers = {cname("real.example", 40), of("real.example", a("10.0.0.9", 70)),
                            of("real.example", a("10.0.0.10", 50)), of("real.example", a("10.0.0.9", 70)),
                            of("real.example", aaaa("2001:db8::1", 1))},
                .additional = {of("other.example", a("10.0.0.66", 2))}});
  Answer answer;
  REQUIRE(read_reply(packet, RecordType::a, answer));
  put_in_order(answer);
  CHECK(texts(answer) == Names{"10.0.0.9", "10.0.0.10"});
  CHECK(answer.ttl_s == 40);  // of the alias

  REQUIRE(read_reply(reply_to("db.example", RecordType::aaaa, {.answers = {aaaa("2001:db8::2", 30)}}), RecordType::aaaa,
                     answer));
  put_in_order(answer);
  CHECK(texts(answer) == Names{"10.0.0.9", "10.0.0.10", "2001:db8::2"});
  CHECK(answer.ttl_s == 30);

  Answer never;
  REQUIRE(read_reply(reply_to("x", RecordType::a, {.answers = {a("10.0.0.1", 0x80000000)}}), RecordType::a, never));
  CHECK(never.ttl_s == 0);
}

TEST_CASE("dns: services in a reply, by priority and weight") {
  const std::string packet = reply_to(
      "_postgresql._tcp.example", RecordType::srv,
      {.answers = {srv("c.example", 5433, 20, 0), srv("b.example", 5432, 10, 1, 33), srv("a.example", 5432, 10, 9),
                   srv("", 5432, 0, 0), srv("zero.example", 0), srv("c.example", 5433, 20, 0)}});
  Answer answer;
  REQUIRE(read_reply(packet, RecordType::srv, answer));
  put_in_order(answer);
  CHECK(answer.services ==
        std::vector<Service>{{"a.example", 5432, 10, 9}, {"b.example", 5432, 10, 1}, {"c.example", 5433, 20, 0}});
  CHECK(answer.ttl_s == 33);
}

TEST_CASE("dns: a reply has no more than 64 addresses") {
  Reply reply;
  for (int i = 0; i < 200; i++) reply.answers.push_back(a("10.0.0." + std::to_string(199 - i)));
  Answer answer;
  REQUIRE(read_reply(reply_to("x", RecordType::a, reply), RecordType::a, answer));
  put_in_order(answer);
  REQUIRE(answer.addresses.size() == Answer::kRecordsMax);
  CHECK(answer.addresses.front().host_text() == "10.0.0.0");
  CHECK(answer.addresses.back().host_text() == "10.0.0.63");
}

TEST_CASE("dns: malformed replies are told from good ones, and add nothing") {
  const Record good = a("10.0.0.1");
  const auto is_read = [&](RecordType type, const std::vector<Record>& answers) {
    Answer answer;
    const bool read = read_reply(reply_to("x.example", type, {.answers = answers}), type, answer);
    if (!read) {
      CHECK(answer.addresses.empty());
      CHECK(answer.services.empty());
      CHECK(answer.ttl_s == Answer::kNoTtl);
    }
    return read;
  };
  CHECK(is_read(RecordType::a, {good}));
  CHECK_FALSE(is_read(RecordType::a, {good, {.type = kA, .data = "abc"}}));
  CHECK_FALSE(is_read(RecordType::a, {good, {.type = kA, .data = "abcde"}}));
  CHECK_FALSE(is_read(RecordType::aaaa, {{.type = kAaaa, .data = "abcd"}}));
  CHECK_FALSE(is_read(RecordType::srv, {{.type = kSrv, .data = "abcdef"}}));
  CHECK_FALSE(is_read(RecordType::srv, {{.type = kSrv, .data = std::string("abcdef\xc0\xff", 8)}}));
  CHECK_FALSE(is_read(RecordType::srv, {{.type = kSrv, .data = std::string("abcdef\xc0\x0c", 8) + "more"}}));
  CHECK(is_read(RecordType::srv, {{.type = kSrv, .data = std::string("abcdef\xc0\x0c", 8)}}));

  // Cut anywhere, it is no reply any more.
  const std::string whole = reply_to("x.example", RecordType::srv, {.answers = {srv("t.example", 1), srv("u", 2)}});
  for (size_t size = 0; size < whole.size(); size++) {
    CAPTURE(size);
    Answer answer;
    CHECK_FALSE(read_reply(std::string_view(whole).substr(0, size), RecordType::srv, answer));
  }
  Answer answer;
  CHECK(read_reply(whole, RecordType::srv, answer));
}

TEST_CASE("dns: whatever a reply has for bytes, only its own are read") {
  std::mt19937 random(20251);  // NOLINT: the same each time
  const std::string whole =
      reply_to("x.example", RecordType::srv,
               {.answers = {cname("y.example"), of("y.example", srv("t.example", 1)), of("y.example", a("10.0.0.1"))}});
  int read = 0;
  for (int round = 0; round < 20000; round++) {
    // A copy of just its size, so that a sanitizer sees the first byte behind it.
    std::vector<char> packet(whole.begin(), whole.end() - static_cast<long>(random() % 3));
    for (unsigned i = 0; i <= random() % 4; i++) packet[random() % packet.size()] = static_cast<char>(random());
    Answer answer;
    read += read_reply({packet.data(), packet.size()}, round % 2 == 0 ? RecordType::srv : RecordType::a, answer);
    CHECK(answer.services.size() <= 3);
  }
  CHECK(read > 100);
  CHECK(read < 19000);
}

}  // namespace
}  // namespace bezel::dns
