// The same session twice, once with bytes in pieces of any size, once byte by byte. What both sides get must be the
// same. One client, who logs in without a password: what is random in a login would differ.

#include <string>
#include <vector>

#include "tests/fuzz/session_script.h"
#include "tests/fuzz/target.h"

namespace {

using namespace bezel::fuzz;

/// Enough for every byte of a line to arrive, one after the other, and its answer.
constexpr int64_t kPauseUs = 2'000'000;

struct Result {
  std::string client;
  std::vector<std::string> servers;
  bool client_has_ended = false, servers_have_ended = false;
};

/// The script may close and silence nobody: what arrives before that is a matter of luck. And nothing big is asked for,
/// as it would take seconds.
bool is_deterministic(std::string_view line) {
  if (line.starts_with('&')) line.remove_prefix(1);
  const bool speaks = line.size() > 1 && (line[1] == 'm' || line[1] == '>');
  return speaks && (line[0] == '0' || line[0] == 'a') && line.find("big") == std::string_view::npos;
}

Result run(const uint8_t* data, size_t size, bool bytewise) {
  Input input(data, size);
  std::string letters;
  for (const char letter : input.line()) {
    if (std::string_view("EAwnrckRx").find(letter) != std::string_view::npos) letters += letter;
  }
  if (bytewise) letters += 'B';
  SessionScript script(letters, 1);
  script.set_pause_us(kPauseUs);
  script.run("0(");
  script.run("0uu1 db1 TimeZone=UTC");
  for (int lines = 0; !input.at_end() && lines < SessionScript::kLinesMax; lines++) {
    const std::string_view line = input.line();
    if (is_deterministic(line)) script.run(line);
  }
  Result result;
  result.client = script.client(0)->received();
  result.client_has_ended = script.client(0)->has_ended();
  for (const auto& server : script.servers()) {
    result.servers.push_back(server->received());
    result.servers_have_ended = result.servers_have_ended || server->has_ended();
  }
  script.end();
  return result;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const Result in_pieces = run(data, size, false), bytewise = run(data, size, true);
  must(in_pieces.client_has_ended == bytewise.client_has_ended, "the client is let go, or not, in any pieces");
  // What is on its way when a connection breaks off may be lost or not.
  if (in_pieces.client_has_ended || in_pieces.servers_have_ended || bytewise.servers_have_ended) return 0;
  must(in_pieces.client == bytewise.client, "the client gets the same in any pieces");
  must(in_pieces.servers == bytewise.servers, "the servers get the same in any pieces");
  return 0;
}
