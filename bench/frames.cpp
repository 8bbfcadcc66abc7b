#include "bench/frames.h"

namespace bezel::bench {

void FrameReader::append(std::string_view bytes) {
  if (offset_ == buffer_.size()) {
    buffer_.clear();
  } else if (offset_ > 0) {
    buffer_.erase(0, offset_);
  }
  offset_ = 0;
  buffer_.append(bytes);
}

std::optional<std::string_view> FrameReader::take(std::size_t type_bytes) {
  const std::string_view rest = std::string_view(buffer_).substr(offset_);
  if (broken_ || rest.size() < type_bytes + 4) return std::nullopt;
  const std::size_t length = read_be32(rest.substr(type_bytes));
  if (length < 4 || length - 4 > kBodyBytesMax) {
    broken_ = true;
    return std::nullopt;
  }
  if (rest.size() < type_bytes + length) return std::nullopt;
  offset_ += type_bytes + length;
  return rest.substr(0, type_bytes + length);
}

std::optional<Frame> FrameReader::next() {
  const auto message = take(1);
  if (!message) return std::nullopt;
  return Frame{(*message)[0], message->substr(5)};
}

std::optional<std::string_view> FrameReader::next_startup() {
  const auto message = take(0);
  if (!message) return std::nullopt;
  if (message->size() < 8) {
    broken_ = true;
    return std::nullopt;
  }
  return message->substr(4);
}

uint32_t read_be32(std::string_view bytes) {
  const auto at = [&](std::size_t i) { return static_cast<uint32_t>(static_cast<unsigned char>(bytes[i])); };
  return at(0) << 24 | at(1) << 16 | at(2) << 8 | at(3);
}

void append_be16(std::string& out, uint16_t value) {
  out.push_back(static_cast<char>(value >> 8));
  out.push_back(static_cast<char>(value));
}

void append_be32(std::string& out, uint32_t value) {
  append_be16(out, static_cast<uint16_t>(value >> 16));
  append_be16(out, static_cast<uint16_t>(value));
}

void append_text(std::string& out, std::string_view text) {
  out.append(text);
  out.push_back('\0');
}

void append_frame(std::string& out, char type, std::string_view body) {
  out.push_back(type);
  append_be32(out, static_cast<uint32_t>(body.size() + 4));
  out.append(body);
}

std::optional<std::string_view> take_text(std::string_view& body) {
  const auto end = body.find('\0');
  if (end == std::string_view::npos) return std::nullopt;
  const auto text = body.substr(0, end);
  body.remove_prefix(end + 1);
  return text;
}

std::string startup_message(std::string_view user, std::string_view database, std::string_view application_name) {
  std::string body;
  append_be32(body, kProtocol3);
  for (const auto& [name, value] : {std::pair<std::string_view, std::string_view>{"user", user},
                                    {"database", database},
                                    {"application_name", application_name}}) {
    append_text(body, name);
    append_text(body, value);
  }
  body.push_back('\0');
  std::string message;
  append_be32(message, static_cast<uint32_t>(body.size() + 4));
  return message + body;
}

}  // namespace bezel::bench
