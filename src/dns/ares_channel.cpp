#include "src/dns/ares_channel.h"

#include <algorithm>
#include <cstring>
#include <memory>
#include <utility>
#include <vector>

namespace bezel::dns {

struct AresChannel::Socket {
  uv_poll_t poll{};
  AresChannel* channel = nullptr;
  ares_socket_t descriptor = ARES_SOCKET_BAD;
};

struct AresChannel::Query {
  AresChannel* channel;
  Done done;

  static void on_end(void* argument, int status, int, unsigned char* reply, int size) {
    const std::unique_ptr<Query> self(static_cast<Query*>(argument));
    if (self->channel->ending_) return;
    const bool has_reply = status == ARES_SUCCESS && reply != nullptr && size > 0;
    self->done(status, has_reply ? std::string_view(reinterpret_cast<char*>(reply), static_cast<size_t>(size))
                                 : std::string_view());
  }
};

AresChannel::AresChannel(uv_loop_t* loop, const ResolvConf& conf) : loop_(loop), timer_(new uv_timer_t) {
  uv_timer_init(loop, timer_);
  timer_->data = this;
  [[maybe_unused]] static const int kLibrary = ares_library_init(ARES_LIB_INIT_ALL);
  ares_options options{};
  options.flags = conf.use_tcp ? ARES_FLAG_USEVC : 0;
  options.timeout = conf.timeout_ms;
  options.tries = conf.attempts;
  options.ndots = 1;
  std::string lookups = "b";  // DNS only
  options.lookups = lookups.data();
  options.sock_state_cb_data = this;
  options.sock_state_cb = [](void* data, ares_socket_t descriptor, int readable, int writable) {
    static_cast<AresChannel*>(data)->on_socket(descriptor, readable != 0, writable != 0);
  };
  // All that c-ares would read resolv.conf for, so that it does not.
  in_addr placeholder{};
  options.servers = &placeholder;
  options.nservers = 1;
  const int given = ARES_OPT_FLAGS | ARES_OPT_TIMEOUTMS | ARES_OPT_TRIES | ARES_OPT_NDOTS | ARES_OPT_LOOKUPS |
                    ARES_OPT_SOCK_STATE_CB | ARES_OPT_SERVERS | ARES_OPT_SORTLIST | ARES_OPT_DOMAINS |
                    (conf.rotate ? ARES_OPT_ROTATE : ARES_OPT_NOROTATE);
  status_ = ares_init_options(&channel_, &options, given);
  if (status_ == ARES_SUCCESS) {
    set_servers(conf);
  } else {
    channel_ = nullptr;
  }
}

AresChannel::~AresChannel() {
  ending_ = true;
  if (channel_ != nullptr) ares_destroy(channel_);  // ends all queries, closes all sockets
  uv_close(reinterpret_cast<uv_handle_t*>(timer_),
           [](uv_handle_t* handle) { delete reinterpret_cast<uv_timer_t*>(handle); });
}

void AresChannel::set_servers(const ResolvConf& conf) {
  std::vector<ares_addr_port_node> nodes(conf.servers.size());
  for (size_t i = 0; i < nodes.size(); i++) {
    const net::SocketAddress& server = conf.servers[i];
    nodes[i].next = i + 1 < nodes.size() ? &nodes[i + 1] : nullptr;
    nodes[i].family = server.family();
    nodes[i].udp_port = nodes[i].tcp_port = server.port();
    if (server.family() == AF_INET) {
      nodes[i].addr.addr4 = reinterpret_cast<const sockaddr_in*>(server.get())->sin_addr;
    } else {
      std::memcpy(&nodes[i].addr.addr6, &reinterpret_cast<const sockaddr_in6*>(server.get())->sin6_addr,
                  sizeof nodes[i].addr.addr6);
    }
  }
  status_ = ares_set_servers_ports(channel_, nodes.data());
}

void AresChannel::query(const std::string& name, RecordType type, Done done) {
  if (status_ != ARES_SUCCESS) return done(status_, {});
  constexpr int kClassInternet = 1;
  ares_query(channel_, name.c_str(), kClassInternet, static_cast<int>(type), Query::on_end,
             new Query{this, std::move(done)});
  arm_timer();
}

void AresChannel::on_socket(ares_socket_t descriptor, bool readable, bool writable) {
  const auto found = sockets_.find(descriptor);
  Socket* socket = found != sockets_.end() ? found->second : nullptr;
  if (!readable && !writable) {
    if (socket == nullptr) return;
    // The descriptor is about to be closed, and libuv lets go of it at once.
    sockets_.erase(found);
    uv_close(reinterpret_cast<uv_handle_t*>(&socket->poll),
             [](uv_handle_t* handle) { delete static_cast<Socket*>(handle->data); });
    return;
  }
  if (socket == nullptr) {
    auto made = std::make_unique<Socket>();
    // Without it the time-out ends the query.
    if (uv_poll_init(loop_, &made->poll, descriptor) != 0) return;
    made->channel = this;
    made->descriptor = descriptor;
    made->poll.data = made.get();
    socket = made.release();
    sockets_.emplace(descriptor, socket);
  }
  const int events = (readable ? UV_READABLE : 0) | (writable ? UV_WRITABLE : 0);
  uv_poll_start(&socket->poll, events, [](uv_poll_t* poll, int status, int got) {
    const Socket& one = *static_cast<Socket*>(poll->data);
    const bool failed = status < 0;  // c-ares finds out why
    one.channel->process(failed || (got & UV_READABLE) != 0 ? one.descriptor : ARES_SOCKET_BAD,
                         failed || (got & UV_WRITABLE) != 0 ? one.descriptor : ARES_SOCKET_BAD);
  });
}

void AresChannel::process(ares_socket_t readable, ares_socket_t writable) {
  ares_process_fd(channel_, readable, writable);
  arm_timer();
}

void AresChannel::arm_timer() {
  timeval next{};
  if (ares_timeout(channel_, nullptr, &next) == nullptr) {
    uv_timer_stop(timer_);
    return;
  }
  const auto delay_ms = static_cast<uint64_t>(next.tv_sec) * 1000 + static_cast<uint64_t>(next.tv_usec + 999) / 1000;
  uv_timer_start(
      timer_,
      [](uv_timer_t* timer) { static_cast<AresChannel*>(timer->data)->process(ARES_SOCKET_BAD, ARES_SOCKET_BAD); },
      delay_ms, 0);
}

}  // namespace bezel::dns
