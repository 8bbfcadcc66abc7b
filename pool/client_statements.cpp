#include "pool/client_statements.h"

#include <algorithm>

namespace bezel::pool {

StatementPtr ClientStatements::find(std::string_view name) const {
  const auto at = names_.find(std::string(name));
  return at == names_.end() ? nullptr : at->second;
}

bool ClientStatements::in_doubt(std::string_view name) const {
  return std::any_of(unconfirmed_.begin(), unconfirmed_.end(),
                     [&](const Change& change) { return change.batch != batch_ && change.name == name; });
}

void ClientStatements::set(const std::string& name, StatementPtr statement) {
  if (statement) {
    names_[name] = std::move(statement);
  } else {
    names_.erase(name);
  }
}

void ClientStatements::change(std::string_view name, StatementPtr statement) {
  unconfirmed_.push_back({std::string(name), find(name), statement, batch_});
  set(unconfirmed_.back().name, std::move(statement));
}

void ClientStatements::confirm() {
  unconfirmed_.pop_front();
}

void ClientStatements::take_back(size_t count) {
  // Backwards, so that a name changed twice ends as it was before the first.
  for (size_t i = count; i > 0; i--) set(unconfirmed_[i - 1].name, std::move(unconfirmed_[i - 1].before));
  unconfirmed_.erase(unconfirmed_.begin(), unconfirmed_.begin() + static_cast<std::ptrdiff_t>(count));
}

std::string ClientStatements::name_of(std::string_view server_name) const {
  if (taken_statement_ && taken_statement_->server_name == server_name) return taken_name_;
  for (const auto& [name, statement] : names_) {
    if (statement->server_name == server_name) return name;
  }
  return "";
}

void ClientStatements::clear() {
  names_.clear();
  // What is unconfirmed was sent behind the query that has just cleared everything, and is still to come.
  for (Change& change : unconfirmed_) {
    change.before = find(change.name);
    set(change.name, change.after);
  }
}

}  // namespace bezel::pool
