#pragma once

#include <cstdint>
#include <list>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace bezel::pool {

/// What the names of prepared statements on servers begin with.
inline constexpr std::string_view kServerStatementPrefix = "bezel_ps_";

/// A statement that some client has prepared under some name: a text and its parameter types. Lives as long as a client
/// or a server has it.
struct Statement {
  uint64_t id;
  std::string server_name;  ///< kServerStatementPrefix + id
  std::string definition;   ///< the body of its Parse after the name: text, zero byte, types as they are on the wire
  mutable bool proven = false;  ///< some server has parsed it
};
using StatementPtr = std::shared_ptr<const Statement>;

/// One worker's statements, each once: clients that prepare the same text with the same types share it. A statement
/// leaves the table when its last owner lets it go. Belongs to one thread, and its statements do too.
class StatementTable {
 public:
  /// Statements get the ids first_id, first_id + step, ...: tables of several workers never give the same one.
  StatementTable(uint64_t first_id, uint64_t step) : next_id_(first_id), step_(step) {}
  StatementPtr intern(std::string_view definition);
  /// Its result columns have changed since servers prepared it: whoever prepares the same definition from now on gets
  /// another statement, which servers do not have yet.
  void retire(const StatementPtr& statement);
  size_t size() const { return by_definition_->size(); }

 private:
  using Map = std::unordered_map<std::string_view, std::weak_ptr<const Statement>>;

  uint64_t next_id_, step_;
  // The keys point into the statements. Shared with the statements' deleters, which may run after the table's end.
  std::shared_ptr<Map> by_definition_ = std::make_shared<Map>();
};

/// The statements that one server has, in order of use. Statements above the bound are named by overflow(), to be
/// closed when the server is at the beginning of a batch: only there a Close cannot be skipped because of an earlier
/// error.
class ServerStatements {
 public:
  bool has(const StatementPtr& statement);  ///< also marks it as just used
  /// A Parse is about to be sent, in the batch of that number; until it is confirmed, an earlier error may undo it.
  void add(const StatementPtr& statement, uint64_t batch);
  void confirm(const StatementPtr& statement);
  /// Whether it is there only if an earlier batch than that one succeeds.
  bool in_doubt(const StatementPtr& statement, uint64_t batch) const;
  void remove(const StatementPtr& statement);
  /// DISCARD ALL, DEALLOCATE ALL: what is not confirmed yet was sent behind it, and stays.
  void clear();
  size_t size() const { return order_.size(); }
  /// Takes out the least recently used one if there are more than `bound` and it is confirmed; nullptr otherwise.
  StatementPtr take_overflow(size_t bound);

 private:
  struct Entry {
    StatementPtr statement;
    uint64_t batch;
    bool confirmed;
  };
  std::list<Entry> order_;  // most recently used first
  std::unordered_map<uint64_t, std::list<Entry>::iterator> by_id_;
};

}  // namespace bezel::pool
