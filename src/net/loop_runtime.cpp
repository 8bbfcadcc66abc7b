#include "src/net/loop_runtime.h"

#include <fmt/format.h>
#include <pwd.h>
#include <sys/random.h>

#include <cassert>
#include <cerrno>
#include <chrono>
#include <cstdlib>
#include <utility>

#include "src/net/event_loop.h"

namespace bezel::net {
namespace {

/// For a loop that something still points to: the lesser evil.
void keep_for_ever(std::unique_ptr<EventLoop> loop) {
  static auto* const kept = new std::vector<std::unique_ptr<EventLoop>>;
  kept->push_back(std::move(loop));
}

/// What an entry of the user database may take; longer ones are as good as none.
constexpr size_t kPasswdBytesMax = 64 * 1024;

std::string system_user_name(uint32_t user_id) {
  std::vector<char> buffer(kPasswdBytesMax);
  passwd entry{};
  passwd* found = nullptr;
  if (::getpwuid_r(user_id, &entry, buffer.data(), buffer.size(), &found) != 0 || found == nullptr) return "";
  return entry.pw_name;
}

}  // namespace

LoopRuntime::LoopRuntime(LoopGroup& group, int index)
    : group_(group), index_(index), loop_(std::make_unique<EventLoop>(group.log, group.names, group.offloads)) {}

LoopRuntime::~LoopRuntime() {
  if (loop_->is_abandoned()) keep_for_ever(std::move(loop_));
}

int64_t LoopRuntime::now_us() const {
  return loop_->now_us();
}

int64_t LoopRuntime::wall_clock_us() const {
  const auto since_epoch = std::chrono::system_clock::now().time_since_epoch();
  return std::chrono::duration_cast<std::chrono::microseconds>(since_epoch).count();
}

pool::StreamPtr LoopRuntime::dial(const pool::HostAddress& address, const pool::Settings& settings,
                                  pool::ByteStream::Events& events) {
  return loop_->dial(address, settings, events);
}

pool::StreamPtr LoopRuntime::attach(std::unique_ptr<pool::DetachedStream> detached, pool::ByteStream::Events& events) {
  // Streams of this layer detach into nothing else.
  return loop_->attach(static_cast<DetachedDescriptor&>(*detached), events);
}

void LoopRuntime::offload(std::function<void()> work, std::function<void()> done) {
  loop_->offload(std::move(work), std::move(done));
}

void LoopRuntime::post(int index, std::function<void()> task) {
  group_.members[static_cast<size_t>(index)]->loop_->post(std::move(task));
}

void LoopRuntime::find_system_user(uint32_t user_id, std::function<void(std::string)> done) {
  // The user database may be on another machine.
  const auto name = std::make_shared<std::string>();
  offload([name, user_id] { *name = system_user_name(user_id); }, [name, done = std::move(done)] { done(*name); });
}

void LoopRuntime::random_bytes(void* to, size_t size) {
  auto* at = static_cast<char*>(to);
  while (size > 0) {
    const ssize_t got = ::getrandom(at, size, 0);
    if (got < 0 && errno == EINTR) continue;
    // Without randomness there are no keys; the kernel gives it to everyone who may run at all.
    if (got < 0) std::abort();
    at += got;
    size -= static_cast<size_t>(got);
  }
}

void LoopRuntime::log(pool::LogLevel level, std::string_view line) {
  group_.log.write(level, line);
}

bool LoopRuntime::log_enabled(pool::LogLevel level) const {
  return group_.log.enabled(level);
}

void LoopRuntime::set_client(LoopClient& client) {
  loop_->set_client(client);
}

void LoopRuntime::listen(const ListenSockets& sockets) {
  for (const Descriptor& tcp : sockets.tcp(index_)) {
    loop_->acceptors().push_back(std::make_unique<Acceptor>(
        *loop_, tcp.get(), uint16_t{0},
        [loop = loop_.get()](int descriptor, const PeerAddress& peer) { loop->adopt(descriptor, peer); }));
  }
  if (index_ != 0 || sockets.unix_descriptor() < 0) return;
  loop_->acceptors().push_back(
      std::make_unique<Acceptor>(*loop_, sockets.unix_descriptor(), sockets.port(),
                                 [this](int descriptor, const PeerAddress& peer) { spread(descriptor, peer); }));
}

void LoopRuntime::spread(int descriptor, const PeerAddress& peer) {
  const size_t target = group_.next_unix.fetch_add(1, std::memory_order_relaxed) % group_.members.size();
  EventLoop& loop = *group_.members[target]->loop_;
  if (&loop == loop_.get()) return loop.adopt(descriptor, peer);
  // Shared, because a std::function must be copyable; owned, because a loop that has ended drops its tasks.
  auto owned = std::make_shared<Descriptor>(descriptor);
  loop.post([&loop, owned, peer] { loop.adopt(owned->take(), peer); });
}

std::string LoopRuntime::start_sending(pool::BatchedSends wanted) {
  const std::string why_not = loop_->start_sending(wanted);
  if (why_not.empty()) return {};
  if (wanted != pool::BatchedSends::automatic) return fmt::format("batched_sends: {}", why_not);
  // The same for all workers, so that one says it.
  if (index_ == 0) log(pool::LogLevel::info, fmt::format("sends are not batched: {}", why_not));
  return {};
}

void LoopRuntime::run() {
  loop_->run();
}

void LoopRuntime::request_stop() {
  loop_->request_stop();
}

void LoopRuntime::pause_accepting() {
  for (auto& acceptor : loop_->acceptors()) acceptor->pause();
}

void LoopRuntime::resume_accepting() {
  for (auto& acceptor : loop_->acceptors()) acceptor->resume();
}

void LoopRuntime::stop_accepting() {
  for (auto& acceptor : loop_->acceptors()) acceptor->close();
}

size_t LoopRuntime::connection_count() const {
  return loop_->connection_count();
}

pool::BatchedSends LoopRuntime::batched_sends() const {
  return loop_->batched_sends();
}

const LoopFigures& LoopRuntime::figures() const {
  return loop_->figures();
}

}  // namespace bezel::net
