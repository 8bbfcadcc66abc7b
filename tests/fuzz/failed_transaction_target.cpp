// A client whose transaction was lost with its server is answered here, in the server's place. The first line of the
// input says in which state; the others are its messages.

#include <algorithm>
#include <string>
#include <utility>

#include "pool/failed_transaction.h"
#include "protocol/frames.h"
#include "protocol/sqlstate.h"
#include "tests/fuzz/notation.h"
#include "tests/fuzz/target.h"
#include "tests/simulation/frames.h"

namespace {

using namespace bezel::pool;
using bezel::fuzz::Input;
using bezel::fuzz::must;
using Next = FailedTransaction::Next;

bool has(std::string_view letters, char letter) {
  return letters.find(letter) != std::string_view::npos;
}

FailedTransaction::Start start_of(std::string_view letters) {
  FailedTransaction::Start start;
  start.skip_until_sync = has(letters, 's');
  start.in_transaction = !has(letters, 'i');
  if (has(letters, 'u'))
    start.untold = bezel::protocol::ProtocolError{bezel::protocol::sqlstate::kAdminShutdown, "lost", {}, {}};
  return start;
}

/// The types of the answers; all of them are whole.
std::string types_of(const std::string& answers) {
  bezel::simulation::FrameCutter cutter;
  cutter.append(answers);
  std::string types;
  while (const auto frame = cutter.next()) {
    types += frame->type;
    must(std::string_view("123CEIZntST").find(frame->type) != std::string_view::npos, "a server's messages");
  }
  must(cutter.bytes().empty(), "whole messages");
  return types;
}

void check(char type, Next next, const std::string& types, std::string_view rest, std::string_view body) {
  must(std::count(types.begin(), types.end(), 'E') <= 1, "one error for one message");
  if (type == 'Q') must((next == Next::rest) == (types.find('Z') == std::string::npos), "a Query has one answer");
  if (type == 'S') must(types.ends_with('Z'), "so has a Sync");
  if (next != Next::rest) return;
  must(type == 'Q' && rest.data() >= body.data() && rest.data() + rest.size() <= body.data() + body.size(),
       "the rest is of the Query");
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  Input input(data, size);
  const std::string_view letters = input.line();
  FailedTransaction transaction(start_of(letters));
  StatementTable table(1, 1);
  ClientStatements statements;
  while (!input.at_end()) {
    const std::string message = bezel::fuzz::message_of(input.line());
    const bool is_looked_at =
        !message.empty() && std::string_view("QPBDCEHSFdcf").find(message[0]) != std::string::npos;
    if (!is_looked_at) continue;
    const auto header = bezel::protocol::read_frame_header(message.data());
    const std::string_view body = std::string_view(message).substr(bezel::protocol::kFrameHeaderBytes);
    std::string answers;
    const Next next = transaction.take(header, body.substr(0, FailedTransaction::kInspectedBytesMax),
                                       has(letters, 'n') ? nullptr : &statements, table, answers);
    const std::string types = types_of(answers);
    if (!answers.empty() || header.type == 'S') check(header.type, next, types, transaction.rest(), body);
    if (next != Next::stays) return 0;
  }
  return 0;
}
