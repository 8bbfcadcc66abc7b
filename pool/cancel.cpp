#include "pool/cancel.h"

#include <fmt/format.h>

#include <utility>

#include "pool/pool.h"
#include "pool/server.h"
#include "pool/worker.h"
#include "protocol/startup.h"

namespace bezel::pool {

CancelConnection::CancelConnection(Worker& worker, Server& server, std::function<void()> done)
    : worker_(worker),
      server_(&server),
      encryption_(worker.settings(), server.pool().database().direct_tls, server.host()),
      timer_([](void* self) { static_cast<CancelConnection*>(self)->finish("timed out"); }, this),
      done_(std::move(done)) {
  protocol::append_cancel_request(packet_, server.backend_pid(), server.cancel_secret());
  server.cancel_sent();
  stream_ = worker.runtime().dial(server.host(), worker.settings(), *this);
  const int64_t timeout_us = worker.settings().cancel_wait_timeout_us;
  if (timeout_us > 0) worker.timers().schedule(timer_, worker.now_us() + timeout_us);
}

CancelConnection::~CancelConnection() = default;

void CancelConnection::on_connected() {
  go_on(encryption_.connected(*stream_));
}

void CancelConnection::on_secured() {
  go_on(encryption_.on_secured());
}

void CancelConnection::on_bytes(std::string_view bytes) {
  // PostgreSQL answers a cancel request by closing.
  if (!sent_) go_on(encryption_.on_bytes(*stream_, bytes));
}

void CancelConnection::go_on(ServerEncryption::Step step) {
  switch (step) {
    case ServerEncryption::Step::wait:
      return;
    case ServerEncryption::Step::failed:
      return finish(encryption_.failure());
    case ServerEncryption::Step::ready:
      stream_->write_copy(packet_);
      sent_ = true;
  }
}

void CancelConnection::on_closed(std::string_view reason) {
  finish(reason);
}

void CancelConnection::finish(std::string_view reason) {
  if (!reason.empty()) {
    worker_.log(LogLevel::warning, fmt::format("cancel request to a server failed: {}", reason));
  }
  worker_.timers().cancel(timer_);
  stream_.reset();
  // If it may still arrive, it must not hit whoever would get the server next.
  if (server_ != nullptr && sent_ && !reason.empty()) server_->mark_to_close();
  if (server_ != nullptr) server_->cancel_done();
  server_ = nullptr;
  if (done_) std::exchange(done_, nullptr)();
  worker_.bury(*this);
}

}  // namespace bezel::pool
