#pragma once

#include <uv.h>

#include <memory>
#include <unordered_set>
#include <vector>

#include "src/upstream/http_transfer.h"

namespace bezel::upstream {

/// libcurl's multi handle, driven by a loop: curl says which sockets and which time to wait for.
class HttpClient::Core : public std::enable_shared_from_this<HttpClient::Core> {
 public:
  using Transfer = HttpExchange::Transfer;

  explicit Core(uv_loop_t* loop);
  ~Core();
  Core(const Core&) = delete;
  Core& operator=(const Core&) = delete;

  void begin(const std::shared_ptr<Transfer>& transfer);
  /// Takes it out of curl's hands.
  void withdraw(Transfer& transfer);
  /// Something is to be told to its user: soon, in this turn if curl is being driven.
  void note(std::shared_ptr<Transfer> transfer);
  /// Cancels all. REQUIRED before the destruction.
  void close();

 private:
  struct Poll;
  static int on_socket(CURL*, curl_socket_t socket, int what, void* self, void* poll);
  static int on_timer(CURLM*, long timeout_ms, void* self);
  static void close_poll(Poll* poll);
  bool open_multi();
  void drive(curl_socket_t socket, int events);
  void collect_finished();
  void deliver();

  uv_loop_t* loop_;
  uv_timer_t* curl_timer_;  ///< when curl wants to be called; both outlive this object until they are closed
  uv_timer_t* soon_;        ///< to call back from the loop
  const Libcurl* curl_ = nullptr;
  CURLM* multi_ = nullptr;
  std::unordered_set<Poll*> polls_;
  std::unordered_set<std::shared_ptr<Transfer>> transfers_;  ///< in curl's hands
  std::vector<std::shared_ptr<Transfer>> news_;              ///< to be told
  bool is_closed_ = false;
};

}  // namespace bezel::upstream
