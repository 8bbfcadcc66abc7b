// The first message of a TLS handshake, of which the pooler only asks whether it is whole.

#include <algorithm>
#include <string>

#include "src/tls/client_hello.h"
#include "tests/fuzz/target.h"

namespace {

using bezel::fuzz::must;
using bezel::tls::HelloProgress;
using bezel::tls::look_at_hello;

/// The same message in records of `piece_bytes`.
std::string in_records(std::string_view message, size_t piece_bytes) {
  std::string records;
  while (!message.empty()) {
    const std::string_view piece = message.substr(0, piece_bytes);
    message.remove_prefix(piece.size());
    records += {22, 3, 1, static_cast<char>(piece.size() >> 8), static_cast<char>(piece.size() & 0xff)};
    records += piece;
  }
  return records;
}

void check_pieces(std::string_view received) {
  HelloProgress before = HelloProgress::incomplete;
  for (size_t available = 0; available <= received.size(); available++) {
    const HelloProgress now = look_at_hello(received.substr(0, available));
    must(before == HelloProgress::incomplete || now == before, "what was decided stays so");
    before = now;
  }
}

void check_records(std::string_view message) {
  if (message.empty()) return;
  const HelloProgress in_one = look_at_hello(in_records(message, 16384));
  for (const size_t piece_bytes : {size_t{1}, size_t{3}, size_t{4}, size_t{100}}) {
    must(look_at_hello(in_records(message, piece_bytes)) == in_one, "records of any size hold the same message");
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view bytes = bezel::fuzz::as_text(data, size).substr(0, 2000);
  check_pieces(bytes);
  check_records(bytes);
  return 0;
}
