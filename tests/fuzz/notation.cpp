#include "tests/fuzz/notation.h"

#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

#include "protocol/writer.h"

namespace bezel::fuzz {

namespace {

int hex_digit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

class Reader {
 public:
  std::string read(std::string_view line) {
    while (!line.empty()) {
      const size_t taken = line.front() == '\\' ? escape(line.substr(1)) : 0;
      if (taken == 0) bytes_ += line.front();
      line.remove_prefix(taken + 1);
    }
    while (!open_.empty()) close();
    return std::move(bytes_);
  }

 private:
  /// How much of the text, which follows a backslash, belongs to it; 0: it means nothing.
  size_t escape(std::string_view text) {
    switch (text.empty() ? ' ' : text.front()) {
      case '0':
        bytes_ += '\0';
        return 1;
      case 'n':
        bytes_ += '\n';
        return 1;
      case '\\':
        bytes_ += '\\';
        return 1;
      case '(':
        open_.push_back(bytes_.size());
        bytes_.append(4, '\0');
        return 1;
      case ')':
        if (!open_.empty()) close();
        return 1;
      case 'x':
        if (text.size() < 3 || hex_digit(text[1]) < 0 || hex_digit(text[2]) < 0) return 0;
        bytes_ += static_cast<char>(hex_digit(text[1]) * 16 + hex_digit(text[2]));
        return 3;
      default:
        return 0;
    }
  }

  void close() {
    const size_t at = open_.back();
    open_.pop_back();
    const auto size = static_cast<uint32_t>(bytes_.size() - at - 4);
    for (size_t i = 0; i < 4; i++) bytes_[at + i] = static_cast<char>(size >> (24 - 8 * i));
  }

  std::string bytes_;
  std::vector<size_t> open_;  // where lengths are to be written
};

}  // namespace

std::string bytes_of(std::string_view line) {
  return Reader().read(line);
}

std::string message_of(std::string_view line) {
  std::string message;
  if (line.empty()) return message;
  protocol::MessageWriter(message, line.front()).bytes(bytes_of(line.substr(1))).finish();
  return message;
}

}  // namespace bezel::fuzz
