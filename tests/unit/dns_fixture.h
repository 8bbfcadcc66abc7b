#pragma once

#include <doctest/doctest.h>
#include <uv.h>

#include <chrono>
#include <functional>
#include <string>
#include <vector>

#include "fake_dns/fake_dns_server.h"
#include "integration/temporary_folder.h"
#include "src/dns/client.h"

namespace bezel::dns {

/// A loop on the test's thread. At its end all handles must be closed.
class TestLoop {
 public:
  TestLoop() {
    uv_loop_init(&loop_);
    uv_timer_init(&loop_, &tick_);
  }
  TestLoop(const TestLoop&) = delete;
  TestLoop& operator=(const TestLoop&) = delete;
  ~TestLoop() {
    uv_close(reinterpret_cast<uv_handle_t*>(&tick_), nullptr);
    while (uv_run(&loop_, UV_RUN_NOWAIT) != 0 && !too_late()) {
    }
    CHECK(uv_loop_close(&loop_) == 0);
  }

  uv_loop_t* get() { return &loop_; }
  /// Runs the loop until the condition holds.
  void until(const std::function<bool()>& condition) {
    begin_ = std::chrono::steady_clock::now();
    uv_timer_start(
        &tick_, [](uv_timer_t*) {}, 0, 5);
    while (!condition()) {
      REQUIRE_FALSE(too_late());
      uv_run(&loop_, UV_RUN_ONCE);
    }
    uv_timer_stop(&tick_);
  }

 private:
  bool too_late() const { return std::chrono::steady_clock::now() - begin_ > std::chrono::seconds(30); }

  uv_loop_t loop_;
  uv_timer_t tick_;
  std::chrono::steady_clock::time_point begin_ = std::chrono::steady_clock::now();
};

inline std::vector<std::string> texts(const Answer& answer) {
  std::vector<std::string> all;
  for (const net::SocketAddress& address : answer.addresses) all.push_back(address.host_text());
  return all;
}

}  // namespace bezel::dns
