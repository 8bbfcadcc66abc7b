#pragma once

#include <algorithm>
#include <string_view>

namespace bezel::dns {

/// Takes the next word off a line of resolv.conf or hosts. Empty: there are no more.
inline std::string_view next_word(std::string_view& line) {
  constexpr std::string_view kBlanks = " \t\r";
  const size_t begin = std::min(line.find_first_not_of(kBlanks), line.size());
  const size_t end = std::min(line.find_first_of(kBlanks, begin), line.size());
  const std::string_view word = line.substr(begin, end - begin);
  line.remove_prefix(end);
  return word;
}

/// The same for the lines of a text, without their ends.
inline std::string_view next_line(std::string_view& text) {
  const size_t end = std::min(text.find('\n'), text.size());
  const std::string_view line = text.substr(0, end);
  text.remove_prefix(std::min(end + 1, text.size()));
  return line;
}

}  // namespace bezel::dns
