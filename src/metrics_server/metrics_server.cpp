#include "src/metrics_server/metrics_server.h"

#include <civetweb.h>
#include <fmt/format.h>
#include <pthread.h>

#include <array>
#include <csignal>
#include <stdexcept>
#include <string_view>

namespace bezel::program {

namespace {

bool is_ipv6(const std::string& addr) {
  return addr.find(':') != std::string::npos;
}

/// In civetweb's notation. "+" listens on IPv4 and IPv6, where civetweb was built with that (Debian 12's was not).
std::string listening_ports(const std::string& addr, uint16_t port) {
  if (addr.empty() || addr == "*") return fmt::format("+{}", port);
  const bool bare_ipv6 = is_ipv6(addr) && addr.front() != '[';
  return bare_ipv6 ? fmt::format("[{}]:{}", addr, port) : fmt::format("{}:{}", addr, port);
}

/// The threads that are started while this lives get no signals: those are for the event loops.
class SignalsBlocked {
 public:
  SignalsBlocked() {
    sigset_t all;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before_);
  }
  ~SignalsBlocked() { pthread_sigmask(SIG_SETMASK, &before_, nullptr); }
  SignalsBlocked(const SignalsBlocked&) = delete;
  SignalsBlocked& operator=(const SignalsBlocked&) = delete;

 private:
  sigset_t before_{};
};

struct Response {
  int status = 200;
  std::string_view status_text = "OK";
  std::string_view content_type = "text/plain; charset=utf-8";
  std::string_view extra_headers;
  std::string body;
};

constexpr std::string_view kMetricsContentType = "text/plain; version=0.0.4; charset=utf-8";

void send(mg_connection* connection, const Response& response, bool with_body) {
  std::string bytes = fmt::format(
      "HTTP/1.1 {} {}\r\nContent-Type: {}\r\nContent-Length: {}\r\nCache-Control: no-store\r\nConnection: "
      "close\r\n{}\r\n",
      response.status, response.status_text, response.content_type, response.body.size(), response.extra_headers);
  if (with_body) bytes += response.body;
  mg_write(connection, bytes.data(), bytes.size());
}

}  // namespace

class MetricsServer::Impl {
 public:
  Impl(const std::string& addr, uint16_t port, admin::Metrics& metrics, admin::Program& program)
      : metrics_(metrics), program_(program) {
    const std::string ports = listening_ports(addr, port);
    // Few threads and a short queue: each thread has a stack and an allocator arena of its own. A request that is not
    // there in time gives its thread back. The document root stays unset: no file is ever served.
    const char* options[] = {"listening_ports",
                             ports.c_str(),  //
                             "num_threads",
                             "2",  //
                             "connection_queue",
                             "8",  //
                             "listen_backlog",
                             "16",  //
                             "request_timeout_ms",
                             "3000",  //
                             "max_request_size",
                             "8192",  //
                             "enable_keep_alive",
                             "no",  //
                             nullptr};
    mg_callbacks callbacks{};
    callbacks.begin_request = on_request;
    callbacks.log_message = on_log;
    if (is_ipv6(addr) && mg_check_feature(MG_FEATURES_IPV6) == 0)
      throw std::runtime_error(
          fmt::format("cannot serve metrics on {}: the HTTP library (civetweb) was built without IPv6", ports));
    const SignalsBlocked blocked;
    mg_init_library(0);
    context_ = mg_start(&callbacks, this, options);
    if (context_ != nullptr) return;
    mg_exit_library();
    throw std::runtime_error(fmt::format("cannot serve metrics on {}: {}", ports, log_.empty() ? "unknown" : log_));
  }

  ~Impl() {
    mg_stop(context_);
    mg_exit_library();
  }

  Impl(const Impl&) = delete;
  Impl& operator=(const Impl&) = delete;

  uint16_t port() const {
    std::array<mg_server_port, 4> ports{};
    const int count = mg_get_server_ports(context_, static_cast<int>(ports.size()), ports.data());
    return count > 0 ? static_cast<uint16_t>(ports[0].port) : uint16_t{0};
  }

 private:
  /// The first complaint of the start is why it failed. Later ones are about single requests and not worth a line.
  static int on_log(const mg_connection* connection, const char* message) {
    if (auto* self = static_cast<Impl*>(mg_get_user_data(mg_get_context(connection)));
        self != nullptr && self->context_ == nullptr && self->log_.empty())
      self->log_ = message;
    return 1;
  }

  static int on_request(mg_connection* connection) {
    const mg_request_info* request = mg_get_request_info(connection);
    auto* self = static_cast<Impl*>(request->user_data);
    const std::string_view method = request->request_method;
    const Response response = self->respond(method, request->local_uri != nullptr ? request->local_uri : "");
    send(connection, response, method != "HEAD");
    return response.status;
  }

  Response respond(std::string_view method, std::string_view path) const {
    if (method != "GET" && method != "HEAD")
      return {405, "Method Not Allowed", "text/plain; charset=utf-8", "Allow: GET, HEAD\r\n", "method not allowed\n"};
    if (path == "/metrics") return {200, "OK", kMetricsContentType, {}, metrics_.scrape()};
    if (path == "/healthz") return {200, "OK", "text/plain; charset=utf-8", {}, "ok\n"};
    if (path == "/readyz") return readiness();
    return {404, "Not Found", "text/plain; charset=utf-8", {}, "not found\n"};
  }

  Response readiness() const {
    const std::string reason = program_.not_ready_reason();
    if (reason.empty()) return {200, "OK", "text/plain; charset=utf-8", {}, "ok\n"};
    return {503, "Service Unavailable", "text/plain; charset=utf-8", {}, reason + "\n"};
  }

  admin::Metrics& metrics_;
  admin::Program& program_;
  mg_context* context_ = nullptr;
  std::string log_;
};

MetricsServer::MetricsServer(const std::string& addr, uint16_t port, admin::Metrics& metrics, admin::Program& program)
    : impl_(std::make_unique<Impl>(addr, port, metrics, program)) {}

MetricsServer::~MetricsServer() = default;

uint16_t MetricsServer::port() const {
  return impl_->port();
}

}  // namespace bezel::program
