#pragma once

#include <ares.h>
#include <uv.h>

#include <functional>
#include <string>
#include <string_view>
#include <unordered_map>

#include "src/dns/reply.h"
#include "src/dns/resolv_conf.h"

namespace bezel::dns {

/// A channel of c-ares whose sockets and timer belong to a loop of libuv. It holds 80 KB, so that it is made when there
/// is something to ask and given up afterwards. Used by the loop's thread only.
class AresChannel {
 public:
  /// `status` is c-ares's; `reply` is empty unless it is ARES_SUCCESS. It may come from inside query(). The channel
  /// must not be destroyed by it.
  using Done = std::function<void(int status, std::string_view reply)>;

  AresChannel(uv_loop_t* loop, const ResolvConf& conf);
  AresChannel(const AresChannel&) = delete;
  AresChannel& operator=(const AresChannel&) = delete;
  /// What still waits is not called. The loop must still run, for handles to close.
  ~AresChannel();

  /// Asks the servers for the records of just this name.
  void query(const std::string& name, RecordType type, Done done);

 private:
  struct Socket;
  struct Query;

  void set_servers(const ResolvConf& conf);
  void on_socket(ares_socket_t descriptor, bool readable, bool writable);
  void process(ares_socket_t readable, ares_socket_t writable);
  void arm_timer();

  uv_loop_t* loop_;
  int status_ = ARES_SUCCESS;  ///< why there is no channel
  ares_channel channel_ = nullptr;
  bool ending_ = false;
  uv_timer_t* timer_;  // this and the sockets outlive this object until they are closed
  std::unordered_map<ares_socket_t, Socket*> sockets_;
};

}  // namespace bezel::dns
