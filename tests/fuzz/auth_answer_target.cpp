// What a server answers to auth_query: bytes in any pieces come to the same.

#include <algorithm>
#include <string>

#include "pool/auth_result.h"
#include "tests/fuzz/notation.h"
#include "tests/fuzz/target.h"

namespace {

using bezel::fuzz::must;
using bezel::pool::AuthAnswer;
using bezel::pool::AuthResult;
using State = AuthResult::State;

constexpr int64_t kNowUs = 1'000'000;

struct Result {
  State state = State::reading;
  std::string problem;
  AuthAnswer answer;
};

Result read(std::string_view bytes, size_t piece_bytes) {
  AuthResult reader("u1");
  Result result;
  while (!bytes.empty() && result.state == State::reading) {
    result.state = reader.take(bytes.substr(0, piece_bytes));
    bytes.remove_prefix(std::min(piece_bytes, bytes.size()));
  }
  result.problem = reader.problem();
  if (result.state == State::complete && result.problem.empty()) result.answer = reader.answer(kNowUs);
  must(result.state != State::broken || !result.problem.empty(), "what is broken says how");
  return result;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  bezel::fuzz::Input input(data, size);
  // A line is a message, or bytes behind a '>'.
  std::string bytes;
  while (!input.at_end()) {
    const std::string_view line = input.line();
    bytes += line.starts_with('>') ? bezel::fuzz::bytes_of(line.substr(1)) : bezel::fuzz::message_of(line);
  }
  const Result whole = read(bytes, bytes.size());
  for (const size_t piece_bytes : {size_t{1}, size_t{2}, size_t{7}}) {
    const Result in_pieces = read(bytes, piece_bytes);
    must(in_pieces.state == whole.state && in_pieces.problem == whole.problem, "in any pieces it is the same answer");
    must(in_pieces.answer.kind == whole.answer.kind && in_pieces.answer.secret.text == whole.answer.secret.text &&
             in_pieces.answer.expires_at_us == whole.answer.expires_at_us,
         "in any pieces it says the same");
  }
  return 0;
}
