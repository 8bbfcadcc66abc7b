#include "src/tls/client_hello.h"

#include <array>

namespace bezel::tls {
namespace {

constexpr size_t kRecordHeaderBytes = 5;
constexpr unsigned char kHandshakeRecord = 22;
constexpr size_t kMessageHeaderBytes = 4;
constexpr unsigned char kClientHello = 1;
// RFC 8446 section 5.1: a record holds no more, and one of a handshake is not empty.
constexpr size_t kRecordBytesMax = 16384;

unsigned char byte_at(std::string_view bytes, size_t at) {
  return static_cast<unsigned char>(bytes[at]);
}

}  // namespace

HelloProgress look_at_hello(std::string_view received) {
  // The message may lie in several records, its header too.
  std::array<unsigned char, kMessageHeaderBytes> header{};
  size_t message_bytes = 0;
  while (!received.empty()) {
    if (byte_at(received, 0) != kHandshakeRecord) return HelloProgress::invalid;
    if (received.size() < kRecordHeaderBytes) return HelloProgress::incomplete;
    const size_t record_bytes = byte_at(received, 3) << 8 | byte_at(received, 4);
    if (record_bytes == 0 || record_bytes > kRecordBytesMax) return HelloProgress::invalid;
    received.remove_prefix(kRecordHeaderBytes);
    const std::string_view content = received.substr(0, record_bytes);
    for (size_t i = 0; i < content.size() && message_bytes + i < kMessageHeaderBytes; i++)
      header[message_bytes + i] = byte_at(content, i);
    message_bytes += content.size();
    received.remove_prefix(content.size());
    if (message_bytes > 0 && header[0] != kClientHello) return HelloProgress::invalid;
    if (message_bytes < kMessageHeaderBytes) continue;
    const size_t wanted = kMessageHeaderBytes + (header[1] << 16 | header[2] << 8 | header[3]);
    if (wanted > kHelloBytesMax) return HelloProgress::invalid;
    if (message_bytes >= wanted) return HelloProgress::whole;
  }
  return HelloProgress::incomplete;
}

}  // namespace bezel::tls
