#include "integration/fake_server.h"

#include <sys/socket.h>
#include <unistd.h>

#include <optional>
#include <stdexcept>

#include "integration/loopback.h"
#include "protocol/messages.h"

namespace bezel::integration {

FakeServer::FakeServer(Script script) : FakeServer(std::move(script), own_address(), next_port()) {}

FakeServer::FakeServer(Script script, const std::string& address, uint16_t port)
    : script_(std::move(script)), port_(port), listener_(listen_at(port_, 128, address)) {
  acceptor_ = std::thread([this] { accept_loop(); });
}

FakeServer::~FakeServer() {
  ending_ = true;
  shutdown(listener_, SHUT_RDWR);
  acceptor_.join();
  close(listener_);
  {
    const std::lock_guard lock(mutex_);
    for (const int fd : open_) shutdown(fd, SHUT_RDWR);
  }
  for (std::thread& thread : threads_) thread.join();
}

void FakeServer::accept_loop() {
  while (!ending_) {
    const int fd = accept4(listener_, nullptr, nullptr, SOCK_CLOEXEC);
    if (fd < 0) return;
    connections_++;
    const std::lock_guard lock(mutex_);
    open_.push_back(fd);
    threads_.emplace_back([this, fd] {
      RawClient peer(fd);
      try {
        script_(peer);
      } catch (const std::exception&) {
        // The pooler did not answer: the test sees that from its side.
      }
      const std::lock_guard forget(mutex_);
      open_.remove(fd);
      peer.close();
    });
  }
}

std::string FakeServer::database(const std::string& further) const {
  return "host=" + own_address() + " port=" + std::to_string(port_) + " " + further;
}

bool FakeServer::read_startup(RawClient& peer) {
  std::string packet;
  size_t size = 8;
  while (packet.size() < size) {
    const auto byte = peer.read_byte();
    if (!byte) return false;
    packet += *byte;
    if (packet.size() == 4) {
      size = 0;
      for (const char c : packet) size = size << 8 | static_cast<unsigned char>(c);
    }
  }
  if (packet.substr(4, 4) == int32_bytes(80877103)) return peer.send("N") && read_startup(peer);  // SSLRequest
  return packet.substr(4, 4) != int32_bytes(80877102);                                            // CancelRequest
}

std::string FakeServer::greeting() {
  std::string text;
  protocol::append_authentication_ok(text);
  protocol::append_parameter_status(text, "server_version", "15.99");
  protocol::append_parameter_status(text, "server_encoding", "UTF8");
  protocol::append_parameter_status(text, "client_encoding", "UTF8");
  protocol::append_parameter_status(text, "standard_conforming_strings", "on");
  protocol::append_parameter_status(text, "DateStyle", "ISO, MDY");
  protocol::append_parameter_status(text, "TimeZone", "UTC");
  protocol::append_backend_key_data(text, 4242, "\1\2\3\4");
  protocol::append_ready_for_query(text, 'I');
  return text;
}

bool FakeServer::log_in(RawClient& peer) {
  return read_startup(peer) && peer.send(greeting());
}

void FakeServer::answer_queries(RawClient& peer, const std::string& value) {
  while (const auto frame = peer.read_frame()) {
    if (frame->type != 'Q') continue;
    std::string answer;
    const protocol::ColumnDescription column{"value"};
    const std::optional<std::string_view> row = value;
    protocol::append_row_description(answer, {&column, 1});
    protocol::append_data_row(answer, {&row, 1});
    protocol::append_command_complete(answer, "SELECT 1");
    protocol::append_ready_for_query(answer, 'I');
    peer.send(answer);
  }
}

}  // namespace bezel::integration
