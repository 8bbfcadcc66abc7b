#include "pool/server_loss.h"

#include <algorithm>
#include <map>
#include <utility>

#include "pool/transaction_command.h"
#include "protocol/frames.h"
#include "protocol/messages.h"

namespace bezel::pool {

namespace {

using protocol::FrameHeader;
using protocol::kFrameHeaderBytes;

/// To what transaction is open.
bool command_matters(TransactionCommand command) {
  return command != TransactionCommand::none && command != TransactionCommand::empty;
}

/// Goes through a journal, message by message.
class Reader {
 public:
  Reader(const FindStatement& find, bool names_are_known, bool copies)
      : find_(find), names_are_known_(names_are_known), copies_(copies) {}

  /// False: it cannot be read.
  bool message(char type, std::string_view body) {
    switch (type) {
      case 'Q':
        effect_.is_query = statements_ == 0;
        statement(text_of(body), true);
        list_statements(text_of(body));
        end_request();
        return true;
      case 'F':
      case 'S':
        end_request();
        return true;
      case 'P':
        return parse(body);
      case 'B':
        return bind(body);
      case 'E':
        return execute(body);
      case 'c':
      case 'f':
        copies_ = true;
        return true;
      default:
        return true;
    }
  }
  /// The last message, of which only the beginning is there: nobody has carried it out.
  void partial(char type) {
    if (type == 'Q' || type == 'F') end_request();
  }

  JournalReading result() {
    reading_.certain = true;
    reading_.rest = effect_;
    if (copies_) blur();
    return std::move(reading_);
  }

 private:
  static std::string_view text_of(std::string_view body) { return body.substr(0, body.find('\0')); }

  /// Something is bound, or executed, that nobody knows.
  TransactionCommand doubt() {
    effect_.may_end = true;
    effect_.commits_midway = true;
    statements_++;
    return TransactionCommand::other_end;
  }

  /// All statements of a Query, as far as they can be told apart.
  void list_statements(std::string_view text) {
    FirstStatement first = first_statement(text);
    while (!first.alone && first.bytes > 0) {
      effect_.commands.push_back(first.command);
      text.remove_prefix(first.bytes);
      first = first_statement(text);
    }
    const bool known = first.alone || (!may_hold_end_of_transaction(text) && !may_hold_begin_of_transaction(text));
    effect_.commands.push_back(known ? first.command : TransactionCommand::other_end);
  }

  /// A statement is run. `several`: others may follow it in the text.
  TransactionCommand statement(std::string_view text, bool several) {
    const FirstStatement first = first_statement(text);
    const bool alone = first.alone || !several;
    const bool is_first = statements_ == 0;
    statements_++;
    effect_.commits_midway = effect_.commits_midway || first.commits_midway;
    if (!is_first) effect_.commits = effect_.rolls_back = effect_.only_begins = false;
    switch (first.command) {
      case TransactionCommand::empty:
        break;
      case TransactionCommand::none:
        effect_.may_end = effect_.may_end || ended_ || (!alone && may_hold_end_of_transaction(text));
        break;
      case TransactionCommand::begin:
        effect_.begins = effect_.begins || is_first;
        effect_.only_begins = is_first && alone;
        effect_.may_end = effect_.may_end || ended_ || (!alone && may_hold_end_of_transaction(text));
        break;
      case TransactionCommand::commit:
        effect_.may_end = true;
        effect_.commits = is_first && alone;
        ended_ = true;
        break;
      case TransactionCommand::rollback:
        effect_.rolls_back = is_first && alone;
        effect_.may_end = effect_.may_end || !effect_.rolls_back;
        ended_ = true;
        break;
      case TransactionCommand::other_end:
        effect_.may_end = true;
        break;
    }
    return first.command;
  }

  bool parse(std::string_view body) {
    const auto message = protocol::decode_parse(body);
    if (!message) return false;
    if (message->name.empty()) {
      unnamed_ = message->text;
      has_unnamed_ = true;
      return true;
    }
    // Under the same name there may be another one by now.
    const TransactionCommand command = first_statement(message->text).command;
    if (command == TransactionCommand::commit || command == TransactionCommand::other_end) doubt();
    return true;
  }

  bool bind(std::string_view body) {
    const auto prefix = protocol::decode_bind_prefix(body, body.size());
    if (prefix.status != protocol::BindPrefix::Status::ok) return false;
    portals_[prefix.portal] = bound(prefix.statement);
    return true;
  }

  TransactionCommand bound(std::string_view name) {
    if (name.empty()) return has_unnamed_ ? statement(unnamed_, false) : doubt();
    if (const StatementPtr known = find_(name)) return statement(text_of(known->definition), false);
    // Of SQL's PREPARE, which takes no COMMIT; or of nobody.
    return names_are_known_ ? statement("SELECT", false) : doubt();
  }

  bool execute(std::string_view body) {
    const auto message = protocol::decode_execute(body);
    if (!message) return false;
    const auto portal = portals_.find(message->portal);
    // If not bound in this batch, it was earlier, to whatever.
    effect_.commands.push_back(portal != portals_.end() ? portal->second : doubt());
    return true;
  }

  void end_request() {
    reading_.requests.push_back(effect_);
    effect_ = {};
    statements_ = 0;
    ended_ = false;
    portals_.clear();
  }

  /// The Sync behind a COPY may have been ignored by PostgreSQL, so it is not known where requests end.
  void blur() {
    RequestEffect all;
    const auto add = [&](const RequestEffect& one) {
      all.may_end = all.may_end || one.may_end || one.rolls_back;
      all.commits_midway = all.commits_midway || one.commits_midway;
      const bool matter = std::any_of(one.commands.begin(), one.commands.end(), command_matters);
      if (matter) all.commands.assign(1, TransactionCommand::other_end);
    };
    for (const RequestEffect& one : reading_.requests) add(one);
    add(reading_.rest);
    for (RequestEffect& one : reading_.requests) one = all;
    reading_.rest = all;
  }

  const FindStatement& find_;
  const bool names_are_known_;
  JournalReading reading_;
  RequestEffect effect_;
  size_t statements_ = 0;  // of the request
  bool ended_ = false;     // a statement of the request ends the transaction
  bool copies_;
  bool has_unnamed_ = false;
  std::string_view unnamed_;
  std::map<std::string_view, TransactionCommand> portals_;  // bound in the request
};

/// Of the request with that number among those owed; the one after the last is the open batch.
RequestEffect effect_of(const ServerLoss& loss, const JournalReading& journal, size_t index) {
  if (journal.certain && journal.requests.size() >= loss.requests_owed) {
    if (index == loss.requests_owed) return journal.rest;
    return journal.requests[journal.requests.size() - loss.requests_owed + index];
  }
  RequestEffect unknown;
  unknown.may_end = unknown.commits_midway = true;
  unknown.commands = {TransactionCommand::other_end};
  return unknown;
}

/// Of the request that has got its error. In the journal it may be cut by Queries that were skipped with the rest.
RequestEffect effect_before_error(const ServerLoss& loss, const JournalReading& journal) {
  RequestEffect effect = effect_of(loss, journal, 0);
  const size_t later = loss.requests_owed + loss.requests_skipped;
  if (loss.requests_skipped > 0 && journal.certain && journal.requests.size() >= later) {
    effect = journal.requests[journal.requests.size() - later];
  }
  return effect;
}

bool may_replay(const ServerLoss& loss, const JournalReading& journal) {
  if (loss.status != 'I' || loss.answered || !journal.can_be_replayed || loss.replays_left == 0) return false;
  if (!loss.written) return true;
  // Behind the request that it has refused, the standby may be at work on the next one already.
  if (loss.refused_by_standby) return loss.requests_owed == 1 && !loss.batch_open;
  const auto midway = [](const RequestEffect& effect) { return effect.commits_midway; };
  if (loss.said_goodbye && !journal.rest.commits_midway &&
      std::none_of(journal.requests.begin(), journal.requests.end(), midway)) {
    return true;
  }
  // A BEGIN alone has done nothing, whatever has become of it.
  return loss.requests_owed == 1 && !loss.batch_open && journal.requests.size() == 1 && journal.requests[0].only_begins;
}

/// The transaction as it goes on, reply by reply.
class Answering {
 public:
  explicit Answering(const ServerLoss& loss)
      : loss_(loss), open_(loss.status != 'I'), aborted_(loss.status == 'E'), told_(false) {}

  LossReply reply(const RequestEffect& effect, bool incomplete, bool only_one) {
    if (!open_) return outside(effect, incomplete, only_one);
    // In a failed transaction COMMIT does what ROLLBACK does.
    const bool ends = effect.rolls_back || (aborted_ && effect.commits);
    if (ends) {
      open_ = false;
      return effect.is_query ? LossReply{LossReply::Error::rolled_back, 'I'} : LossReply{lost(), 'I'};
    }
    if (effect.may_end && loss_.written) {
      open_ = false;
      return {LossReply::Error::doubtful, 'I'};
    }
    return {lost(), 'E'};
  }
  /// To a request whose error was told: nothing behind that error was carried out, and what came before it was told
  /// too.
  LossReply reply_after_error(const RequestEffect& effect) {
    // In doubt it has failed: what was meant to be in it must not run outside of it.
    open_ = effect.open_after(open_, loss_.completed).value_or(true);
    aborted_ = told_ = open_;
    return {LossReply::Error::none, open_ ? 'E' : 'I'};
  }
  bool open() const { return open_; }

 private:
  LossReply outside(const RequestEffect& effect, bool incomplete, bool only_one) {
    if (effect.begins && !effect.may_end) {
      // What follows, or is sent in the belief that it has worked, must not run outside of it.
      open_ = !only_one || !effect.only_begins || loss_.answered;
      return {lost(), open_ ? 'E' : 'I'};
    }
    if (!loss_.written || (incomplete && !effect.may_end && !effect.commits_midway))
      return {LossReply::Error::lost, 'I'};
    return {LossReply::Error::doubtful, 'I'};
  }

  LossReply::Error lost() {
    if (std::exchange(told_, open_)) return LossReply::Error::aborted;
    return LossReply::Error::lost;
  }

  const ServerLoss& loss_;
  bool open_;
  bool aborted_;  // at the server, before it was lost
  bool told_;     // of this transaction's end
};

}  // namespace

std::optional<bool> RequestEffect::open_after(bool open, size_t completed) const {
  for (size_t i = 0; i < std::min(completed, commands.size()); i++) {
    switch (commands[i]) {
      case TransactionCommand::none:
      case TransactionCommand::empty:
        break;
      case TransactionCommand::begin:
        open = true;
        break;
      case TransactionCommand::commit:
      case TransactionCommand::rollback:
        open = false;
        break;
      case TransactionCommand::other_end:
        return std::nullopt;
    }
  }
  return open;
}

JournalReading read_journal(const Journal& journal, const FindStatement& find, bool names_are_known) {
  if (!journal.complete()) return {};
  Reader reader(find, names_are_known, journal.without_copy_data());
  std::string_view bytes = journal.bytes();
  while (!bytes.empty()) {
    if (bytes.size() < kFrameHeaderBytes) return {};  // never: headers are taken whole
    const FrameHeader header = protocol::read_frame_header(bytes.data());
    if (header.frame_bytes() > bytes.size()) {
      reader.partial(header.type);
      break;
    }
    if (!reader.message(header.type, bytes.substr(kFrameHeaderBytes, header.body_bytes()))) return {};
    bytes.remove_prefix(header.frame_bytes());
  }
  JournalReading reading = reader.result();
  reading.can_be_replayed = !journal.without_copy_data();
  return reading;
}

bool LossVerdict::in_doubt() const {
  return std::any_of(replies.begin(), replies.end(),
                     [](const LossReply& reply) { return reply.error == LossReply::Error::doubtful; });
}

LossVerdict decide(const ServerLoss& loss, const JournalReading& journal) {
  LossVerdict verdict;
  const size_t owed = loss.requests_owed + (loss.batch_open ? 1 : 0);
  if (owed == 0) {
    verdict.status = loss.status == 'I' ? 'I' : 'E';
    return verdict;
  }
  if (may_replay(loss, journal)) {
    verdict.kind = LossVerdict::Kind::replay;
    return verdict;
  }
  verdict.kind = LossVerdict::Kind::answers;
  Answering answering(loss);
  for (size_t i = 0; i < owed; i++) {
    const bool is_open = i == loss.requests_owed;
    const bool incomplete = is_open || (loss.copying_in && i == 0) || (loss.request_incomplete && i + 1 == owed);
    LossReply reply = i == 0 && loss.error_told ? answering.reply_after_error(effect_before_error(loss, journal))
                                                : answering.reply(effect_of(loss, journal, i), incomplete, owed == 1);
    // Its CommandComplete may be there already.
    if (i == 0 && loss.in_answer && reply.error == LossReply::Error::rolled_back) reply.error = LossReply::Error::lost;
    if (is_open) reply.ready = '\0';
    verdict.replies.push_back(reply);
  }
  verdict.status = answering.open() ? 'E' : 'I';
  verdict.skip_until_sync = loss.batch_open;
  return verdict;
}

}  // namespace bezel::pool
