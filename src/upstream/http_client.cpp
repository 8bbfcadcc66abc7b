#include "src/upstream/http_client.h"

#include <utility>

#include "src/upstream/http_core.h"

namespace bezel::upstream {

namespace {

uv_timer_t* make_timer(uv_loop_t* loop, void* data) {
  auto* const timer = new uv_timer_t;
  uv_timer_init(loop, timer);
  timer->data = data;
  return timer;
}

void close_timer(uv_timer_t* timer) {
  uv_close(reinterpret_cast<uv_handle_t*>(timer),
           [](uv_handle_t* handle) { delete reinterpret_cast<uv_timer_t*>(handle); });
}

}  // namespace

/// A socket of curl's that the loop watches.
struct HttpClient::Core::Poll {
  uv_poll_t handle;
  Core* core;
  curl_socket_t socket;
};

HttpClient::HttpClient(uv_loop_t* loop) : core_(std::make_shared<Core>(loop)) {}

HttpClient::~HttpClient() {
  core_->close();
}

std::unique_ptr<HttpExchange> HttpClient::send(HttpRequest request, OnDone on_done, OnPart on_part) {
  auto transfer =
      std::make_shared<HttpExchange::Transfer>(core_, std::move(request), std::move(on_done), std::move(on_part));
  core_->begin(transfer);
  return std::make_unique<HttpExchange>(std::move(transfer));
}

HttpClient::Core::Core(uv_loop_t* loop)
    : loop_(loop), curl_timer_(make_timer(loop, this)), soon_(make_timer(loop, this)) {}

HttpClient::Core::~Core() = default;

void HttpClient::Core::close() {
  is_closed_ = true;
  for (const auto& transfer : std::exchange(news_, {})) transfer->cancel();
  for (const auto& transfer : std::unordered_set(transfers_)) transfer->cancel();
  if (multi_ != nullptr) curl_->multi_cleanup(std::exchange(multi_, nullptr));
  for (Poll* const poll : std::exchange(polls_, {})) close_poll(poll);
  close_timer(curl_timer_);
  close_timer(soon_);
}

bool HttpClient::Core::open_multi() {
  if (multi_ != nullptr) return true;
  curl_ = Libcurl::load();
  multi_ = curl_ != nullptr ? curl_->multi_init() : nullptr;
  if (multi_ == nullptr) return false;
  curl_->multi_setopt(multi_, CURLMOPT_SOCKETFUNCTION, &on_socket);
  curl_->multi_setopt(multi_, CURLMOPT_SOCKETDATA, this);
  curl_->multi_setopt(multi_, CURLMOPT_TIMERFUNCTION, &on_timer);
  curl_->multi_setopt(multi_, CURLMOPT_TIMERDATA, this);
  return true;
}

void HttpClient::Core::begin(const std::shared_ptr<Transfer>& transfer) {
  if (is_closed_) return;
  if (!open_multi()) return transfer->end("libcurl.so.4 cannot be loaded (package libcurl4)");
  if (!transfer->prepare(*curl_)) return;
  // curl begins at its timer, which it sets now: nothing is called back from here.
  transfers_.insert(transfer);
  if (curl_->multi_add_handle(multi_, transfer->handle()) != CURLM_OK) {
    transfers_.erase(transfer);
    return transfer->end("libcurl does not take the request");
  }
  transfer->begin_idle_watch(loop_);
}

void HttpClient::Core::withdraw(Transfer& transfer) {
  if (transfers_.erase(transfer.shared_from_this()) == 0) return;
  curl_->multi_remove_handle(multi_, transfer.handle());
}

void HttpClient::Core::note(std::shared_ptr<Transfer> transfer) {
  if (is_closed_) return;
  for (const auto& known : news_) {
    if (known == transfer) return;
  }
  news_.push_back(std::move(transfer));
  uv_timer_start(
      soon_, [](uv_timer_t* timer) { static_cast<Core*>(timer->data)->shared_from_this()->deliver(); }, 0, 0);
}

int HttpClient::Core::on_socket(CURL*, curl_socket_t socket, int what, void* self, void* known) {
  auto& core = *static_cast<Core*>(self);
  auto* poll = static_cast<Poll*>(known);
  if (what == CURL_POLL_REMOVE) {
    if (poll == nullptr) return 0;
    core.polls_.erase(poll);
    close_poll(poll);
    if (core.multi_ != nullptr) core.curl_->multi_assign(core.multi_, socket, nullptr);
    return 0;
  }
  if (poll == nullptr) {
    poll = new Poll{{}, &core, socket};
    if (uv_poll_init_socket(core.loop_, &poll->handle, socket) != 0) {
      delete poll;
      return -1;
    }
    poll->handle.data = poll;
    core.polls_.insert(poll);
    core.curl_->multi_assign(core.multi_, socket, poll);
  }
  const int events = (what & CURL_POLL_IN ? UV_READABLE : 0) | (what & CURL_POLL_OUT ? UV_WRITABLE : 0);
  const auto ready = [](uv_poll_t* handle, int status, int happened) {
    const auto& one = *static_cast<Poll*>(handle->data);
    const int flags =
        status < 0 ? CURL_CSELECT_ERR
                   : (happened & UV_READABLE ? CURL_CSELECT_IN : 0) | (happened & UV_WRITABLE ? CURL_CSELECT_OUT : 0);
    one.core->shared_from_this()->drive(one.socket, flags);
  };
  return uv_poll_start(&poll->handle, events, ready) == 0 ? 0 : -1;
}

void HttpClient::Core::close_poll(Poll* poll) {
  uv_poll_stop(&poll->handle);
  uv_close(reinterpret_cast<uv_handle_t*>(&poll->handle),
           [](uv_handle_t* handle) { delete static_cast<Poll*>(handle->data); });
}

int HttpClient::Core::on_timer(CURLM*, long timeout_ms, void* self) {
  auto& core = *static_cast<Core*>(self);
  if (timeout_ms < 0) return uv_timer_stop(core.curl_timer_);
  const auto due = [](uv_timer_t* timer) {
    static_cast<Core*>(timer->data)->shared_from_this()->drive(CURL_SOCKET_TIMEOUT, 0);
  };
  return uv_timer_start(core.curl_timer_, due, static_cast<uint64_t>(timeout_ms), 0);
}

void HttpClient::Core::drive(curl_socket_t socket, int events) {
  int running = 0;
  curl_->multi_socket_action(multi_, socket, events, &running);
  collect_finished();
  deliver();
}

void HttpClient::Core::collect_finished() {
  int left = 0;
  while (const CURLMsg* const message = curl_->multi_info_read(multi_, &left)) {
    if (message->msg != CURLMSG_DONE) continue;
    const CURLcode code = message->data.result;
    Transfer* found = nullptr;
    curl_->easy_getinfo(message->easy_handle, CURLINFO_PRIVATE, &found);
    const std::shared_ptr<Transfer> transfer = found->shared_from_this();
    withdraw(*transfer);
    transfer->finish(code);
  }
}

void HttpClient::Core::deliver() {
  if (is_closed_) return;
  uv_timer_stop(soon_);
  for (const auto& transfer : std::exchange(news_, {})) {
    if (is_closed_) return;  // by what was told before
    transfer->tell();
  }
}

}  // namespace bezel::upstream
