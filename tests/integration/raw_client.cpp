#include "integration/raw_client.h"

#include <fmt/format.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <cstring>
#include <memory>
#include <stdexcept>

#include "integration/loopback.h"
#include "integration/waiting.h"
#include "protocol/error_response.h"
#include "protocol/frames.h"
#include "protocol/messages.h"
#include "protocol/scram.h"
#include "protocol/secret.h"
#include "protocol/startup.h"

namespace bezel::integration {

std::string readable(const Frame& frame) {
  std::string text(1, frame.type);
  if (frame.type == 'E' || frame.type == 'N') {
    if (const auto fields = protocol::decode_error_fields(frame.body)) {
      return fmt::format("{} {} {} {}", frame.type, fields->severity, std::string_view(fields->sqlstate),
                         fields->message);
    }
  }
  for (const char c : frame.body.substr(0, 200)) {
    if (c >= 32 && c < 127) {
      text += c;
    } else {
      text += fmt::format("\\{:02x}", static_cast<unsigned char>(c));
    }
  }
  return text;
}

std::string readable(const std::vector<Frame>& frames) {
  std::string text;
  for (const Frame& frame : frames) text += readable(frame) + "\n";
  return text;
}

std::string sqlstate_of(const Frame& frame) {
  const auto fields = protocol::decode_error_fields(frame.body);
  return fields ? std::string(fields->sqlstate) : "";
}

std::string message_of(const Frame& frame) {
  const auto fields = protocol::decode_error_fields(frame.body);
  return fields ? std::string(fields->message) : "";
}

RawClient::RawClient(const std::string& address, uint16_t port) : fd_(connect_to(address, port)) {}

RawClient::~RawClient() {
  close();
}

void RawClient::close() {
  if (fd_ >= 0) ::close(std::exchange(fd_, -1));
}

void RawClient::reset() {
  const linger hard{1, 0};
  setsockopt(fd_, SOL_SOCKET, SO_LINGER, &hard, sizeof hard);
  close();
}

void RawClient::shut_down_sending() {
  shutdown(fd_, SHUT_WR);
}

bool RawClient::send(std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t sent = ::send(fd_, bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (sent <= 0) return false;
    bytes.remove_prefix(static_cast<size_t>(sent));
  }
  return true;
}

bool RawClient::send_bytewise(std::string_view bytes) {
  for (size_t i = 0; i < bytes.size(); i++) {
    if (!send(bytes.substr(i, 1))) return false;
  }
  return true;
}

bool RawClient::readable_within(std::chrono::milliseconds time) {
  if (!input_.empty()) return true;
  pollfd descriptor{fd_, POLLIN, 0};
  return poll(&descriptor, 1, static_cast<int>(time.count())) > 0;
}

bool RawClient::fill() {
  pollfd descriptor{fd_, POLLIN, 0};
  const auto patience_ms = std::chrono::duration_cast<std::chrono::milliseconds>(kPatience).count();
  if (poll(&descriptor, 1, static_cast<int>(patience_ms)) <= 0) throw std::runtime_error("nothing came");
  std::array<char, 65536> buffer;
  const ssize_t got = recv(fd_, buffer.data(), buffer.size(), 0);
  if (got <= 0) return false;
  input_.append(buffer.data(), static_cast<size_t>(got));
  return true;
}

std::optional<char> RawClient::read_byte() {
  if (input_.empty() && !fill()) return std::nullopt;
  const char byte = input_.front();
  input_.erase(0, 1);
  return byte;
}

std::optional<Frame> RawClient::read_frame() {
  while (input_.size() < protocol::kFrameHeaderBytes) {
    if (!fill()) return std::nullopt;
  }
  const protocol::FrameHeader header = protocol::read_frame_header(input_.data());
  if (!header.length_valid(0x7fffffff)) throw std::runtime_error("a message of invalid length came");
  while (input_.size() < header.frame_bytes()) {
    if (!fill()) return std::nullopt;
  }
  Frame frame{header.type, input_.substr(protocol::kFrameHeaderBytes, header.body_bytes())};
  input_.erase(0, header.frame_bytes());
  return frame;
}

std::vector<Frame> RawClient::read_until(char type) {
  std::vector<Frame> frames;
  while (auto frame = read_frame()) {
    frames.push_back(std::move(*frame));
    if (frames.back().type == type) break;
  }
  return frames;
}

std::vector<Frame> RawClient::log_in(const std::string& user, const std::string& password, const std::string& database,
                                     uint16_t minor, Parameters further) {
  send(startup_packet(user, database, minor, further));
  return authenticate(password, user);
}

std::vector<Frame> RawClient::authenticate(const std::string& password, const std::string& user) {
  namespace code = protocol::authentication;
  std::unique_ptr<protocol::ScramClient> scram;
  std::vector<Frame> frames;
  while (auto frame = read_frame()) {
    std::string answer;
    const auto request = frame->type == 'R' ? protocol::decode_authentication(frame->body)
                                            : std::optional<protocol::AuthenticationRequest>();
    if (frame->type == 'K') key_ = frame->body;
    if (!request || request->code == code::kOk) {
      frames.push_back(std::move(*frame));
      if (frames.back().type == 'Z' || frames.back().type == 'E') return frames;
      continue;
    }
    if (request->code == code::kCleartextPassword) protocol::append_password_message(answer, password);
    if (request->code == code::kMd5Password) {
      std::array<unsigned char, 4> salt;
      std::memcpy(salt.data(), request->payload.data(), salt.size());
      const auto response = protocol::md5_challenge_response(protocol::parse_secret(password), user, salt);
      protocol::append_password_message(answer, response.value_or("none"));
    }
    if (request->code == code::kSasl) {
      scram = std::make_unique<protocol::ScramClient>("raw-client-nonce");
      protocol::append_sasl_initial_response(answer, protocol::kScramSha256, scram->first());
    }
    if (request->code == code::kSaslContinue) {
      const auto challenge = scram->server_first(request->payload);
      if (!challenge) throw std::runtime_error("SCRAM: " + scram->failure());
      const auto keys = protocol::derive_keys(password, challenge->salt, challenge->iterations);
      protocol::append_sasl_response(answer, *scram->final_message(*keys));
    }
    if (request->code == code::kSaslFinal && !scram->verify_server_final(request->payload)) {
      throw std::runtime_error("SCRAM: the server does not know the password");
    }
    send(answer);
  }
  return frames;
}

std::string startup_packet(const std::string& user, const std::string& database, uint16_t minor,
                           const Parameters& further) {
  Parameters parameters = {{"user", user}};
  if (!database.empty()) parameters.emplace_back("database", database);
  parameters.insert(parameters.end(), further.begin(), further.end());
  std::string packet;
  protocol::append_startup_message(packet, minor, parameters);
  return packet;
}

std::string int32_bytes(uint32_t value) {
  const uint32_t raw = __builtin_bswap32(value);
  return {reinterpret_cast<const char*>(&raw), sizeof raw};
}

std::string frame_bytes(char type, std::string_view body) {
  return type + int32_bytes(static_cast<uint32_t>(body.size() + 4)) + std::string(body);
}

}  // namespace bezel::integration
