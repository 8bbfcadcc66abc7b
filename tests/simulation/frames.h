#pragma once

#include <fmt/format.h>

#include <optional>
#include <string>
#include <string_view>

#include "protocol/frames.h"

namespace bezel::simulation {

/// One message of the protocol: its type and what follows the length.
struct Frame {
  char type = 0;
  std::string body;
};

/// For logs.
inline std::string shown(const Frame& frame) {
  std::string text = fmt::format("{}[{}] ", frame.type, frame.body.size());
  for (const char c : frame.body.substr(0, 200)) text += c >= 32 && c < 127 ? c : '.';
  return text;
}

/// Cuts a stream of bytes into messages.
class FrameCutter {
 public:
  void append(std::string_view bytes) { bytes_.append(bytes); }
  /// What has come and is no whole message yet; first packets, which have no type, are taken from here.
  std::string& bytes() { return bytes_; }

  std::optional<Frame> next() {
    if (bytes_.size() - taken_ < protocol::kFrameHeaderBytes) return forget_taken();
    const protocol::FrameHeader header = protocol::read_frame_header(bytes_.data() + taken_);
    if (bytes_.size() - taken_ < header.frame_bytes()) return forget_taken();
    Frame frame{header.type, bytes_.substr(taken_ + protocol::kFrameHeaderBytes, header.body_bytes())};
    taken_ += header.frame_bytes();
    return frame;
  }

 private:
  std::nullopt_t forget_taken() {
    bytes_.erase(0, taken_);
    taken_ = 0;
    return std::nullopt;
  }

  std::string bytes_;
  size_t taken_ = 0;
};

}  // namespace bezel::simulation
