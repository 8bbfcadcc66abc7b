#include "src/dns/reply.h"

#include <ares.h>
#include <netinet/in.h>

#include <algorithm>
#include <cstring>
#include <optional>
#include <string>
#include <tuple>

namespace bezel::dns {
namespace {

constexpr uint16_t kClassInternet = 1;
constexpr uint16_t kTypeAlias = 5;

/// Reads a reply from its beginning to its end. Once it has failed it goes on failing.
class Reader {
 public:
  explicit Reader(std::string_view reply) : reply_(reply) {}

  bool failed() const { return failed_; }
  void fail() { failed_ = true; }
  size_t at() const { return at_; }
  void skip(size_t bytes) {
    if (bytes > reply_.size() - at_) return fail();
    at_ += bytes;
  }
  uint16_t u16() {
    const size_t from = at_;
    skip(2);
    return failed_ ? uint16_t{0} : static_cast<uint16_t>(byte(from) << 8 | byte(from + 1));
  }
  uint32_t u32() {
    const uint32_t high = u16();
    return high << 16 | u16();
  }
  void bytes(void* to, size_t size) {
    const size_t from = at_;
    skip(size);
    if (!failed_) std::memcpy(to, reply_.data() + from, size);
  }
  /// A name, which may point to places before it.
  std::string name() {
    if (failed_) return {};
    const auto* const begin = reinterpret_cast<const unsigned char*>(reply_.data());
    char* text = nullptr;
    long length = 0;  // NOLINT(google-runtime-int): c-ares has it so
    const int status =
        ares_expand_name(begin + at_, begin, static_cast<int>(reply_.size()), &text, &length);  // checks all bounds
    if (status != ARES_SUCCESS) {
      fail();
      return {};
    }
    std::string name(text);
    ares_free_string(text);
    skip(static_cast<size_t>(length));
    return name;
  }

 private:
  uint8_t byte(size_t at) const { return static_cast<uint8_t>(reply_[at]); }

  std::string_view reply_;
  size_t at_ = 0;
  bool failed_ = false;
};

/// RFC 2181, 8: a time to live with its highest bit set counts as none.
uint32_t sane_ttl(uint32_t ttl_s) {
  return ttl_s > INT32_MAX ? 0 : ttl_s;
}

net::SocketAddress read_address(Reader& reader, RecordType type) {
  if (type == RecordType::a) {
    sockaddr_in v4{};
    v4.sin_family = AF_INET;
    reader.bytes(&v4.sin_addr, sizeof v4.sin_addr);
    return {reinterpret_cast<const sockaddr*>(&v4), sizeof v4};
  }
  sockaddr_in6 v6{};
  v6.sin6_family = AF_INET6;
  reader.bytes(&v6.sin6_addr, sizeof v6.sin6_addr);
  return {reinterpret_cast<const sockaddr*>(&v6), sizeof v6};
}

void read_service(Reader& reader, Answer& answer) {
  Service service;
  service.priority = reader.u16();
  service.weight = reader.u16();
  service.port = reader.u16();
  service.target = reader.name();
  // The root as a target says that there is no such service (RFC 2782).
  if (!service.target.empty() && service.port != 0) answer.services.push_back(std::move(service));
}

void read_record(Reader& reader, RecordType type, Answer& answer) {
  reader.name();
  const uint16_t its_type = reader.u16();
  const uint16_t its_class = reader.u16();
  const uint32_t ttl_s = sane_ttl(reader.u32());
  const uint16_t size = reader.u16();
  if (reader.failed()) return;
  const size_t end = reader.at() + size;
  if (its_class == kClassInternet && its_type == static_cast<uint16_t>(type)) {
    answer.ttl_s = std::min(answer.ttl_s, ttl_s);
    if (type == RecordType::srv) {
      read_service(reader, answer);
    } else {
      answer.addresses.push_back(read_address(reader, type));
    }
    // More or less than its size says.
    if (reader.at() != end) reader.fail();
    return;
  }
  if (its_class == kClassInternet && its_type == kTypeAlias) answer.ttl_s = std::min(answer.ttl_s, ttl_s);
  reader.skip(size);
}

auto value_of(const net::SocketAddress& address) {
  const net::PeerAddress plain = net::PeerAddress::of(address);
  return std::tuple(plain.family, std::string(reinterpret_cast<const char*>(plain.bytes), sizeof plain.bytes));
}

auto rank_of(const Service& service) {
  return std::tuple(service.priority, UINT16_MAX - service.weight, service.target, service.port);
}

template <typename Item, typename Key>
void order(std::vector<Item>& items, Key key) {
  std::sort(items.begin(), items.end(), [&](const Item& a, const Item& b) { return key(a) < key(b); });
  const auto same = [&](const Item& a, const Item& b) { return key(a) == key(b); };
  items.erase(std::unique(items.begin(), items.end(), same), items.end());
  if (items.size() > Answer::kRecordsMax) items.resize(Answer::kRecordsMax);
}

}  // namespace

bool read_reply(std::string_view reply, RecordType type, Answer& answer) {
  Reader reader(reply);
  reader.skip(4);  // what c-ares has looked at
  const uint16_t questions = reader.u16();
  const uint16_t records = reader.u16();
  reader.skip(4);  // the counts of the other sections
  for (int i = 0; i < questions && !reader.failed(); i++) {
    reader.name();
    reader.skip(4);
  }
  Answer found;
  for (int i = 0; i < records && !reader.failed(); i++) read_record(reader, type, found);
  if (reader.failed()) return false;
  answer.ttl_s = std::min(answer.ttl_s, found.ttl_s);
  answer.addresses.insert(answer.addresses.end(), found.addresses.begin(), found.addresses.end());
  answer.services.insert(answer.services.end(), found.services.begin(), found.services.end());
  return true;
}

void put_in_order(Answer& answer) {
  order(answer.addresses, value_of);
  order(answer.services, rank_of);
}

}  // namespace bezel::dns
