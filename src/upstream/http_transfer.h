#pragma once

#include <uv.h>

#include <array>
#include <memory>
#include <string>

#include "src/upstream/http_client.h"
#include "src/upstream/libcurl.h"

namespace bezel::upstream {

/// One request inside libcurl, and what has come of it. What curl tells is put down here, and told to the user only
/// when curl has returned: the user may then destroy what curl was busy with.
class HttpExchange::Transfer : public std::enable_shared_from_this<HttpExchange::Transfer> {
 public:
  Transfer(std::shared_ptr<HttpClient::Core> core, HttpRequest request, HttpClient::OnDone on_done,
           HttpClient::OnPart on_part);
  ~Transfer();
  Transfer(const Transfer&) = delete;
  Transfer& operator=(const Transfer&) = delete;

  /// Makes the handle that curl works with. False: it has failed with an error.
  bool prepare(const Libcurl& curl);
  CURL* handle() const { return handle_; }
  /// Watches that something comes, if that was asked for.
  void begin_idle_watch(uv_loop_t* loop);

  /// curl is done with it, or never began. It must not be in curl's hands any more.
  void finish(CURLcode code);
  /// `error`: empty if the answer is whole.
  void end(std::string error);
  /// No callback comes any more.
  void cancel();
  /// Frees what belongs to curl and to libuv.
  void release();
  /// Calls back with what has come since the last time.
  void tell();

 private:
  static size_t on_header(char* bytes, size_t size, size_t count, void* self);
  static size_t on_body(char* bytes, size_t size, size_t count, void* self);
  static int on_socket(void* self, curl_socket_t socket, curlsocktype purpose);
  void set_headers(const Libcurl& curl);
  void set_time_outs(const Libcurl& curl);
  void set_tls(const Libcurl& curl);
  /// How far it has come, before the handle goes.
  void read_progress();
  bool take_body(std::string_view bytes);
  void something_came();

  static constexpr size_t kHeaderBytesMax = 64UL * 1024;

  std::weak_ptr<HttpClient::Core> core_;
  HttpRequest request_;
  // Not changed while they may be running: a callback may cancel its own request.
  const HttpClient::OnDone on_done_;
  const HttpClient::OnPart on_part_;
  const Libcurl* curl_ = nullptr;
  CURL* handle_ = nullptr;
  curl_slist* headers_ = nullptr;
  uv_timer_t* idle_timer_ = nullptr;  ///< outlives this object until it is closed
  std::array<char, CURL_ERROR_SIZE> error_text_{};
  size_t header_bytes_ = 0;
  std::string parts_;  ///< not yet handed on
  std::string why_cut_;
  HttpAnswer answer_;
  bool is_finished_ = false, is_cancelled_ = false;
};

}  // namespace bezel::upstream
