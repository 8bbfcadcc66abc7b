#pragma once

#include <string>
#include <string_view>

namespace bezel::pool {

/// Text from a peer as it may stand in a one-line log: control characters and bytes beyond ASCII become '?', and what
/// is longer than 200 bytes is cut.
inline std::string printable(std::string_view text) {
  std::string shown(text.substr(0, 200));
  for (char& c : shown) {
    if (c < 32 || c == 127) c = '?';
  }
  return shown;
}

}  // namespace bezel::pool
