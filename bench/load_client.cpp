#include "bench/load_client.h"

#include <optional>

namespace bezel::bench {
namespace {

constexpr std::string_view kPreparedName = "bench";

void append_parse(std::string& out, std::string_view name, std::string_view sql) {
  std::string body;
  append_text(body, name);
  append_text(body, sql);
  append_be16(body, 0);  // no parameter types given
  append_frame(out, 'P', body);
}

void append_bind_to_sync(std::string& out, std::string_view statement) {
  std::string bind;
  append_text(bind, "");  // unnamed portal
  append_text(bind, statement);
  append_be16(bind, 0);  // parameter formats
  append_be16(bind, 0);  // parameters
  append_be16(bind, 0);  // result formats: text
  append_frame(out, 'B', bind);
  append_frame(out, 'D', std::string_view("P\0", 2));
  append_frame(out, 'E', std::string_view("\0\0\0\0\0", 5));  // unnamed portal, all rows
  append_frame(out, 'S', "");
}

/// The text of an ErrorResponse: its message field with the SQLSTATE.
std::string error_text(std::string_view body) {
  std::string state;
  std::string text;
  while (!body.empty() && body.front() != '\0') {
    const char field = body.front();
    body.remove_prefix(1);
    const auto value = take_text(body);
    if (!value) break;
    if (field == 'C') state = *value;
    if (field == 'M') text = *value;
  }
  return "server said " + state + ": " + text;
}

}  // namespace

Request make_request(QueryProtocol protocol, std::string_view sql) {
  Request request;
  request.protocol = protocol;
  if (protocol == QueryProtocol::kSimple) {
    std::string body;
    append_text(body, sql);
    append_frame(request.transaction, 'Q', body);
    return request;
  }
  const bool named = protocol == QueryProtocol::kPrepared;
  std::string& parse_goes_to = named ? request.preparation : request.transaction;
  append_parse(parse_goes_to, named ? kPreparedName : "", sql);
  if (named) append_frame(request.preparation, 'S', "");
  append_bind_to_sync(request.transaction, named ? kPreparedName : "");
  return request;
}

ReplyReader::Result ReplyReader::consume(std::string_view bytes) {
  reader_.append(bytes);
  Result result = Result::kPending;
  while (const auto frame = reader_.next()) {
    if (result == Result::kReady) {
      // The answer was whole, and yet there is more: only asynchronous messages may follow unasked.
      awaiting_ = Awaiting::kNothing;
    }
    const Result step = take(*frame);
    if (step == Result::kFailed) return step;
    if (step == Result::kReady) result = step;
  }
  if (reader_.broken()) return fail("a message with an invalid length", false);
  return result;
}

ReplyReader::Result ReplyReader::take(const Frame& frame) {
  if (frame.type == 'N' || frame.type == 'S' || frame.type == 'A') return Result::kPending;
  if (frame.type == 'E') {
    error_ = error_text(frame.body);
    ++counts_.errors;
    return awaiting_ == Awaiting::kReply ? Result::kPending : fail(error_, false);
  }
  if (awaiting_ == Awaiting::kNothing) return fail(std::string("unasked message of type ") + frame.type, false);
  switch (frame.type) {
    case 'R':
      if (awaiting_ != Awaiting::kLogin) break;
      if (frame.body == std::string_view("\0\0\0\0", 4)) return Result::kPending;
      return fail("the server asks for a password; only trust is known", false);
    case 'K':
      if (awaiting_ != Awaiting::kLogin) break;
      return Result::kPending;
    case '1':
      ++counts_.parsed;
      return Result::kPending;
    case '2':
      ++counts_.bound;
      return Result::kPending;
    case 'T':
    case 'n':
      ++counts_.described;
      return Result::kPending;
    case 'D':
      ++counts_.rows;
      return Result::kPending;
    case 'C':
      ++counts_.completed;
      return Result::kPending;
    case 'Z':
      return finish(frame);
    default:
      break;
  }
  return fail(std::string("unexpected message of type ") + frame.type, false);
}

ReplyReader::Result ReplyReader::finish(const Frame& ready) {
  if (ready.body != "I") return fail("ReadyForQuery inside a transaction that no one began", false);
  if (counts_.errors > 0) return fail(error_, true);
  const Counts& c = counts_;
  bool whole = true;
  if (awaiting_ == Awaiting::kLogin) whole = c.parsed + c.bound + c.described + c.rows + c.completed == 0;
  if (awaiting_ == Awaiting::kPreparation) whole = c.parsed == 1 && c.bound + c.described + c.rows + c.completed == 0;
  if (awaiting_ == Awaiting::kReply) {
    const bool simple = protocol_ == QueryProtocol::kSimple;
    whole = c.completed == 1 && c.parsed == (protocol_ == QueryProtocol::kExtended ? 1 : 0) &&
            c.bound == (simple ? 0 : 1) && (simple ? c.described <= 1 : c.described == 1) &&
            (c.rows == 0 || c.described == 1);
  }
  return whole ? Result::kReady : fail("an answer with messages missing or doubled", false);
}

ReplyReader::Result ReplyReader::fail(std::string text, bool can_continue) {
  error_ = std::move(text);
  can_continue_ = can_continue;
  return Result::kFailed;
}

}  // namespace bezel::bench
