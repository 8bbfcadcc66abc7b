// Replies of name servers, and the files resolv.conf and hosts.

#include <string>

#include "src/dns/hosts_file.h"
#include "src/dns/reply.h"
#include "src/dns/resolv_conf.h"
#include "tests/fuzz/target.h"

namespace {

using namespace bezel::dns;
using bezel::fuzz::must;

void check_reply(std::string_view bytes) {
  for (const RecordType type : {RecordType::a, RecordType::aaaa, RecordType::srv}) {
    Answer answer;
    const bool good = read_reply(bytes, type, answer);
    must(good || (answer.addresses.empty() && answer.services.empty() && answer.ttl_s == Answer::kNoTtl),
         "of a malformed reply nothing is taken");
    must(type == RecordType::srv || answer.services.empty(), "only what was asked for");
    must(type != RecordType::srv || answer.addresses.empty(), "only what was asked for");
    for (size_t size = good ? 0 : bytes.size(); size < bytes.size(); size++) {
      Answer part;
      if (!read_reply(bytes.substr(0, size), type, part)) continue;
      must(part.addresses.size() <= answer.addresses.size(), "a part has no more than the whole");
    }
    put_in_order(answer);
    must(answer.addresses.size() <= Answer::kRecordsMax && answer.services.size() <= Answer::kRecordsMax,
         "a bounded number of records");
    const Answer once = answer;
    put_in_order(answer);
    must(answer.services == once.services && answer.addresses.size() == once.addresses.size(), "in order it stays so");
  }
}

void check_resolv_conf(std::string_view text) {
  const ResolvConf conf = ResolvConf::parse(text, "host.example.org");
  must(!conf.servers.empty() && conf.servers.size() <= ResolvConf::kServersMax, "a server to ask");
  must(conf.search.size() <= ResolvConf::kSearchMax, "a bounded number of domains");
  must(conf.ndots >= 0 && conf.attempts >= 1 && conf.timeout_ms >= 1000, "numbers that make sense");
  for (const char* const name : {"db", "db.example", "db.example.org."}) {
    const auto names = conf.candidates(name);
    must(!names.empty() && names.size() <= conf.search.size() + 1, "a name to try");
  }
}

void check_hosts(std::string_view text) {
  for (const char* const name : {"db", "localhost", "x.localhost"}) {
    const auto answer = find_in_hosts(text, name);
    must(!answer || !answer->addresses.empty(), "an answer has an address");
    must(answer || std::string_view(name) == "db", "localhost is always known");
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view bytes = bezel::fuzz::as_text(data, size);
  check_reply(bytes.substr(0, 2000));
  check_resolv_conf(bytes);
  check_hosts(bytes);
  return 0;
}
