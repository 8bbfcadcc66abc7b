// All followers together: when a switchover begins, and what becomes of two at once.

#include <doctest/doctest.h>
#include <fmt/chrono.h>
#include <fmt/format.h>

#include <chrono>
#include <memory>
#include <optional>
#include <string>

#include "src/upstream/followers.h"
#include "upstream_server.h"

namespace bezel::upstream {
namespace {

/// A cluster of a and b whose Patroni says what a test wants, and the followers of it.
struct Setting {
  // The last to be destroyed: all others use the loop.
  TestLoop loop;
  ScriptedServer patroni{[](ServerConnection& connection, const SeenRequest&) { connection.hang(); }};
  pool::UpstreamTable table;
  size_t busy = 0;
  std::string log;
  std::unique_ptr<Followers> followers;
  std::shared_ptr<pool::Upstream> upstream;

  Setting() {
    table.set_notifier([](const pool::Upstream&) {});
    say("a");
    pool::UpstreamSettings settings;
    settings.source = pool::UpstreamSource::patroni;
    settings.urls = {patroni.url()};
    settings.poll_interval_us = settings.change_poll_interval_us = 1000;
    pool::Settings all;
    all.databases["app"].upstream = settings;
    followers = std::make_unique<Followers>(
        loop.get(), table, [this](const pool::UpstreamSettings&) { return busy; },
        [this](pool::LogLevel, std::string_view line) { log.append(line).append("\n"); });
    followers->apply(all);
    upstream = table.of(settings);
    loop.until([this] { return upstream->leader_name() == "a"; });
  }

  /// From now on. `is_scheduled`: with a switchover half a second after each answer, so that no machine is too slow.
  void say(const std::string& leader, bool is_scheduled = false) {
    const auto member = [&](const std::string& name, const std::string& host) {
      return fmt::format(R"({{"name": "{}", "role": "{}", "state": "running", "host": "{}", "port": 5432,)"
                         R"( "timeline": 1, "api_url": "{}/patroni"}})",
                         name, name == leader ? "leader" : "replica", host, patroni.url());
    };
    const std::string members = fmt::format(R"("members": [{}, {}])", member("a", "10.0.0.1"), member("b", "10.0.0.2"));
    patroni.set_handler([members, is_scheduled](ServerConnection& connection, const SeenRequest& request) {
      if (request.method == "POST") return connection.hang();
      const auto at = std::chrono::system_clock::now() + std::chrono::milliseconds(500);
      const std::string scheduled =
          fmt::format(R"(, "scheduled_switchover": {{"at": "{:%FT%T}+00:00", "from": "a", "to": "b"}})",
                      std::chrono::floor<std::chrono::milliseconds>(at));
      connection.reply(200, "{" + members + (is_scheduled ? scheduled : "") + "}");
    });
  }

  size_t asked() const {
    size_t count = 0;
    for (const SeenRequest& request : patroni.seen()) count += request.method == "POST" ? 1 : 0;
    return count;
  }
  bool logged(const std::string& text) const { return log.find(text) != std::string::npos; }
};

constexpr const char* kWaitedFor = "the cluster's scheduled switchover is waited for";

TEST_CASE("followers: a scheduled switchover whose time comes is prepared for") {
  Setting setting;
  setting.say("a", true);
  setting.loop.until([&] { return setting.upstream->held(); });
  setting.say("b");
  setting.loop.until([&] { return !setting.upstream->held(); });
  CHECK(setting.asked() == 0);
  CHECK(setting.logged("upstream app: switchover done"));
}

TEST_CASE("followers: one whose time comes while a console's drains does not break that off") {
  Setting setting;
  setting.busy = 1;
  std::optional<std::string> outcome;
  setting.followers->switch_over("b", [&](std::string error) { outcome = std::move(error); });
  CHECK(setting.upstream->held());
  setting.say("a", true);
  setting.loop.until([&] { return setting.logged(kWaitedFor); });
  CHECK(!outcome);
  CHECK(setting.upstream->held());
  setting.busy = 0;
  setting.loop.turns(20);
  CHECK(setting.asked() == 0);
  setting.say("b");
  setting.loop.until([&] { return outcome.has_value(); });
  CHECK(outcome == "");
  CHECK(!setting.upstream->held());
}

TEST_CASE("followers: one whose time comes while a console's has been asked for waits for the answer") {
  Setting setting;
  std::optional<std::string> outcome;
  setting.followers->switch_over("b", [&](std::string error) { outcome = std::move(error); });
  setting.loop.until([&] { return setting.asked() == 1; });
  setting.say("a", true);
  setting.loop.until([&] { return setting.upstream->scheduled().has_value(); });
  const auto enough = std::chrono::steady_clock::now() + std::chrono::milliseconds(2 * Followers::kTickMs);
  setting.loop.until([&] { return std::chrono::steady_clock::now() > enough; });
  CHECK(!outcome);
  CHECK(setting.upstream->held());
  CHECK(!setting.logged(kWaitedFor));
  setting.followers.reset();
  CHECK(outcome == "the switchover was broken off");
}

}  // namespace
}  // namespace bezel::upstream
