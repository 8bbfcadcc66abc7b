#include "src/upstream/patroni_follower.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "pool/printable.h"
#include "src/upstream/base_url.h"
#include "src/upstream/json_fields.h"

namespace bezel::upstream {

namespace {

constexpr size_t kAskedAtOnceInChange = 3;
constexpr size_t kFailuresShown = 3;
/// Patroni itself waits up to twice the greater of 10 s and loop_wait for the new leader, before it gives up.
constexpr int64_t kSwitchoverTimeoutUs = 60'000'000;

bool contains(const std::vector<std::string>& all, const std::string& one) {
  return std::find(all.begin(), all.end(), one) != all.end();
}

/// What Patroni says about a switchover; empty: it is done.
std::string outcome_of(const HttpAnswer& answer, bool has_candidate) {
  if (!answer.error.empty()) {
    return answer.was_sent ? answer.error + "; the switchover may be under way all the same" : answer.error;
  }
  const std::string text = pool::printable(answer.body);
  if (answer.status != 200) return fmt::format("Patroni answers {}: {}", answer.status, text);
  // "Switched over to "b" instead of "c"": a change, but not the one that was asked for.
  return has_candidate && text.find("\" instead of \"") != std::string::npos ? text : "";
}

}  // namespace

/// A POST /switchover under way.
struct PatroniFollower::Switchover {
  std::vector<std::string> urls;  ///< to be tried yet
  std::string body;
  bool has_candidate;
  std::function<void(std::string)> done;
  std::unique_ptr<HttpExchange> exchange = nullptr;
};

PatroniFollower::PatroniFollower(uv_loop_t* loop, const pool::UpstreamSettings& settings, Observer& observer,
                                 LogFunction log)
    : settings_(settings), observer_(observer), log_(std::move(log)), http_(loop), timer_(new uv_timer_t) {
  uv_timer_init(loop, timer_);
  timer_->data = this;
  for (const std::string& url : settings_.urls) {
    const auto base_url = base_url_of(url);
    if (!base_url) {
      log_(pool::LogLevel::warning, "an address of Patroni is left out: it is not of the form http://host:port");
    } else if (!contains(configured_, *base_url)) {
      configured_.push_back(*base_url);
      allows_http_ = allows_http_ || base_url->starts_with("http://");
    }
  }
  line_ = configured_;
}

PatroniFollower::~PatroniFollower() {
  uv_close(reinterpret_cast<uv_handle_t*>(timer_),
           [](uv_handle_t* handle) { delete reinterpret_cast<uv_timer_t*>(handle); });
}

void PatroniFollower::start() {
  is_started_ = true;
  begin_round_after(0);
}

void PatroniFollower::set_changing(bool changing) {
  if (std::exchange(is_changing_, changing) == changing || !changing || !is_started_) return;
  begin_round_after(0);
}

void PatroniFollower::begin_round_after(int64_t delay_us) {
  uv_timer_start(
      timer_, [](uv_timer_t* timer) { static_cast<PatroniFollower*>(timer->data)->begin_round(); },
      static_cast<uint64_t>(delay_us / 1000), 0);
}

void PatroniFollower::begin_round() {
  retire_asked();
  is_asking_ = true;
  round_++;
  waiting_ = line_;
  failures_.clear();
  failure_count_ = 0;
  ask_more();
  if (asked_.empty()) {
    end_round();
    if (late_.empty()) observer_.on_silence("no address of Patroni is known");
  }
}

HttpRequest PatroniFollower::request_to(const std::string& url, const char* path) const {
  HttpRequest request{url + path};
  request.ca_file = settings_.ca_file;
  request.cert_file = settings_.cert_file;
  request.key_file = settings_.key_file;
  request.connect_timeout_us = settings_.request_timeout_us;
  request.total_timeout_us = settings_.request_timeout_us;
  return request;
}

void PatroniFollower::ask_more() {
  const size_t at_once = is_changing_ ? kAskedAtOnceInChange : 1;
  for (auto next = waiting_.begin(); asked_.size() < at_once && next != waiting_.end();) {
    const std::string url = *next;
    // One request at a time for each member: it has few threads. Its turn comes when it has answered the last one.
    const bool owes_answer = std::any_of(late_.begin(), late_.end(), [&](const Asked& one) { return one.url == url; });
    if (owes_answer) {
      next++;
      continue;
    }
    next = waiting_.erase(next);
    asked_.push_back(
        {url, http_.send(request_to(url, "/cluster"),
                         [this, url, round = round_](const HttpAnswer& answer) { on_answer(url, round, answer); })});
  }
}

void PatroniFollower::on_answer(const std::string& url, uint64_t round, const HttpAnswer& answer) {
  std::vector<Asked>& askers = round == round_ && is_asking_ ? asked_ : late_;
  std::erase_if(askers, [&](const Asked& one) { return one.url == url; });
  if (&askers == &late_) {
    if (is_asking_) ask_more();
    return;
  }
  if (!answer.error.empty()) return on_failure(url, answer.error);
  if (answer.status != 200) return on_failure(url, fmt::format("HTTP status {}", answer.status));
  std::string problem;
  auto cluster = parse_patroni_cluster(answer.body, problem);
  if (!cluster || !accepts(*cluster, problem)) return on_failure(url, problem);
  learn(*cluster, url);
  end_round();
  observer_.on_membership(cluster->membership);
}

void PatroniFollower::on_failure(const std::string& url, const std::string& why) {
  const auto failed = std::find(line_.begin(), line_.end(), url);
  if (failed != line_.end()) std::rotate(failed, failed + 1, line_.end());
  if (++failure_count_ <= kFailuresShown) {
    failures_ += fmt::format("{}{}: {}", failures_.empty() ? "" : "; ", url, why);
  }
  ask_more();
  if (!asked_.empty()) return;
  if (failure_count_ > kFailuresShown) failures_ += fmt::format("; and {} more", failure_count_ - kFailuresShown);
  const std::string all = std::exchange(failures_, {});
  end_round();
  observer_.on_silence(all);
}

/// Those that have not answered yet are not hung up on, which Patroni logs as an error; their answers come too late.
void PatroniFollower::retire_asked() {
  is_asking_ = false;
  for (Asked& one : asked_) late_.push_back(std::move(one));
  asked_.clear();
}

void PatroniFollower::end_round() {
  retire_asked();
  waiting_.clear();
  begin_round_after(is_changing_ ? settings_.change_poll_interval_us : settings_.poll_interval_us);
}

bool PatroniFollower::accepts(const PatroniCluster& cluster, std::string& problem) {
  if (cluster.scope.empty()) return true;
  if (scope_.empty()) scope_ = cluster.scope;
  if (cluster.scope == scope_) return true;
  // An address has gone to another cluster's member.
  problem = fmt::format("it belongs to another cluster, \"{}\"", pool::printable(cluster.scope));
  return false;
}

void PatroniFollower::learn(const PatroniCluster& cluster, const std::string& winner) {
  apis_ = cluster.apis;
  std::vector<std::string> learned;
  for (const PatroniApi& api : apis_) {
    const bool is_safe = allows_http_ || api.base_url.starts_with("https://");
    if (is_safe && !contains(learned, api.base_url)) learned.push_back(api.base_url);
  }

  std::vector<std::string> line{winner};
  for (const std::string& url : learned) {
    if (!contains(line_, url)) line.push_back(url);
  }
  // The new ones before a configured address, but not before a member that is known to answer.
  if (!contains(learned, winner)) std::rotate(line.begin(), line.begin() + 1, line.end());
  for (const std::string& url : line_) {
    if (url != winner && (contains(configured_, url) || contains(learned, url))) line.push_back(url);
  }
  line_ = std::move(line);
}

void PatroniFollower::switch_over(const std::string& leader, const std::string& candidate,
                                  std::function<void(std::string)> done) {
  if (switchover_ != nullptr) return done("a switchover is under way already");
  Json body{{"leader", leader}};
  if (!candidate.empty()) body["candidate"] = candidate;
  std::vector<std::string> urls = line_;
  for (const PatroniApi& api : apis_) {
    const auto known = std::find(urls.begin(), urls.end(), api.base_url);
    if (api.member == leader && known != urls.end()) std::rotate(urls.begin(), known, known + 1);
  }
  switchover_ = std::make_unique<Switchover>(Switchover{
      std::move(urls), body.dump(-1, ' ', true, Json::error_handler_t::replace), !candidate.empty(), std::move(done)});
  send_switchover();
}

void PatroniFollower::send_switchover() {
  if (switchover_->urls.empty()) return end_switchover("no address of Patroni is known");
  const std::string url = switchover_->urls.front();
  switchover_->urls.erase(switchover_->urls.begin());
  HttpRequest request = request_to(url, "/switchover");
  request.post = true;
  request.body = switchover_->body;
  request.user = settings_.user;
  request.password = settings_.password;
  request.total_timeout_us = kSwitchoverTimeoutUs;
  switchover_->exchange =
      http_.send(std::move(request), [this, url](const HttpAnswer& answer) { on_switchover_answer(url, answer); });
}

void PatroniFollower::on_switchover_answer(const std::string& url, const HttpAnswer& answer) {
  if (!answer.error.empty() && !answer.was_sent && !switchover_->urls.empty()) return send_switchover();
  std::string outcome = outcome_of(answer, switchover_->has_candidate);
  end_switchover(outcome.empty() ? "" : fmt::format("{}: {}", url, outcome));
}

void PatroniFollower::end_switchover(std::string error) {
  const std::unique_ptr<Switchover> ended = std::move(switchover_);
  ended->done(std::move(error));
}

}  // namespace bezel::upstream
