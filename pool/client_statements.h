#pragma once

#include <cstdint>
#include <deque>
#include <string>
#include <string_view>
#include <unordered_map>

#include "pool/prepared_statements.h"

namespace bezel::pool {

/// The names under which a client has prepared statements. A Parse or Close takes effect here when it is sent, ahead of
/// the server's answer, because later messages of the same batch build on it; if the server skips it after an error, it
/// is taken back. A name that was changed in an earlier batch whose answer is still out is in doubt: whoever needs it
/// waits.
class ClientStatements {
 public:
  /// The statement's definition under that name, or nullptr.
  StatementPtr find(std::string_view name) const;
  bool in_doubt(std::string_view name) const;
  /// Sets (or, with nullptr, drops) a name, not yet confirmed.
  void change(std::string_view name, StatementPtr statement);
  /// The oldest unconfirmed change has been carried out.
  void confirm();
  /// The oldest `count` unconfirmed changes were skipped by the server.
  void take_back(size_t count);
  void take_back_all() { take_back(unconfirmed_.size()); }
  /// A Sync was sent: changes from now on belong to another batch.
  void next_batch() { batch_++; }
  /// DISCARD ALL, DEALLOCATE ALL.
  void clear();
  size_t size() const { return names_.size(); }
  /// The client's name of a statement that servers know under that name; empty if it has none. Slow: for errors only.
  std::string name_of(std::string_view server_name) const;
  /// A Parse under a name that is taken was sent: its error is to name this one of the names that a statement may have.
  /// REQUIRES: no such Parse of an earlier batch is unanswered. Within a batch only the first can be answered.
  void note_taken(std::string_view name, const StatementPtr& statement) {
    if (taken_in_batch_ == batch_ + 1) return;
    taken_name_ = name;
    taken_statement_ = statement;
    taken_in_batch_ = batch_ + 1;
  }

 private:
  struct Change {
    std::string name;
    StatementPtr before, after;
    uint64_t batch;
  };
  void set(const std::string& name, StatementPtr statement);

  std::unordered_map<std::string, StatementPtr> names_;
  std::deque<Change> unconfirmed_;
  uint64_t batch_ = 0;
  std::string taken_name_;
  StatementPtr taken_statement_;
  uint64_t taken_in_batch_ = 0;  // 1 + the batch
};

}  // namespace bezel::pool
