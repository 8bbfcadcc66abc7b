#include "dns_fixture.h"
#include "src/dns/hosts_file.h"
#include "src/dns/resolv_conf.h"

namespace bezel::dns {
namespace {

using Names = std::vector<std::string>;

std::vector<std::string> servers_of(const ResolvConf& conf) {
  std::vector<std::string> all;
  for (const net::SocketAddress& server : conf.servers) all.push_back(server.text());
  return all;
}

TEST_CASE("dns: resolv.conf, all of it") {
  const ResolvConf conf = ResolvConf::parse(
      "# of the test\n"
      "domain left.example\n"
      "nameserver 192.0.2.1\r\n"
      "\tnameserver\t2001:db8::1 # the other one\n"
      "nameserver 192.0.2.2:5353\n"
      "nameserver [2001:db8::2]:54\n"
      "search a.example b.example.  c.example ; and no more\n"
      "options ndots:5 timeout:2 attempts:4 rotate use-vc edns0\n"
      "sortlist 130.155.160.0/255.255.240.0",
      "host.local.example");
  CHECK(servers_of(conf) == Names{"192.0.2.1:53", "[2001:db8::1]:53", "192.0.2.2:5353", "[2001:db8::2]:54"});
  CHECK(conf.search == Names{"a.example", "b.example", "c.example"});
  CHECK(conf.ndots == 5);
  CHECK(conf.timeout_ms == 2000);
  CHECK(conf.attempts == 4);
  CHECK(conf.rotate);
  CHECK(conf.use_tcp);
}

TEST_CASE("dns: resolv.conf that says nothing, or nonsense") {
  for (const char* text : {"", "\n\n", "nameserver\nsearch\noptions\n", "nameserver nine\nnameserver fe80::1%lo\n",
                           "nameserver 192.0.2.1:0\nnameserver 192.0.2.1:99999\nnameserver 192.0.2.1:x",
                           "options ndots:-1 timeout:x attempts: rotated"}) {
    CAPTURE(text);
    const ResolvConf conf = ResolvConf::parse(text, "host");
    CHECK(servers_of(conf) == Names{"127.0.0.1:53"});
    CHECK(conf.search.empty());
    CHECK(conf.ndots == 1);
    CHECK(conf.timeout_ms == 1000);
    CHECK(conf.attempts == 3);
    CHECK_FALSE(conf.rotate);
    CHECK_FALSE(conf.use_tcp);
  }
  CHECK(ResolvConf::parse("", "host.example.org").search == Names{"example.org"});
  CHECK(ResolvConf::parse("search .\n", "host.example.org").search.empty());
  CHECK(ResolvConf::parse("domain one two\n", "host").search == Names{"one"});

  std::string many;
  for (int i = 0; i < 100; i++) many += "nameserver 192.0.2." + std::to_string(i) + "\n";
  many += "search";
  for (int i = 0; i < 100; i++) many += " d" + std::to_string(i);
  many += "\noptions ndots:99 timeout:99 attempts:99\n";
  const ResolvConf conf = ResolvConf::parse(many, "host");
  CHECK(conf.servers.size() == ResolvConf::kServersMax);
  CHECK(conf.search.size() == ResolvConf::kSearchMax);
  CHECK(conf.ndots == 15);
  CHECK(conf.timeout_ms == 30000);
  CHECK(conf.attempts == 5);
}

TEST_CASE("dns: which names a name may stand for") {
  const ResolvConf conf = ResolvConf::parse("search a.example b.example\noptions ndots:2", "");
  CHECK(conf.candidates("db") == Names{"db.a.example", "db.b.example", "db"});
  CHECK(conf.candidates("db.x") == Names{"db.x.a.example", "db.x.b.example", "db.x"});
  CHECK(conf.candidates("db.x.y") == Names{"db.x.y", "db.x.y.a.example", "db.x.y.b.example"});
  CHECK(conf.candidates("db.") == Names{"db"});
}

TEST_CASE("dns: the hosts file") {
  const std::string hosts =
      "# comment 10.0.0.9 db\n"
      "10.0.0.2\tdb db.example # other\n"
      "2001:db8::2 DB\r\n"
      "10.0.0.1 other db\n"
      "10.0.0.2 db\n"
      "nonsense db\n"
      "10.0.0.3\n"
      "10.0.0.4 localhost-not not.localhost.example";
  const auto db = find_in_hosts(hosts, "Db");
  REQUIRE(db.has_value());
  CHECK(texts(*db) == Names{"10.0.0.1", "10.0.0.2", "2001:db8::2"});
  CHECK(db->ttl_s == Answer::kNoTtl);
  CHECK(texts(*find_in_hosts(hosts, "db.example.")) == Names{"10.0.0.2"});
  for (const char* unknown : {"", ".", "d", "db.exampl", "10.0.0.3", "#", "localhos", "xlocalhost"}) {
    CAPTURE(unknown);
    CHECK_FALSE(find_in_hosts(hosts, unknown).has_value());
  }
  CHECK(texts(*find_in_hosts(hosts, "localhost")) == Names{"127.0.0.1", "::1"});
  CHECK(texts(*find_in_hosts(hosts, "db.LocalHost.")) == Names{"127.0.0.1", "::1"});
  CHECK(texts(*find_in_hosts("127.0.0.5 localhost", "localhost")) == Names{"127.0.0.5"});
}

}  // namespace
}  // namespace bezel::dns
