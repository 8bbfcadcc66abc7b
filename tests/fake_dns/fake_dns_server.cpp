#include "fake_dns/fake_dns_server.h"

#include <arpa/inet.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <stdexcept>

namespace bezel::fake_dns {
namespace {

constexpr size_t kHeaderBytes = 12;

std::string u16(uint16_t value) {
  return {static_cast<char>(value >> 8), static_cast<char>(value & 0xff)};
}

std::string u32(uint32_t value) {
  return u16(static_cast<uint16_t>(value >> 16)) + u16(static_cast<uint16_t>(value & 0xffff));
}

std::string name_bytes(const std::string& name) {
  std::string bytes;
  size_t from = 0;
  while (from < name.size()) {
    const size_t dot = std::min(name.find('.', from), name.size());
    bytes += static_cast<char>(dot - from);
    bytes += name.substr(from, dot - from);
    from = dot + 1;
  }
  return bytes + '\0';
}

std::string address_bytes(int family, const std::string& address) {
  char bytes[16];
  if (::inet_pton(family, address.c_str(), bytes) != 1) throw std::invalid_argument(address);
  return {bytes, size_t{family == AF_INET ? 4U : 16U}};
}

std::string record_bytes(const Record& record) {
  const std::string owner = record.owner.empty() ? std::string("\xc0\x0c", 2) : name_bytes(record.owner);
  return owner + u16(record.type) + u16(1) + u32(record.ttl_s) + u16(static_cast<uint16_t>(record.data.size())) +
         record.data;
}

/// The name and type that a query asks for, and where the question ends.
struct Question {
  std::string name;
  uint16_t type = 0;
  size_t end = 0;
};

Question question_of(std::string_view query) {
  Question question;
  size_t at = kHeaderBytes;
  while (at < query.size() && query[at] != 0) {
    const auto length = static_cast<size_t>(static_cast<unsigned char>(query[at]));
    if (!question.name.empty()) question.name += '.';
    for (const char c : query.substr(at + 1, length)) {
      question.name += c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
    }
    at += 1 + length;
  }
  if (at + 5 > query.size()) throw std::runtime_error("no query");
  question.type =
      static_cast<uint16_t>(static_cast<unsigned char>(query[at + 1]) << 8 | static_cast<unsigned char>(query[at + 2]));
  question.end = at + 5;
  return question;
}

int socket_at(int type, uint16_t port) {
  const int descriptor = ::socket(AF_INET, type | SOCK_CLOEXEC, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(port);
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  if (::bind(descriptor, reinterpret_cast<sockaddr*>(&address), sizeof address) == 0) return descriptor;
  ::close(descriptor);
  return -1;
}

uint16_t port_of(int descriptor) {
  sockaddr_in address{};
  socklen_t size = sizeof address;
  ::getsockname(descriptor, reinterpret_cast<sockaddr*>(&address), &size);
  return ntohs(address.sin_port);
}

bool receive_all(int descriptor, char* to, size_t size) {
  while (size > 0) {
    const ssize_t got = ::recv(descriptor, to, size, 0);
    if (got <= 0) return false;
    to += got;
    size -= static_cast<size_t>(got);
  }
  return true;
}

}  // namespace

Record a(const std::string& address, uint32_t ttl_s) {
  return {kA, ttl_s, address_bytes(AF_INET, address)};
}

Record aaaa(const std::string& address, uint32_t ttl_s) {
  return {kAaaa, ttl_s, address_bytes(AF_INET6, address)};
}

Record cname(const std::string& target, uint32_t ttl_s) {
  return {kCname, ttl_s, name_bytes(target)};
}

Record srv(const std::string& target, uint16_t port, uint16_t priority, uint16_t weight, uint32_t ttl_s) {
  return {kSrv, ttl_s, u16(priority) + u16(weight) + u16(port) + name_bytes(target)};
}

Record of(const std::string& owner, Record record) {
  record.owner = owner;
  return record;
}

std::string packet_of(std::string_view query, const Reply& reply, bool over_tcp) {
  const Question question = question_of(query);
  const bool cut = reply.truncated && !over_tcp;
  std::string packet(query.substr(0, 2));
  packet += static_cast<char>(cut ? 0x87 : 0x85);
  packet += static_cast<char>(0x80 | reply.code);
  packet += u16(1);
  packet += u16(cut ? 0 : static_cast<uint16_t>(reply.answers.size()));
  packet += u16(0);
  packet += u16(cut ? 0 : static_cast<uint16_t>(reply.additional.size()));
  packet += query.substr(kHeaderBytes, question.end - kHeaderBytes);
  if (!cut) {
    for (const Record& record : reply.answers) packet += record_bytes(record);
    for (const Record& record : reply.additional) packet += record_bytes(record);
  }
  return reply.distort ? reply.distort(packet) : packet;
}

std::string query_packet(const std::string& name, uint16_t type) {
  return u16(0x1234) + u16(0x0100) + u16(1) + u16(0) + u16(0) + u16(0) + name_bytes(name) + u16(type) + u16(1);
}

FakeDnsServer::FakeDnsServer() : wake_(::eventfd(0, EFD_CLOEXEC)) {
  for (int tries = 0; tcp_ < 0 && tries < 100; tries++) {
    if (udp_ >= 0) ::close(udp_);
    udp_ = socket_at(SOCK_DGRAM, 0);
    port_ = port_of(udp_);
    tcp_ = socket_at(SOCK_STREAM, port_);
  }
  if (tcp_ < 0 || ::listen(tcp_, 16) != 0) throw std::runtime_error("no port for a DNS server");
  thread_ = std::thread([this] { serve(); });
}

FakeDnsServer::~FakeDnsServer() {
  const uint64_t one = 1;
  [[maybe_unused]] const ssize_t written = ::write(wake_, &one, sizeof one);
  thread_.join();
  for (const int descriptor : {udp_, tcp_, wake_}) ::close(descriptor);
}

void FakeDnsServer::set(const std::string& name, uint16_t type, Reply reply) {
  const std::lock_guard lock(mutex_);
  replies_[{name, type}] = std::move(reply);
}

void FakeDnsServer::set_all(Reply reply) {
  const std::lock_guard lock(mutex_);
  has_reply_for_all_ = true;
  reply_for_all_ = std::move(reply);
}

void FakeDnsServer::clear_all() {
  const std::lock_guard lock(mutex_);
  has_reply_for_all_ = false;
}

void FakeDnsServer::forget(const std::string& name) {
  const std::lock_guard lock(mutex_);
  std::erase_if(replies_, [&](const auto& entry) { return entry.first.first == name; });
}

int FakeDnsServer::queries(const std::string& name, uint16_t type) {
  const std::lock_guard lock(mutex_);
  return counts_[{name, type}];
}

int FakeDnsServer::queries() {
  const std::lock_guard lock(mutex_);
  return all_;
}

int FakeDnsServer::queries_over_tcp() {
  const std::lock_guard lock(mutex_);
  return over_tcp_;
}

std::string FakeDnsServer::answer(std::string_view query, bool over_tcp) {
  const Question question = question_of(query);
  Reply reply;
  {
    const std::lock_guard lock(mutex_);
    counts_[{question.name, question.type}]++;
    all_++;
    over_tcp_ += over_tcp ? 1 : 0;
    const auto found = replies_.find({question.name, question.type});
    if (has_reply_for_all_) {
      reply = reply_for_all_;
    } else if (found != replies_.end()) {
      reply = found->second;
    } else {
      const auto other = replies_.lower_bound({question.name, 0});
      const bool exists = other != replies_.end() && other->first.first == question.name;
      reply.code = exists ? 0 : kNoSuchName;
    }
  }
  return reply.silent ? std::string() : packet_of(query, reply, over_tcp);
}

void FakeDnsServer::serve() {
  for (;;) {
    pollfd waited[] = {{wake_, POLLIN, 0}, {udp_, POLLIN, 0}, {tcp_, POLLIN, 0}};
    ::poll(waited, 3, -1);
    if (waited[0].revents != 0) return;
    if (waited[1].revents != 0) {
      char query[4096];
      sockaddr_in from{};
      socklen_t size = sizeof from;
      const ssize_t got = ::recvfrom(udp_, query, sizeof query, 0, reinterpret_cast<sockaddr*>(&from), &size);
      if (got <= static_cast<ssize_t>(kHeaderBytes)) continue;
      const std::string reply = answer({query, static_cast<size_t>(got)}, false);
      if (!reply.empty()) ::sendto(udp_, reply.data(), reply.size(), 0, reinterpret_cast<sockaddr*>(&from), size);
    }
    if (waited[2].revents != 0) serve_tcp(::accept4(tcp_, nullptr, nullptr, SOCK_CLOEXEC));
  }
}

void FakeDnsServer::serve_tcp(int connection) {
  // All questions of a lookup may come by one connection. Others wait meanwhile: tests ask little.
  const timeval patience{.tv_sec = 5, .tv_usec = 0};
  ::setsockopt(connection, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
  unsigned char length[2];
  while (receive_all(connection, reinterpret_cast<char*>(length), sizeof length)) {
    std::string query(static_cast<size_t>(length[0] << 8 | length[1]), '\0');
    if (!receive_all(connection, query.data(), query.size()) || query.size() <= kHeaderBytes) break;
    std::string reply = answer(query, true);
    if (reply.empty()) break;
    reply = u16(static_cast<uint16_t>(reply.size())) + reply;
    ::send(connection, reply.data(), reply.size(), MSG_NOSIGNAL);
  }
  ::close(connection);
}

}  // namespace bezel::fake_dns
