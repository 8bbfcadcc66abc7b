#include "src/upstream/http_transfer.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include <algorithm>
#include <utility>

#include "pool/printable.h"
#include "src/upstream/http_core.h"

namespace bezel::upstream {

HttpExchange::~HttpExchange() {
  transfer_->cancel();
}

HttpExchange::Transfer::Transfer(std::shared_ptr<HttpClient::Core> core, HttpRequest request,
                                 HttpClient::OnDone on_done, HttpClient::OnPart on_part)
    : core_(core), request_(std::move(request)), on_done_(std::move(on_done)), on_part_(std::move(on_part)) {}

HttpExchange::Transfer::~Transfer() {
  release();
}

bool HttpExchange::Transfer::prepare(const Libcurl& curl) {
  curl_ = &curl;
  handle_ = curl.easy_init();
  if (handle_ == nullptr) {
    end("out of memory");
    return false;
  }
  const auto set = curl.easy_setopt;
  set(handle_, CURLOPT_PRIVATE, this);
  set(handle_, CURLOPT_ERRORBUFFER, error_text_.data());
  set(handle_, CURLOPT_URL, request_.url.c_str());
  set(handle_, CURLOPT_PROTOCOLS_STR, "http,https");
  set(handle_, CURLOPT_PROXY, "");  // none, whatever the environment says
  set(handle_, CURLOPT_HTTP_VERSION, static_cast<long>(CURL_HTTP_VERSION_1_1));
  set(handle_, CURLOPT_FOLLOWLOCATION, 0L);
  // Patroni closes after each answer, and a Kubernetes watch is a connection's whole life.
  set(handle_, CURLOPT_FRESH_CONNECT, 1L);
  set(handle_, CURLOPT_FORBID_REUSE, 1L);
  set(handle_, CURLOPT_NOSIGNAL, 1L);
  // Who cancels must not wait for a name to be resolved.
  set(handle_, CURLOPT_QUICK_EXIT, 1L);
  set(handle_, CURLOPT_HEADERFUNCTION, &on_header);
  set(handle_, CURLOPT_HEADERDATA, this);
  set(handle_, CURLOPT_WRITEFUNCTION, &on_body);
  set(handle_, CURLOPT_WRITEDATA, this);
  set(handle_, CURLOPT_SOCKOPTFUNCTION, &on_socket);
  set_headers(curl);
  set_time_outs(curl);
  set_tls(curl);
  return true;
}

void HttpExchange::Transfer::set_headers(const Libcurl& curl) {
  const auto add = [&](const std::string& line) {
    curl_slist* const longer = curl.slist_append(headers_, line.c_str());
    if (longer != nullptr) headers_ = longer;
  };
  const auto set = curl.easy_setopt;
  add("Accept: application/json");
  if (request_.post) {
    add("Content-Type: application/json");
    add("Expect:");  // bodies are small: they are not announced first
    set(handle_, CURLOPT_POST, 1L);
    set(handle_, CURLOPT_POSTFIELDSIZE_LARGE, static_cast<curl_off_t>(request_.body.size()));
    set(handle_, CURLOPT_POSTFIELDS, request_.body.data());
  }
  if (!request_.bearer_token.empty()) add("Authorization: Bearer " + request_.bearer_token);
  if (!request_.user.empty()) {
    set(handle_, CURLOPT_HTTPAUTH, static_cast<long>(CURLAUTH_BASIC));
    set(handle_, CURLOPT_USERNAME, request_.user.c_str());
    set(handle_, CURLOPT_PASSWORD, request_.password.c_str());
  }
  set(handle_, CURLOPT_USERAGENT, "bezel");
  set(handle_, CURLOPT_HTTPHEADER, headers_);
}

void HttpExchange::Transfer::set_time_outs(const Libcurl& curl) {
  const auto set = [&](CURLoption option, int64_t timeout_us) {
    if (timeout_us > 0) curl.easy_setopt(handle_, option, static_cast<long>(std::max<int64_t>(1, timeout_us / 1000)));
  };
  set(CURLOPT_CONNECTTIMEOUT_MS, request_.connect_timeout_us);
  set(CURLOPT_TIMEOUT_MS, request_.total_timeout_us);
}

void HttpExchange::Transfer::set_tls(const Libcurl& curl) {
  const auto set = curl.easy_setopt;
  set(handle_, CURLOPT_SSL_VERIFYPEER, 1L);
  set(handle_, CURLOPT_SSL_VERIFYHOST, 2L);
  if (!request_.ca_file.empty()) {
    set(handle_, CURLOPT_CAINFO, request_.ca_file.c_str());
    set(handle_, CURLOPT_CAPATH, nullptr);  // else the system's authorities would be trusted too
  }
  if (!request_.cert_file.empty()) set(handle_, CURLOPT_SSLCERT, request_.cert_file.c_str());
  if (!request_.key_file.empty()) set(handle_, CURLOPT_SSLKEY, request_.key_file.c_str());
  set(handle_, CURLOPT_KEYPASSWD, "");  // else OpenSSL asks at the terminal
}

int HttpExchange::Transfer::on_socket(void*, curl_socket_t socket, curlsocktype) {
  ::fcntl(socket, F_SETFD, FD_CLOEXEC);
  // A watch only listens: that its server is gone without a word shows after 5 + 3 * 2 seconds.
  const auto set = [&](int level, int option, int value) { ::setsockopt(socket, level, option, &value, sizeof value); };
  set(SOL_SOCKET, SO_KEEPALIVE, 1);
  set(IPPROTO_TCP, TCP_KEEPIDLE, 5);
  set(IPPROTO_TCP, TCP_KEEPINTVL, 2);
  set(IPPROTO_TCP, TCP_KEEPCNT, 3);
  return CURL_SOCKOPT_OK;
}

void HttpExchange::Transfer::begin_idle_watch(uv_loop_t* loop) {
  if (request_.idle_timeout_us <= 0) return;
  idle_timer_ = new uv_timer_t;
  uv_timer_init(loop, idle_timer_);
  idle_timer_->data = this;
  something_came();
}

void HttpExchange::Transfer::something_came() {
  if (idle_timer_ == nullptr) return;
  const auto idle = [](uv_timer_t* timer) {
    auto& self = *static_cast<Transfer*>(timer->data);
    const std::shared_ptr<Transfer> alive = self.shared_from_this();
    if (const auto core = self.core_.lock()) {
      core->withdraw(self);
      self.read_progress();
      self.end("nothing has come for too long");
    }
  };
  uv_timer_start(idle_timer_, idle, static_cast<uint64_t>(std::max<int64_t>(1, request_.idle_timeout_us / 1000)), 0);
}

size_t HttpExchange::Transfer::on_header(char*, size_t size, size_t count, void* self) {
  auto& transfer = *static_cast<Transfer*>(self);
  const size_t bytes = size * count;
  transfer.something_came();
  transfer.header_bytes_ += bytes;
  if (transfer.header_bytes_ <= kHeaderBytesMax) return bytes;
  transfer.why_cut_ = "the answer's headers are too long";
  return 0;
}

size_t HttpExchange::Transfer::on_body(char* bytes, size_t size, size_t count, void* self) {
  auto& transfer = *static_cast<Transfer*>(self);
  transfer.something_came();
  return transfer.take_body({bytes, size * count}) ? size * count : 0;
}

bool HttpExchange::Transfer::take_body(std::string_view bytes) {
  long status = 0;
  curl_->easy_getinfo(handle_, CURLINFO_RESPONSE_CODE, &status);
  if (on_part_ && status == 200) {
    parts_.append(bytes);
    if (const auto core = core_.lock()) core->note(shared_from_this());
    return true;
  }
  if (bytes.size() > request_.body_bytes_max - answer_.body.size()) {
    why_cut_ = "the answer is too long";
    return false;
  }
  answer_.body.append(bytes);
  return true;
}

void HttpExchange::Transfer::read_progress() {
  long status = 0, bytes_sent = 0;
  curl_->easy_getinfo(handle_, CURLINFO_RESPONSE_CODE, &status);
  curl_->easy_getinfo(handle_, CURLINFO_REQUEST_SIZE, &bytes_sent);
  answer_.status = static_cast<int>(status);
  answer_.was_sent = bytes_sent > 0;
}

void HttpExchange::Transfer::finish(CURLcode code) {
  read_progress();
  std::string error;
  if (code != CURLE_OK) {
    error = !why_cut_.empty()        ? why_cut_
            : error_text_[0] != '\0' ? pool::printable(error_text_.data())
                                     : curl_->easy_strerror(code);
  }
  end(std::move(error));
}

void HttpExchange::Transfer::end(std::string error) {
  answer_.error = std::move(error);
  is_finished_ = true;
  release();
  if (const auto core = core_.lock()) core->note(shared_from_this());
}

void HttpExchange::Transfer::cancel() {
  if (is_cancelled_) return;
  is_cancelled_ = true;
  if (const auto core = core_.lock()) core->withdraw(*this);
  release();
}

void HttpExchange::Transfer::release() {
  if (idle_timer_ != nullptr) {
    uv_close(reinterpret_cast<uv_handle_t*>(idle_timer_),
             [](uv_handle_t* handle) { delete reinterpret_cast<uv_timer_t*>(handle); });
    idle_timer_ = nullptr;
  }
  if (handle_ != nullptr) curl_->easy_cleanup(std::exchange(handle_, nullptr));
  if (headers_ != nullptr) curl_->slist_free_all(std::exchange(headers_, nullptr));
}

void HttpExchange::Transfer::tell() {
  if (!is_cancelled_ && !parts_.empty()) {
    const std::string parts = std::exchange(parts_, {});
    on_part_(parts);
  }
  if (!is_cancelled_ && is_finished_) {
    is_cancelled_ = true;  // nothing follows
    on_done_(std::move(answer_));
  }
}

}  // namespace bezel::upstream
