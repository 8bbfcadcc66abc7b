#pragma once

#include <openssl/ssl.h>
#include <uv.h>

#include <atomic>
#include <functional>
#include <map>
#include <mutex>
#include <set>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "src/upstream/follower.h"

namespace bezel::upstream {

/// A request as the scripted server has read it.
struct SeenRequest {
  std::string method, target;                  ///< "GET", "/cluster?x=y"
  std::map<std::string, std::string> headers;  ///< names in lower case
  std::string body;
  std::string header(const std::string& name) const {
    const auto found = headers.find(name);
    return found == headers.end() ? "" : found->second;
  }
};

/// The server's end of one connection. Used by that connection's thread.
class ServerConnection {
 public:
  ServerConnection(int descriptor, SSL* tls) : descriptor_(descriptor), tls_(tls) {}
  void send(std::string_view bytes);
  /// As Patroni answers: HTTP/1.0, no length, the end of the connection is the end of the body.
  void reply(int status, std::string_view body);
  /// The head of an answer in chunks, as Kubernetes' watches are; then the chunks.
  void begin_chunks(int status = 200);
  void chunk(std::string_view bytes);
  void end_chunks() { send("0\r\n\r\n"); }
  /// Until the client or the test ends the connection.
  void hang();
  /// Bytes that have come, at most `bytes_max`; none: the other side has closed.
  std::string receive(size_t bytes_max);

 private:
  int descriptor_;
  SSL* tls_;
};

/// Certificates of a server, in files. A client's certificate is asked for if `client_ca` is not empty.
struct ServerTls {
  std::string certificate, key, client_ca;
};

/// A small HTTP server on a free port of loopback, that does what a test says. One thread for each connection.
class ScriptedServer {
 public:
  using Handler = std::function<void(ServerConnection&, const SeenRequest&)>;

  explicit ScriptedServer(Handler handler, const ServerTls& tls = {}, bool ipv6 = false);
  ~ScriptedServer();
  ScriptedServer(const ScriptedServer&) = delete;
  ScriptedServer& operator=(const ScriptedServer&) = delete;

  std::string url() const { return url_; }
  uint16_t port() const { return port_; }
  /// All requests so far, in the order of their coming.
  std::vector<SeenRequest> seen() const;
  size_t count() const { return seen().size(); }
  /// What it does from the next request on.
  void set_handler(Handler handler);
  /// Connections that are open now.
  int open_connections() const { return open_; }

 private:
  void accept_all();
  void serve(int descriptor);
  void answer(ServerConnection& connection);

  SSL_CTX* context_ = nullptr;
  int listener_ = -1;
  uint16_t port_ = 0;
  std::string url_;
  mutable std::mutex mutex_;
  Handler handler_;
  std::vector<SeenRequest> seen_;
  std::set<int> descriptors_;
  std::vector<std::thread> threads_;
  bool is_ending_ = false;
  std::atomic<int> open_{0};
  std::thread acceptor_;
};

/// A URL where nobody listens.
std::string dead_url();

/// A loop that runs in the test's own thread.
class TestLoop {
 public:
  TestLoop();
  ~TestLoop();
  TestLoop(const TestLoop&) = delete;
  TestLoop& operator=(const TestLoop&) = delete;
  uv_loop_t* get() { return &loop_; }
  /// Runs the loop until the condition holds. The test ends if that takes longer than anything may.
  void until(const std::function<bool()>& condition);
  /// Runs a few turns, so that what is ready happens.
  void turns(int count);

 private:
  uv_loop_t loop_{};
  uv_timer_t tick_{};
};

/// Puts down what a follower tells.
class RecordingObserver final : public Observer {
 public:
  std::vector<pool::Membership> memberships;
  std::vector<std::string> silences;
  std::function<void()> hook;

  void on_membership(const pool::Membership& membership) override {
    memberships.push_back(membership);
    if (hook) hook();
  }
  void on_silence(std::string_view why) override {
    silences.emplace_back(why);
    if (hook) hook();
  }
  /// The name of the last membership's primary; "" without one.
  std::string primary() const;
};

}  // namespace bezel::upstream
