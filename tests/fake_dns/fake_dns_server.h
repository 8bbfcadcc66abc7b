#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <mutex>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

namespace bezel::fake_dns {

inline constexpr uint16_t kA = 1, kCname = 5, kAaaa = 28, kSrv = 33;

/// One record of a reply. `data` is as it stands in the packet.
struct Record {
  uint16_t type = kA;
  uint32_t ttl_s = 60;
  std::string data;
  std::string owner = {};  ///< empty: the name that is asked for
};

Record a(const std::string& address, uint32_t ttl_s = 60);
Record aaaa(const std::string& address, uint32_t ttl_s = 60);
Record cname(const std::string& target, uint32_t ttl_s = 60);
Record srv(const std::string& target, uint16_t port, uint16_t priority = 0, uint16_t weight = 0, uint32_t ttl_s = 60);
/// The same record, of another name.
Record of(const std::string& owner, Record record);

inline constexpr uint8_t kServerFailure = 2, kNoSuchName = 3, kRefused = 5;

struct Reply {
  std::vector<Record> answers = {};
  std::vector<Record> additional = {};
  uint8_t code = 0;
  bool truncated = false;  ///< over UDP it is empty, and says that TCP has more
  bool silent = false;     ///< no reply at all
  /// What is done to the finished packet, to make it hostile.
  std::function<std::string(std::string packet)> distort = {};
};

/// The reply to a query, as a packet.
std::string packet_of(std::string_view query, const Reply& reply, bool over_tcp);
/// A query, as a packet.
std::string query_packet(const std::string& name, uint16_t type);

/// Answers on 127.0.0.1 and a port of its own, over UDP and TCP, from a thread of its own. Any thread may call it.
/// What it knows nothing of does not exist; a name that has records of another type has none of this type.
class FakeDnsServer {
 public:
  FakeDnsServer();
  ~FakeDnsServer();
  FakeDnsServer(const FakeDnsServer&) = delete;
  FakeDnsServer& operator=(const FakeDnsServer&) = delete;

  uint16_t port() const { return port_; }
  /// The line of resolv.conf that names it.
  std::string line() const { return "nameserver 127.0.0.1:" + std::to_string(port_) + "\n"; }

  /// From now on; names are in small letters, without a dot at the end.
  void set(const std::string& name, uint16_t type, Reply reply);
  void set(const std::string& name, uint16_t type, std::vector<Record> answers) {
    set(name, type, Reply{.answers = std::move(answers)});
  }
  /// For all names and types at once, over what is set for each; see clear_all().
  void set_all(Reply reply);
  void clear_all();
  void forget(const std::string& name);

  /// How many queries have come: for one name and type, for all, over TCP.
  int queries(const std::string& name, uint16_t type);
  int queries();
  int queries_over_tcp();

 private:
  void serve();
  void serve_tcp(int connection);
  std::string answer(std::string_view query, bool over_tcp);

  uint16_t port_ = 0;
  int udp_ = -1, tcp_ = -1, wake_ = -1;
  std::mutex mutex_;
  std::map<std::pair<std::string, uint16_t>, Reply> replies_;
  std::map<std::pair<std::string, uint16_t>, int> counts_;
  bool has_reply_for_all_ = false;
  Reply reply_for_all_;
  int all_ = 0, over_tcp_ = 0;
  std::thread thread_;
};

}  // namespace bezel::fake_dns
