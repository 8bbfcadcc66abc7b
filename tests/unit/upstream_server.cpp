#include "upstream_server.h"

#include <arpa/inet.h>
#include <doctest/doctest.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <utility>

namespace bezel::upstream {

namespace {

constexpr std::chrono::seconds kPatience{30};

/// A listening socket on a free port of loopback.
int listen_on_loopback(bool ipv6, uint16_t& port) {
  const int descriptor = ::socket(ipv6 ? AF_INET6 : AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_storage storage{};
  socklen_t size = 0;
  if (ipv6) {
    auto& address = reinterpret_cast<sockaddr_in6&>(storage);
    address.sin6_family = AF_INET6;
    address.sin6_addr = in6addr_loopback;
    size = sizeof address;
  } else {
    auto& address = reinterpret_cast<sockaddr_in&>(storage);
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    size = sizeof address;
  }
  REQUIRE(::bind(descriptor, reinterpret_cast<sockaddr*>(&storage), size) == 0);
  REQUIRE(::listen(descriptor, 64) == 0);
  REQUIRE(::getsockname(descriptor, reinterpret_cast<sockaddr*>(&storage), &size) == 0);
  port = ntohs(ipv6 ? reinterpret_cast<sockaddr_in6&>(storage).sin6_port
                    : reinterpret_cast<sockaddr_in&>(storage).sin_port);
  return descriptor;
}

SSL_CTX* make_context(const ServerTls& tls) {
  SSL_CTX* const context = SSL_CTX_new(TLS_server_method());
  REQUIRE(SSL_CTX_use_certificate_chain_file(context, tls.certificate.c_str()) == 1);
  REQUIRE(SSL_CTX_use_PrivateKey_file(context, tls.key.c_str(), SSL_FILETYPE_PEM) == 1);
  if (!tls.client_ca.empty()) {
    REQUIRE(SSL_CTX_load_verify_locations(context, tls.client_ca.c_str(), nullptr) == 1);
    SSL_CTX_set_verify(context, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, nullptr);
  }
  return context;
}

std::string lower(std::string text) {
  std::transform(text.begin(), text.end(), text.begin(), [](unsigned char c) { return std::tolower(c); });
  return text;
}

/// Reads one request; false if the client has gone before its end.
bool read_request(ServerConnection& connection, SeenRequest& request) {
  std::string bytes;
  size_t head_end = std::string::npos;
  while ((head_end = bytes.find("\r\n\r\n")) == std::string::npos) {
    const std::string more = connection.receive(4096);
    if (more.empty()) return false;
    bytes += more;
  }
  size_t at = bytes.find("\r\n");
  const std::string first = bytes.substr(0, at);
  request.method = first.substr(0, first.find(' '));
  request.target = first.substr(request.method.size() + 1, first.rfind(' ') - request.method.size() - 1);
  while (at < head_end) {
    const size_t begin = at + 2, end = bytes.find("\r\n", begin), colon = bytes.find(": ", begin);
    if (colon < end)
      request.headers[lower(bytes.substr(begin, colon - begin))] = bytes.substr(colon + 2, end - colon - 2);
    at = end;
  }
  const std::string length = request.header("content-length");
  const size_t total = head_end + 4 + (length.empty() ? 0 : std::stoul(length));
  while (bytes.size() < total) {
    const std::string more = connection.receive(4096);
    if (more.empty()) return false;
    bytes += more;
  }
  request.body = bytes.substr(head_end + 4);
  return true;
}

}  // namespace

void ServerConnection::send(std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t sent = tls_ != nullptr ? SSL_write(tls_, bytes.data(), static_cast<int>(bytes.size()))
                                         : ::send(descriptor_, bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (sent <= 0) return;
    bytes.remove_prefix(static_cast<size_t>(sent));
  }
}

void ServerConnection::reply(int status, std::string_view body) {
  send("HTTP/1.0 " + std::to_string(status) +
       " OK\r\nServer: BaseHTTP/0.6 Python/3.11.2\r\nContent-Type: application/json\r\n\r\n" + std::string(body));
}

void ServerConnection::begin_chunks(int status) {
  send("HTTP/1.1 " + std::to_string(status) +
       " OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n");
}

void ServerConnection::chunk(std::string_view bytes) {
  char size[32];
  const int length = std::snprintf(size, sizeof size, "%zx\r\n", bytes.size());
  send(std::string(size, static_cast<size_t>(length)) + std::string(bytes) + "\r\n");
}

void ServerConnection::hang() {
  while (!receive(4096).empty()) {
  }
}

std::string ServerConnection::receive(size_t bytes_max) {
  std::string bytes(bytes_max, '\0');
  const ssize_t got = tls_ != nullptr ? SSL_read(tls_, bytes.data(), static_cast<int>(bytes.size()))
                                      : ::recv(descriptor_, bytes.data(), bytes.size(), 0);
  bytes.resize(got > 0 ? static_cast<size_t>(got) : 0);
  return bytes;
}

ScriptedServer::ScriptedServer(Handler handler, const ServerTls& tls, bool ipv6) : handler_(std::move(handler)) {
  if (!tls.certificate.empty()) context_ = make_context(tls);
  listener_ = listen_on_loopback(ipv6, port_);
  url_ = std::string(context_ != nullptr ? "https" : "http") + (ipv6 ? "://[::1]:" : "://127.0.0.1:") +
         std::to_string(port_);
  acceptor_ = std::thread([this] { accept_all(); });
}

ScriptedServer::~ScriptedServer() {
  {
    const std::lock_guard lock(mutex_);
    is_ending_ = true;
    for (const int descriptor : descriptors_) ::shutdown(descriptor, SHUT_RDWR);
  }
  ::shutdown(listener_, SHUT_RDWR);
  acceptor_.join();
  for (std::thread& thread : threads_) thread.join();
  ::close(listener_);
  if (context_ != nullptr) SSL_CTX_free(context_);
}

std::vector<SeenRequest> ScriptedServer::seen() const {
  const std::lock_guard lock(mutex_);
  return seen_;
}

void ScriptedServer::set_handler(Handler handler) {
  const std::lock_guard lock(mutex_);
  handler_ = std::move(handler);
}

void ScriptedServer::accept_all() {
  for (;;) {
    const int descriptor = ::accept4(listener_, nullptr, nullptr, SOCK_CLOEXEC);
    if (descriptor < 0) return;
    const std::lock_guard lock(mutex_);
    if (is_ending_) {
      ::close(descriptor);
      return;
    }
    descriptors_.insert(descriptor);
    open_++;
    threads_.emplace_back([this, descriptor] { serve(descriptor); });
  }
}

void ScriptedServer::serve(int descriptor) {
  SSL* tls = nullptr;
  if (context_ != nullptr) {
    tls = SSL_new(context_);
    SSL_set_fd(tls, descriptor);
  }
  if (tls == nullptr || SSL_accept(tls) == 1) {
    ServerConnection connection(descriptor, tls);
    answer(connection);
    if (tls != nullptr) SSL_shutdown(tls);
  }
  if (tls != nullptr) SSL_free(tls);
  const std::lock_guard lock(mutex_);
  descriptors_.erase(descriptor);
  open_--;
  ::close(descriptor);
}

void ScriptedServer::answer(ServerConnection& connection) {
  SeenRequest request;
  if (!read_request(connection, request)) return;
  Handler handler;
  {
    const std::lock_guard lock(mutex_);
    seen_.push_back(request);
    handler = handler_;
  }
  handler(connection, request);
}

std::string dead_url() {
  uint16_t port = 0;
  ::close(listen_on_loopback(false, port));
  return "http://127.0.0.1:" + std::to_string(port);
}

TestLoop::TestLoop() {
  REQUIRE(uv_loop_init(&loop_) == 0);
  uv_timer_init(&loop_, &tick_);
  uv_timer_start(
      &tick_, [](uv_timer_t*) {}, 1, 1);
}

TestLoop::~TestLoop() {
  uv_close(reinterpret_cast<uv_handle_t*>(&tick_), nullptr);
  // What was destroyed before has closed its handles: nothing else keeps the loop.
  uv_run(&loop_, UV_RUN_DEFAULT);
  CHECK(uv_loop_close(&loop_) == 0);
}

void TestLoop::until(const std::function<bool()>& condition) {
  const auto give_up = std::chrono::steady_clock::now() + kPatience;
  while (!condition()) {
    REQUIRE(std::chrono::steady_clock::now() < give_up);
    uv_run(&loop_, UV_RUN_ONCE);
  }
}

void TestLoop::turns(int count) {
  for (int i = 0; i < count; i++) uv_run(&loop_, UV_RUN_ONCE);
}

std::string RecordingObserver::primary() const {
  if (memberships.empty()) return "";
  for (const pool::Member& member : memberships.back().members) {
    if (member.role == pool::MemberRole::primary) return member.name;
  }
  return "";
}

}  // namespace bezel::upstream
