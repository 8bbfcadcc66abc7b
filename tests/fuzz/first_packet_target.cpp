// What a client sends before anything else, and what is answered to the version that it asks for.

#include <algorithm>
#include <string>

#include "protocol/startup.h"
#include "tests/fuzz/target.h"

namespace {

using namespace bezel::protocol;
using bezel::fuzz::must;
using Kind = FirstPacketResult::Kind;

bool same(const FirstPacketResult& a, const FirstPacketResult& b) {
  return a.kind == b.kind && a.bytes_consumed == b.bytes_consumed && a.cancel.process_id == b.cancel.process_id &&
         a.cancel.secret == b.cancel.secret && a.startup.user == b.startup.user &&
         a.startup.database == b.startup.database && a.startup.parameters == b.startup.parameters &&
         a.startup.protocol_options == b.startup.protocol_options && a.error.message == b.error.message;
}

/// Asked again whenever the bytes are there that were asked for, and when all there are have come.
FirstPacketResult decode_as_it_comes(std::string_view bytes) {
  FirstPacketResult result;
  size_t available = 0;
  while (true) {
    result = decode_first_packet(bytes.substr(0, available));
    if (result.kind != Kind::need_more) return result;
    must(result.bytes_needed > available, "more bytes are asked for than there are");
    must(result.bytes_needed <= kFirstPacketBytesMax, "no more than a first packet is asked for");
    if (available == bytes.size()) return result;
    available = std::min(result.bytes_needed, bytes.size());
  }
}

void check_options(const StartupPacket& packet) {
  for (const auto& [name, value] : packet.parameters) {
    if (name != "options") continue;
    for (const auto& [option, its_value] : parse_startup_options(value).options) {
      must(!option.empty(), "an option has a name");
    }
  }
}

/// What is written from it says the same.
void check_written(const StartupPacket& packet) {
  Parameters all = packet.parameters;
  all.insert(all.end(), packet.protocol_options.begin(), packet.protocol_options.end());
  std::string bytes;
  append_startup_message(bytes, packet.protocol_minor, all);
  const FirstPacketResult again = decode_first_packet(bytes);
  must(again.kind == Kind::startup && again.bytes_consumed == bytes.size(), "a written startup packet is one");
  must(again.startup.parameters == packet.parameters && again.startup.user == packet.user, "it says the same");
  must(again.startup.protocol_options == packet.protocol_options, "its protocol options are the same");
}

void check_negotiation(const StartupPacket& packet) {
  const Negotiation negotiation = negotiate(packet);
  must(negotiation.minor_to_speak == 0 || negotiation.minor_to_speak == kProtocolMinorMax, "a version that is spoken");
  if (!negotiation.needs_message) return;
  std::string message;
  append_negotiate_protocol_version(message, kProtocolMinorMax, negotiation.unsupported);
  const auto told = decode_negotiate_protocol_version(std::string_view(message).substr(5));
  must(told && told->newest_minor == kProtocolMinorMax, "a client can read the answer");
  must(told->unsupported.size() == negotiation.unsupported.size(), "it names all options");
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view bytes = bezel::fuzz::as_text(data, size);
  const FirstPacketResult whole = decode_first_packet(bytes);
  must(whole.bytes_consumed <= size, "no more is taken than there is");
  must(same(whole, decode_as_it_comes(bytes)), "in pieces it is the same packet");
  if (whole.kind == Kind::cancel_request) {
    must(whole.cancel.secret.size() >= kCancelSecretBytesMin && whole.cancel.secret.size() <= kCancelSecretBytesMax,
         "a cancel key's length");
    std::string written;
    append_cancel_request(written, whole.cancel.process_id, whole.cancel.secret);
    must(written == bytes.substr(0, whole.bytes_consumed), "a written cancel request is the same");
  }
  if (whole.kind == Kind::startup) {
    must(!whole.startup.user.empty() && !whole.startup.database.empty(), "a user and a database");
    check_options(whole.startup);
    check_written(whole.startup);
    check_negotiation(whole.startup);
  }
  // The text alone gets further than a packet that must be right all around it.
  parse_startup_options(bytes);
  return 0;
}
