#include "protocol/writer.h"

#include <stdexcept>

namespace bezel::protocol {

MessageWriter& MessageWriter::u16(uint16_t value) {
  out_.push_back(static_cast<char>(value >> 8));
  out_.push_back(static_cast<char>(value & 0xff));
  return *this;
}

MessageWriter& MessageWriter::u32(uint32_t value) {
  const char raw[4] = {static_cast<char>(value >> 24), static_cast<char>((value >> 16) & 0xff),
                       static_cast<char>((value >> 8) & 0xff), static_cast<char>(value & 0xff)};
  out_.append(raw, sizeof raw);
  return *this;
}

MessageWriter& MessageWriter::cstring(std::string_view text) {
  out_.append(text.substr(0, text.find('\0')));
  out_.push_back('\0');
  return *this;
}

MessageWriter& MessageWriter::count16(size_t count) {
  if (count > 0xffff) fail_too_long();
  return u16(static_cast<uint16_t>(count));
}

MessageWriter& MessageWriter::sized_bytes(std::string_view raw) {
  if (raw.size() > kMessageLengthMax) fail_too_long();
  return u32(static_cast<uint32_t>(raw.size())).bytes(raw);
}

void MessageWriter::finish() {
  const size_t length = out_.size() - length_at_;
  if (length > kMessageLengthMax) fail_too_long();
  const auto value = static_cast<uint32_t>(length);
  for (size_t i = 0; i < 4; ++i) out_[length_at_ + i] = static_cast<char>((value >> (24 - 8 * i)) & 0xff);
}

void MessageWriter::fail_too_long() {
  out_.resize(start_);
  throw std::length_error("protocol message too long");
}

}  // namespace bezel::protocol
