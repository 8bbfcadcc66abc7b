// What a client sends, on its way to a server.

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "pool/client.h"
#include "pool/client_input.h"
#include "pool/pool.h"
#include "pool/server.h"
#include "pool/worker.h"
#include "protocol/messages.h"
#include "protocol/sqlstate.h"

namespace bezel::pool {

namespace sqlstate = protocol::sqlstate;
using protocol::FrameHeader;
using protocol::kFrameHeaderBytes;

void Client::flush(Input& input) {
  if (input.position > input.sent) server_->write(input.bytes.substr(input.sent, input.position - input.sent));
  input.sent = input.position;
}

/// Passes over bytes that the server does not get as they are.
void Client::pass_over(Input& input, size_t bytes) {
  input.position += bytes;
  input.sent = input.position;
}

void Client::take_input(std::string_view bytes) {
  if (carry_.empty() && !held_back()) {
    const std::string_view rest = process(bytes);
    if (!rest.empty()) carry_.assign(rest);
    return;
  }
  carry_.append(bytes);
  if (held_back()) {
    // It may not go on yet; what it may still send in the meantime is bounded.
    return update_reading();
  }
  if (carry_.size() >= carry_needed_) resume_input();
}

void Client::resume_input() {
  stalled_ = false;
  carry_needed_ = 0;
  update_reading();
  if (carry_.empty()) return;
  const std::string& input = worker_.keep_until_end_of_turn(std::exchange(carry_, {}));
  const std::string_view rest = process(input);
  if (!rest.empty()) carry_.assign(rest);
}

/// Returns what is left, in memory of this turn.
std::string_view Client::process(std::string_view bytes) {
  Input input{bytes};
  if (body_not_journaled_) input.journaled = std::min<uint64_t>(body_remaining_, bytes.size());
  do {
    go_through(input);
    if (state_ == ClientState::closed) return {};
    // If it had to wait for the answers of a server that it has no more, the next server may take it.
  } while (give_back_server(input) && std::exchange(stalled_, false));
  if (state_ == ClientState::closed) return {};
  counted_bytes_ -= std::min(counted_bytes_, input.position);
  return input.rest();
}

/// What has been gone through for the server that it has.
void Client::keep_in_journal(Input& input) {
  if (input.journaled >= input.position) return;
  server_->journal().append(input.bytes.substr(input.journaled, input.position - input.journaled));
  input.journaled = input.position;
}

/// Whether the message at hand is in the statistics already.
bool Client::was_counted(const Input& input) const {
  return input.position < counted_bytes_;
}

void Client::go_through(Input& input) {
  for (bool going = true; going && input.position < input.bytes.size();) {
    if (body_remaining_ > 0) {
      pass_body(input);
      continue;
    }
    const std::string_view bytes = input.bytes;
    if (bytes.size() - input.position < kFrameHeaderBytes) {
      carry_needed_ = kFrameHeaderBytes;
      break;
    }
    const FrameHeader header = protocol::read_frame_header(bytes.data() + input.position);
    if (!header.length_valid(static_cast<uint32_t>(worker_.settings().max_packet_size_bytes))) {
      violate(sqlstate::kProtocolViolation, "invalid message length");
      break;
    }
    going = console_  ? console_message(header, input)
            : failed_ ? message_in_failed_transaction(header, input)
                      : message(header, input);
    if (state_ == ClientState::closed) return;
  }
}

/// Sends what has been gone through; returns whether that was all, and the server went back to its pool.
bool Client::give_back_server(Input& input) {
  if (server_ == nullptr) return false;
  flush(input);
  keep_in_journal(input);
  if (stalled_) server_->ask_for_answers();
  // A message without an answer may have been the last thing that kept the server.
  return server_->nothing_outstanding() && server_->release_if_done();
}

void Client::pass_body(Input& input) {
  const size_t here = std::min<uint64_t>(body_remaining_, input.bytes.size() - input.position);
  body_remaining_ -= here;
  if (discard_body_) {
    pass_over(input, here);
  } else {
    input.position += here;
  }
}

/// The message goes to the server as it comes.
bool Client::forward(const FrameHeader& header, Input& input) {
  input.position += kFrameHeaderBytes;
  body_remaining_ = header.body_bytes();
  discard_body_ = body_not_journaled_ = false;
  return true;
}

/// Nobody gets the message.
bool Client::discard(const FrameHeader& header, Input& input) {
  if (server_ != nullptr) flush(input);
  leave_out_of_journal(header, input);
  pass_over(input, kFrameHeaderBytes);
  body_remaining_ = header.body_bytes();
  discard_body_ = body_not_journaled_ = true;
  return true;
}

/// The message at hand is not kept in the server's journal, but what came before it.
void Client::leave_out_of_journal(const FrameHeader& header, Input& input) {
  if (server_ != nullptr) keep_in_journal(input);
  input.journaled = std::min<uint64_t>(input.position + header.frame_bytes(), input.bytes.size());
}

bool Client::need_more(size_t bytes) {
  carry_needed_ = bytes;
  return false;
}

bool Client::stall() {
  stalled_ = true;
  return false;
}

bool Client::violate(std::string_view state, std::string message) {
  fail({state, std::move(message), "", ""});
  return false;
}

/// True if there is a server that a new request may go to. False: wait, the input stays.
bool Client::need_server(Input& input) {
  if (server_ == nullptr) {
    input.journaled = input.position;
    return pool_->acquire(*this);
  }
  state_ = ClientState::active;  // if the server had only been lent for the login, it is for more now
  // The next request must not be hit by a cancel that was meant for an earlier one.
  if (server_->cancels_in_flight() || server_->too_much_outstanding()) return stall();
  return true;
}

void Client::request_begins() {
  if (request_since_us_ != 0) return;
  request_since_us_ = worker_.now_us();
  arm_timer();
}

bool Client::message(const FrameHeader& header, Input& input) {
  if (server_ != nullptr && server_->skipping_until_sync() && header.type != 'S' && header.type != 'X') {
    // The server would skip it too, and it must leave no trace here.
    return discard(header, input);
  }
  switch (header.type) {
    case 'Q':
      if (worker_.settings().disable_pqexec) return violate(sqlstate::kFeatureNotSupported, "PQexec disallowed");
      [[fallthrough]];
    case 'F':
      if (!need_server(input)) return false;
      server_->expect({header.type == 'Q' ? Request::query : Request::function_call});
      request_begins();
      return forward(header, input);
    case 'P':
      return parse(header, input);
    case 'B':
      return bind(header, input);
    case 'D':
    case 'C':
      return describe_or_close(header, input);
    case 'E':
      if (!need_server(input)) return false;
      server_->expect({Request::execute});
      request_begins();
      return forward(header, input);
    case 'S':
      return sync(header, input);
    case 'H':
      if (server_ == nullptr) return discard(header, input);
      server_->flush_requested();
      return forward(header, input);
    case 'd':
    case 'c':
    case 'f':
      return copy_message(header, input);
    case 'X':
      if (server_ != nullptr) flush(input);
      terminated();
      return false;
    default:
      return violate(
          sqlstate::kProtocolViolation,
          fmt::format("invalid frontend message type {}", static_cast<int>(static_cast<unsigned char>(header.type))));
  }
}

bool Client::sync(const FrameHeader& header, Input& input) {
  if (header.body_bytes() != 0) return violate(sqlstate::kProtocolViolation, "invalid Sync message");
  if (server_ != nullptr && server_->too_much_outstanding()) return stall();
  if (statements_) statements_->next_batch();
  if (server_ == nullptr) {
    // Nothing has been asked that a server would have to answer first.
    std::string answer;
    protocol::append_ready_for_query(answer, 'I');
    write_copy(answer);
    pass_over(input, kFrameHeaderBytes);
    return true;
  }
  // While data are copied in, PostgreSQL ignores Sync: libpq sends one ahead of it.
  if (!server_->copying_in()) server_->expect({Request::sync});
  request_begins();
  return forward(header, input);
}

bool Client::copy_message(const FrameHeader& header, Input& input) {
  // Late data of a COPY that has failed; PostgreSQL ignores them as well.
  if (server_ == nullptr) return discard(header, input);
  if (header.type == 'd') {
    server_->journal().skip_copy_data();
    leave_out_of_journal(header, input);
    forward(header, input);
    body_not_journaled_ = true;
    return true;
  }
  if (server_->copying_in()) {
    server_->copy_in_ended();
  } else if (!server_->nothing_outstanding()) {
    server_->expect({Request::copy_end});
  }
  return forward(header, input);
}

// ---- Prepared statements
// -----------------------------------------------------------------------------------------------

bool Client::prepared_statements_on() const {
  return worker_.settings().max_prepared_statements > 0 && pool_->limits().mode != PoolMode::session;
}

ClientStatements& Client::names() {
  if (!statements_) statements_ = std::make_unique<ClientStatements>();
  return *statements_;
}

namespace {

/// The beginning of a message whose body has a new length.
void append_header(std::string& out, char type, size_t body_bytes) {
  const auto declared = __builtin_bswap32(static_cast<uint32_t>(body_bytes + 4));
  out += type;
  out.append(reinterpret_cast<const char*>(&declared), sizeof declared);
}

}  // namespace

bool Client::forward_extended(Request request, const FrameHeader& header, Input& input) {
  if (!need_server(input)) return false;
  server_->expect({request});
  request_begins();
  return forward(header, input);
}

bool Client::parse(const FrameHeader& header, Input& input) {
  const std::string_view here = input.body_here();
  if (here.empty() && header.body_bytes() > 0) return need_more(kFrameHeaderBytes + 1);
  const bool named = !here.empty() && here.front() != '\0';
  if (!named || !prepared_statements_on()) return forward_extended(Request::parse, header, input);
  if (header.frame_bytes() > kParseBytesMax) {
    return violate(sqlstate::kProgramLimitExceeded, "prepared statement is too long");
  }
  if (!input.has_frame(header)) return need_more(header.frame_bytes());
  const std::string_view body = here.substr(0, header.body_bytes());
  const auto message = protocol::decode_parse(body);
  // The server says what is wrong with it, as it would on a direct connection.
  if (!message) return forward_extended(Request::parse, header, input);
  if (names().in_doubt(message->name)) return stall();
  if (names().size() >= kNamedStatementsMax) {
    return violate(sqlstate::kConfigurationLimitExceeded, "too many prepared statements");
  }
  const StatementPtr existing = names().find(message->name);
  const StatementPtr statement =
      existing ? existing : worker_.statements().intern(body.substr(message->name.size() + 1));
  if (server_ == nullptr && !existing && statement->proven) {
    // Nothing to ask a server: one has parsed the same before. A program that waits for this answer in the thread that
    // drives its transactions too (pgbench -M prepared) would wait for ever for a server that its own clients hold.
    names().change(message->name, statement);
    names().confirm();
    std::string answer;
    protocol::append_parse_complete(answer);
    write_copy(answer);
    pass_over(input, header.frame_bytes());
    return true;
  }
  if (!need_server(input)) return false;
  if (server_->in_doubt(statement)) return stall();
  if ((existing || server_->statements().has(statement)) && !server_->can_promise()) return stall();
  flush(input);
  request_begins();
  server_->begin_extended();
  if (!was_counted(input)) pool_->statistics().client_parses.add(1);
  if (existing) {
    // The server answers as it would answer the client: 42P05, or what is wrong with the text. Its own name in the
    // message is replaced on the way back.
    server_->ensure_prepared(existing);
    server_->send_parse(*existing, body.substr(message->name.size() + 1), {Request::parse});
    names().note_taken(message->name, existing);
  } else {
    prepare(message->name, statement);
  }
  pass_over(input, header.frame_bytes());
  return true;
}

void Client::prepare(std::string_view name, const StatementPtr& statement) {
  names().change(name, statement);
  if (server_->statements().has(statement)) {
    // In a failed transaction only a statement that ends it can be prepared, and PostgreSQL knows which one does.
    if (server_->in_failed_transaction()) return server_->prepare_again(statement);
    server_->expect({Request::parse, Answer::forge, true, nullptr});
  } else {
    server_->will_prepare(statement);
    server_->send_parse(*statement, statement->definition, {Request::parse, Answer::forward, true, statement});
  }
}

bool Client::bind(const FrameHeader& header, Input& input) {
  if (!prepared_statements_on()) return forward_extended(Request::bind, header, input);
  const std::string_view here = input.body_here();
  const protocol::BindPrefix prefix = protocol::decode_bind_prefix(here, header.body_bytes());
  using Status = protocol::BindPrefix::Status;
  if (prefix.status == Status::need_more) return need_more(kFrameHeaderBytes + here.size() + 1);
  if (prefix.status == Status::too_long)
    return violate(sqlstate::kProtocolViolation, "name in Bind message is too long");
  if (prefix.status == Status::malformed || prefix.statement.empty()) {
    return forward_extended(Request::bind, header, input);
  }
  if (statements_ && statements_->in_doubt(prefix.statement)) return stall();
  const StatementPtr statement = statements_ ? statements_->find(prefix.statement) : nullptr;
  // An unknown name goes to the server as it is, which says that it does not exist.
  if (!statement) return forward_extended(Request::bind, header, input);
  if (!need_server(input)) return false;
  if (server_->in_doubt(statement)) return stall();
  flush(input);
  request_begins();
  server_->begin_extended();
  if (!was_counted(input)) pool_->statistics().binds.add(1);
  server_->ensure_prepared(statement);
  const size_t names_bytes = prefix.portal.size() + 1 + statement->server_name.size() + 1;
  std::string start;
  append_header(start, 'B', header.body_bytes() - prefix.bytes + names_bytes);
  start.append(prefix.portal).push_back('\0');
  start.append(statement->server_name).push_back('\0');
  server_->write_copy(start);
  server_->expect({Request::bind, Answer::forward, false, statement});
  pass_over(input, kFrameHeaderBytes + prefix.bytes);
  body_remaining_ = header.body_bytes() - prefix.bytes;
  discard_body_ = body_not_journaled_ = false;
  return true;
}

bool Client::describe_or_close(const FrameHeader& header, Input& input) {
  const Request request = header.type == 'D' ? Request::describe : Request::close;
  if (!prepared_statements_on()) return forward_extended(request, header, input);
  if (header.body_bytes() > protocol::kBindNameBytesMax) {
    return violate(sqlstate::kProtocolViolation, "name in Describe or Close message is too long");
  }
  if (!input.has_frame(header)) return need_more(header.frame_bytes());
  const auto target = protocol::decode_describe(input.body_here().substr(0, header.body_bytes()));
  if (!target || target->kind != 'S' || target->name.empty()) return forward_extended(request, header, input);
  if (statements_ && statements_->in_doubt(target->name)) return stall();
  if (request == Request::close) return close_statement(target->name, header, input);
  const StatementPtr statement = statements_ ? statements_->find(target->name) : nullptr;
  if (!statement) return forward_extended(request, header, input);
  if (!need_server(input)) return false;
  if (server_->in_doubt(statement)) return stall();
  flush(input);
  request_begins();
  server_->begin_extended();
  server_->ensure_prepared(statement);
  std::string message;
  protocol::append_describe(message, 'S', statement->server_name);
  server_->write_copy(message);
  server_->expect({Request::describe});
  pass_over(input, header.frame_bytes());
  return true;
}

bool Client::close_statement(std::string_view name, const FrameHeader& header, Input& input) {
  // The server keeps the statement: others use it too. Closing an unknown name is no error.
  const bool known = statements_ && statements_->find(name);
  if (server_ != nullptr && server_->too_much_outstanding()) return stall();
  if (server_ != nullptr) {
    flush(input);
    if (known) statements_->change(name, nullptr);
    server_->expect({Request::close, Answer::forge, known, nullptr});
  } else {
    if (known) {
      statements_->change(name, nullptr);
      statements_->confirm();
    }
    std::string answer;
    protocol::append_close_complete(answer);
    write_copy(answer);
  }
  pass_over(input, header.frame_bytes());
  return true;
}

// ---- Console
// -----------------------------------------------------------------------------------------------------------

bool Client::console_message(const FrameHeader& header, Input& input) {
  if (header.frame_bytes() > ByteStream::kCongestedBytes) {
    return violate(sqlstate::kProtocolViolation, "message is too long for the console");
  }
  if (!input.has_frame(header)) return need_more(header.frame_bytes());
  const std::string_view body = input.body_here().substr(0, header.body_bytes());
  pass_over(input, header.frame_bytes());
  if (header.type == 'X') {
    terminated();
    return false;
  }
  console_busy_ = true;
  in_console_message_ = true;
  console_->on_message(header.type, body);
  in_console_message_ = false;
  return !console_busy_;
}

void Client::message_done() {
  console_busy_ = false;
  if (!in_console_message_ && state_ == ClientState::console) resume_input();
}

}  // namespace bezel::pool
