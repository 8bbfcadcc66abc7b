#pragma once

#include <uv.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>

namespace bezel::upstream {

/// One HTTP request. Redirects are not followed, proxies of the environment not used, connections not kept.
struct HttpRequest {
  std::string url;  ///< http:// or https://
  bool post = false;
  std::string body = {};                 ///< of POST: JSON
  std::string user = {}, password = {};  ///< basic authentication, unless `user` is empty
  std::string bearer_token = {};         ///< unless empty. REQUIRES: printable ASCII
  /// For https: files in PEM. Empty CA: the system's. The server's certificate and name are always verified.
  std::string ca_file = {}, cert_file = {}, key_file = {};
  int64_t connect_timeout_us = 1'500'000;  ///< up to the end of the TLS handshake
  int64_t total_timeout_us = 0;            ///< of all; 0: none
  int64_t idle_timeout_us = 0;             ///< how long nothing may come; 0: for ever
  size_t body_bytes_max = 256 * 1024;      ///< of an answer that is collected; more is an error
};

/// How a request has ended.
struct HttpAnswer {
  int status = 0;          ///< HTTP's, also if the rest is missing; 0: there was none
  std::string body = {};   ///< what was collected, at most body_bytes_max
  std::string error = {};  ///< why the answer is missing or not whole: for people, without secrets; empty: it is whole
  /// False: the server cannot have seen the request, it may go to another one.
  bool was_sent = false;
};

/// A request under way. Its destruction cancels it: no callback comes any more. It may outlive its client.
class HttpExchange {
 public:
  class Transfer;
  explicit HttpExchange(std::shared_ptr<Transfer> transfer) : transfer_(std::move(transfer)) {}
  ~HttpExchange();
  HttpExchange(const HttpExchange&) = delete;
  HttpExchange& operator=(const HttpExchange&) = delete;

 private:
  std::shared_ptr<Transfer> transfer_;
};

/// Sends requests by libcurl, on the thread of `loop`, which never waits for them. Callbacks come from the loop, never
/// from inside a call; they may do anything, also destroy the exchange or the client.
class HttpClient {
 public:
  using OnDone = std::function<void(HttpAnswer)>;
  /// A part of the body of an answer with status 200, cut anywhere.
  using OnPart = std::function<void(std::string_view)>;

  explicit HttpClient(uv_loop_t* loop);
  /// Cancels all. The loop must still run for handles to close; they keep nothing else alive.
  ~HttpClient();
  HttpClient(const HttpClient&) = delete;
  HttpClient& operator=(const HttpClient&) = delete;

  /// `on_done` is called once, also when it cannot even begin. With `on_part` the body of an answer with status 200 is
  /// handed on as it comes, and not collected.
  [[nodiscard]] std::unique_ptr<HttpExchange> send(HttpRequest request, OnDone on_done, OnPart on_part = {});

 private:
  friend class HttpExchange::Transfer;
  class Core;
  std::shared_ptr<Core> core_;
};

}  // namespace bezel::upstream
