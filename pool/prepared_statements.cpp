#include "pool/prepared_statements.h"

namespace bezel::pool {

StatementPtr StatementTable::intern(std::string_view definition) {
  if (const auto known = by_definition_->find(definition); known != by_definition_->end()) return known->second.lock();
  const uint64_t id = next_id_;
  next_id_ += step_;
  const auto* made =
      new Statement{id, std::string(kServerStatementPrefix) + std::to_string(id), std::string(definition), false};
  StatementPtr statement(made, [map = by_definition_](const Statement* gone) {
    // After retire() the entry may be that of its successor.
    const auto at = map->find(gone->definition);
    if (at != map->end() && at->first.data() == gone->definition.data()) map->erase(at);
    delete gone;
  });
  by_definition_->emplace(made->definition, statement);
  return statement;
}

void StatementTable::retire(const StatementPtr& statement) {
  const auto at = by_definition_->find(statement->definition);
  if (at != by_definition_->end() && at->first.data() == statement->definition.data()) by_definition_->erase(at);
}

bool ServerStatements::has(const StatementPtr& statement) {
  const auto at = by_id_.find(statement->id);
  if (at == by_id_.end()) return false;
  if (at->second != order_.begin()) order_.splice(order_.begin(), order_, at->second);
  return true;
}

void ServerStatements::add(const StatementPtr& statement, uint64_t batch) {
  if (has(statement)) return;
  order_.push_front({statement, batch, false});
  by_id_.emplace(statement->id, order_.begin());
}

void ServerStatements::confirm(const StatementPtr& statement) {
  const auto at = by_id_.find(statement->id);
  statement->proven = true;
  if (at != by_id_.end()) at->second->confirmed = true;
}

bool ServerStatements::in_doubt(const StatementPtr& statement, uint64_t batch) const {
  const auto at = by_id_.find(statement->id);
  return at != by_id_.end() && !at->second->confirmed && at->second->batch != batch;
}

void ServerStatements::remove(const StatementPtr& statement) {
  const auto at = by_id_.find(statement->id);
  if (at == by_id_.end()) return;
  order_.erase(at->second);
  by_id_.erase(statement->id);
}

void ServerStatements::clear() {
  for (auto entry = order_.begin(); entry != order_.end();) {
    if (!entry->confirmed) {
      ++entry;
      continue;
    }
    by_id_.erase(entry->statement->id);
    entry = order_.erase(entry);
  }
}

StatementPtr ServerStatements::take_overflow(size_t bound) {
  if (order_.size() <= bound || !order_.back().confirmed) return nullptr;
  StatementPtr oldest = order_.back().statement;
  remove(oldest);
  return oldest;
}

}  // namespace bezel::pool
