#pragma once

#include <cstddef>
#include <string_view>

#include "pool/client.h"
#include "protocol/frames.h"

namespace bezel::pool {

/// The input that is being gone through. What stands between `sent` and `position` goes to the server as it came, in
/// one piece, when something else has to be written first or the input ends.
struct Client::Input {
  std::string_view bytes;
  size_t position = 0;
  size_t sent = 0;
  size_t journaled = 0;  // what stands before it has been put into the server's journal, or does not belong there

  std::string_view rest() const { return bytes.substr(position); }
  std::string_view body_here() const { return bytes.substr(position + protocol::kFrameHeaderBytes); }
  bool has_frame(const protocol::FrameHeader& header) const { return bytes.size() - position >= header.frame_bytes(); }
};

}  // namespace bezel::pool
