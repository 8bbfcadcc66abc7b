#include "pool/failed_transaction.h"

#include <fmt/format.h>

#include <utility>

#include "protocol/messages.h"
#include "protocol/sqlstate.h"

namespace bezel::pool {

namespace sqlstate = protocol::sqlstate;

namespace {

/// What a text is good for in a failed transaction. Several statements are refused, unless the first one ends it.
TransactionCommand command_in(std::string_view text) {
  const FirstStatement first = first_statement(text);
  return first.alone ? first.command : TransactionCommand::other_end;
}

bool ends_it(TransactionCommand command) {
  return command == TransactionCommand::rollback || command == TransactionCommand::commit;
}

std::string_view text_of(std::string_view body) {
  return body.substr(0, body.find('\0'));
}

}  // namespace

FailedTransaction::FailedTransaction(Start start) : start_(std::move(start)) {}

void FailedTransaction::refuse_unknown(std::string& answers, std::string_view state, std::string_view message) {
  // Who has not heard of the loss hears of that: it may be why something is missing.
  if (start_.untold) return refuse_batch(answers);
  protocol::append_error_response(answers, protocol::severity::kError, state, message);
  start_.skip_until_sync = true;
}

void FailedTransaction::refuse(std::string& answers) {
  if (start_.untold) {
    protocol::append_error_response(answers, protocol::severity::kError, *std::exchange(start_.untold, std::nullopt));
    answers += std::exchange(start_.untold_parameters, {});
    return;
  }
  append_refusal(answers);
}

void FailedTransaction::append_refusal(std::string& answers) {
  protocol::append_error_response(answers, protocol::severity::kError, sqlstate::kInFailedSqlTransaction,
                                  "current transaction is aborted, commands ignored until end of transaction block");
}

void FailedTransaction::refuse_batch(std::string& answers) {
  refuse(answers);
  start_.skip_until_sync = true;
}

FailedTransaction::Next FailedTransaction::take(const protocol::FrameHeader& header, std::string_view body,
                                                ClientStatements* statements, StatementTable& table,
                                                std::string& answers) {
  if (header.type == 'S') return sync(answers);
  if (start_.skip_until_sync) return Next::stays;
  const bool whole = body.size() == header.body_bytes();
  switch (header.type) {
    case 'Q':
      return query(body, whole, answers);
    case 'F':
      refuse(answers);
      protocol::append_ready_for_query(answers, 'E');
      return Next::stays;
    case 'P':
      parse(body, whole, statements, table, answers);
      return Next::stays;
    case 'B':
      bind(body, header.body_bytes(), statements, answers);
      return Next::stays;
    case 'D':
      describe(body, statements, answers);
      return Next::stays;
    case 'C':
      close(body, statements, answers);
      return Next::stays;
    case 'E':
      return execute(body, answers);
    default:
      return Next::stays;  // Flush, and data of a COPY that has failed
  }
}

FailedTransaction::Next FailedTransaction::query(std::string_view body, bool whole, std::string& answers) {
  const std::string_view text = text_of(body);
  const FirstStatement first = whole ? first_statement(text) : FirstStatement{};
  if (first.command == TransactionCommand::empty && !start_.untold) {
    protocol::append_empty_query_response(answers);
    protocol::append_ready_for_query(answers, 'E');
    return Next::stays;
  }
  if (!ends_it(first.command)) {
    refuse(answers);
    protocol::append_ready_for_query(answers, 'E');
    return Next::stays;
  }
  // Whoever asks for a COMMIT and does not know yet that it has failed must not take the answer for a success.
  if (first.command == TransactionCommand::commit && start_.untold) {
    refuse(answers);
    protocol::append_ready_for_query(answers, 'I');
    return Next::over;
  }
  protocol::append_command_complete(answers, "ROLLBACK");
  answers += start_.untold_parameters;
  if (!first.alone) {
    rest_ = text.substr(first.bytes);
    return Next::rest;
  }
  protocol::append_ready_for_query(answers, 'I');
  return Next::over;
}

std::optional<TransactionCommand> FailedTransaction::prepared(std::string_view name,
                                                              const ClientStatements* statements) const {
  if (parsed_ && parsed_name_ == name) return parsed_;
  if (name.empty()) return TransactionCommand::none;  // one may have been left, and it is no ROLLBACK
  const StatementPtr known = statements != nullptr ? statements->find(name) : nullptr;
  if (!known) return statements != nullptr ? std::nullopt : std::optional(TransactionCommand::none);
  return command_in(text_of(known->definition));
}

void FailedTransaction::parse(std::string_view body, bool whole, ClientStatements* statements, StatementTable& table,
                              std::string& answers) {
  const auto message = whole ? protocol::decode_parse(body) : std::nullopt;
  const TransactionCommand command = message ? command_in(message->text) : TransactionCommand::none;
  if (!ends_it(command) && command != TransactionCommand::empty) return refuse_batch(answers);
  if (statements != nullptr && !message->name.empty()) {
    if (statements->find(message->name)) {
      return refuse_unknown(answers, sqlstate::kDuplicatePreparedStatement,
                            fmt::format("prepared statement \"{}\" already exists", message->name));
    }
    statements->change(message->name, table.intern(body.substr(message->name.size() + 1)));
    statements->confirm();
  }
  parsed_ = command;
  parsed_name_ = message->name;
  protocol::append_parse_complete(answers);
}

void FailedTransaction::bind(std::string_view body, size_t body_bytes, const ClientStatements* statements,
                             std::string& answers) {
  const auto prefix = protocol::decode_bind_prefix(body, body_bytes);
  if (prefix.status != protocol::BindPrefix::Status::ok) return refuse_batch(answers);
  const auto command = prepared(prefix.statement, statements);
  if (!command) {
    return refuse_unknown(answers, sqlstate::kInvalidSqlStatementName,
                          fmt::format("prepared statement \"{}\" does not exist", prefix.statement));
  }
  if (!ends_it(*command) && *command != TransactionCommand::empty) return refuse_batch(answers);
  bound_ = command;
  portal_ = prefix.portal;
  protocol::append_bind_complete(answers);
}

void FailedTransaction::describe(std::string_view body, const ClientStatements* statements, std::string& answers) {
  const auto target = protocol::decode_describe(body);
  if (!target) return refuse_batch(answers);
  const bool is_statement = target->kind == 'S';
  const auto command = is_statement                        ? prepared(target->name, statements)
                       : bound_ && portal_ == target->name ? bound_
                                                           : std::nullopt;
  if (!command) {
    return is_statement ? refuse_unknown(answers, sqlstate::kInvalidSqlStatementName,
                                         fmt::format("prepared statement \"{}\" does not exist", target->name))
                        : refuse_unknown(answers, sqlstate::kInvalidCursorName,
                                         fmt::format("portal \"{}\" does not exist", target->name));
  }
  if (!ends_it(*command) && *command != TransactionCommand::empty) return refuse_batch(answers);
  if (is_statement) protocol::append_parameter_description(answers, {});
  protocol::append_no_data(answers);
}

void FailedTransaction::close(std::string_view body, ClientStatements* statements, std::string& answers) {
  const auto target = protocol::decode_close(body);
  if (!target) return refuse_batch(answers);
  if (target->kind == 'P') {
    if (portal_ == target->name) bound_.reset();
  } else {
    if (parsed_name_ == target->name) parsed_.reset();
    if (statements != nullptr && statements->find(target->name)) {
      statements->change(target->name, nullptr);
      statements->confirm();
    }
  }
  protocol::append_close_complete(answers);
}

FailedTransaction::Next FailedTransaction::execute(std::string_view body, std::string& answers) {
  const auto message = protocol::decode_execute(body);
  if (!message || !bound_ || portal_ != message->portal) {
    refuse_unknown(answers, sqlstate::kInvalidCursorName,
                   fmt::format("portal \"{}\" does not exist", message ? message->portal : ""));
    return Next::stays;
  }
  if (*bound_ == TransactionCommand::empty && !start_.untold) {
    protocol::append_empty_query_response(answers);
    return Next::stays;
  }
  if (*bound_ != TransactionCommand::rollback && start_.untold) {
    refuse_batch(answers);
    start_.in_transaction = *bound_ != TransactionCommand::commit;
    return Next::stays;
  }
  protocol::append_command_complete(answers, "ROLLBACK");
  answers += start_.untold_parameters;
  return Next::over;
}

FailedTransaction::Next FailedTransaction::sync(std::string& answers) {
  // A driver would not understand a transaction that fails without an error.
  if (start_.untold) refuse(answers);
  start_.skip_until_sync = false;
  bound_.reset();
  if (!parsed_name_.empty()) parsed_.reset();  // the client's table of names has it
  if (!start_.in_transaction) {
    protocol::append_ready_for_query(answers, 'I');
    return Next::over;
  }
  protocol::append_ready_for_query(answers, 'E');
  return Next::stays;
}

}  // namespace bezel::pool
