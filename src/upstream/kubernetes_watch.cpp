#include "src/upstream/kubernetes_watch.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

namespace bezel::upstream {

namespace {

constexpr uint64_t kDelayMinMs = 200, kDelayMaxMs = 5000;
/// etcd takes no objects above 1.5 MiB; lists of some pods are far below that.
constexpr size_t kLineBytesMax = 2UL * 1024 * 1024;
constexpr size_t kListBytesMax = 4UL * 1024 * 1024;
/// The server is asked to end a watch after some minutes; it sends bookmarks about every minute before that.
constexpr int kWatchSeconds = 290;
constexpr int64_t kIdleTimeoutUs = 150'000'000;
constexpr int kGone = 410;

}  // namespace

KubernetesWatch::KubernetesWatch(uv_loop_t* loop, HttpClient& http, const KubernetesAccess& access,
                                 std::string selection, Events& events)
    : loop_(loop),
      http_(http),
      access_(access),
      selection_(std::move(selection)),
      events_(events),
      timer_(new uv_timer_t),
      delay_ms_(kDelayMinMs) {
  uv_timer_init(loop_, timer_);
  timer_->data = this;
}

KubernetesWatch::~KubernetesWatch() {
  uv_close(reinterpret_cast<uv_handle_t*>(timer_),
           [](uv_handle_t* handle) { delete reinterpret_cast<uv_timer_t*>(handle); });
}

void KubernetesWatch::look() {
  if (is_listing_) return;
  uv_timer_stop(timer_);
  resource_version_.clear();
  line_.clear();
  is_listing_ = true;
  send(selection_, /*is_watch=*/false);
}

void KubernetesWatch::watch() {
  line_.clear();
  send(fmt::format("{}&watch=true&allowWatchBookmarks=true&timeoutSeconds={}&resourceVersion={}", selection_,
                   kWatchSeconds, resource_version_),
       /*is_watch=*/true);
}

void KubernetesWatch::send(const std::string& path, bool is_watch) {
  HttpRequest request;
  problem_ = access_.prepare(path, request);
  if (!problem_.empty()) {
    // Told from the loop, as all else.
    exchange_.reset();
    const auto tell = [](uv_timer_t* timer) {
      auto& self = *static_cast<KubernetesWatch*>(timer->data);
      self.is_listing_ = false;
      self.fail(0, self.problem_);
    };
    uv_timer_start(timer_, tell, 0, 0);
  } else if (is_watch) {
    request.idle_timeout_us = kIdleTimeoutUs;
    exchange_ = http_.send(
        std::move(request), [this](const HttpAnswer& answer) { on_watch_end(answer); },
        [this](std::string_view part) { on_part(part); });
  } else {
    request.total_timeout_us = access_.request_timeout_us;
    request.body_bytes_max = kListBytesMax;
    exchange_ = http_.send(std::move(request), [this](const HttpAnswer& answer) { on_list_answer(answer); });
  }
}

void KubernetesWatch::on_list_answer(const HttpAnswer& answer) {
  is_listing_ = false;
  if (!answer.error.empty()) return fail(answer.status, answer.error);
  if (answer.status != 200) return fail(answer.status, kubernetes_status_text(answer.body));
  std::string problem;
  auto list = parse_kubernetes_list(answer.body, problem);
  if (!list) return fail(0, problem);
  resource_version_ = list->resource_version;
  watch();
  events_.on_list(*this, list->objects);
}

void KubernetesWatch::on_part(std::string_view part) {
  std::vector<KubernetesEvent> changes;
  KubernetesEvent error;
  while (!part.empty() && error.error_text.empty() && error.error_code == 0) {
    const size_t end = std::min(part.find('\n'), part.size());
    line_.append(part.substr(0, end));
    if (line_.size() > kLineBytesMax) {
      error.error_text = "a line of the watch is too long";
    } else if (end < part.size()) {
      if (!line_.empty()) take_line(line_, changes, error);
      line_.clear();
    }
    part.remove_prefix(std::min(end + 1, part.size()));
  }
  const bool has_failed = !error.error_text.empty() || error.error_code != 0;
  if (!has_failed) {
    if (!changes.empty()) events_.on_events(*this, changes);
    return;
  }
  // What came before the error is in the new list too.
  if (error.error_code != kGone) return fail(0, error.error_text);
  begin_anew_later();
}

void KubernetesWatch::take_line(std::string_view line, std::vector<KubernetesEvent>& changes, KubernetesEvent& error) {
  std::string problem;
  auto event = parse_kubernetes_event(line, problem);
  if (!event) {
    error.error_text = problem;
    return;
  }
  if (event->kind == KubernetesEvent::Kind::error) {
    error = std::move(*event);
    if (error.error_text.empty()) error.error_text = "an error without a text";
    return;
  }
  resource_version_ = event->resource_version;
  delay_ms_ = kDelayMinMs;
  if (event->kind != KubernetesEvent::Kind::bookmark) changes.push_back(std::move(*event));
}

void KubernetesWatch::on_watch_end(const HttpAnswer& answer) {
  // However a watch ends that had begun: it goes on from where it was.
  if (answer.status == 200) return go_on_later();
  if (answer.status == kGone) return begin_anew_later();
  fail(answer.status, answer.error.empty() ? kubernetes_status_text(answer.body) : answer.error);
}

void KubernetesWatch::go_on_later() {
  exchange_.reset();
  const auto go_on = [](uv_timer_t* timer) {
    auto& self = *static_cast<KubernetesWatch*>(timer->data);
    if (self.resource_version_.empty()) {
      self.look();
    } else {
      self.watch();
    }
  };
  uv_timer_start(timer_, go_on, delay_ms_, 0);
  delay_ms_ = std::min(delay_ms_ * 2, kDelayMaxMs);
}

void KubernetesWatch::begin_anew_later() {
  resource_version_.clear();
  go_on_later();
}

void KubernetesWatch::fail(int status, const std::string& why) {
  begin_anew_later();
  const std::string code = status == 0 || status == 200 ? "" : fmt::format("HTTP status {}", status);
  events_.on_failure(*this, status, code.empty() || why.empty() ? code + why : code + ": " + why);
}

}  // namespace bezel::upstream
