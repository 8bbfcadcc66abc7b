#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

namespace bezel::pool {

/// Lower-cased: PostgreSQL's parameter names do not tell cases apart.
std::string parameter_key(std::string_view name);

/// Whether a parameter that servers report (ParameterStatus) can be changed by a session, and so belongs to the client
/// rather than to the server.
bool parameter_is_session_state(std::string_view key);

/// Parameters that a session has set away from the server's defaults: name (as parameter_key() gives it) and value,
/// sorted by name. Immutable and shared by all clients and servers of a worker that have the same.
struct ParameterSet {
  std::vector<std::pair<std::string, std::string>> values;

  /// nullptr if the set has no such name.
  const std::string* find(std::string_view key) const;
};
using ParameterSetPtr = std::shared_ptr<const ParameterSet>;

/// One worker's sets, each once, so that two sets are equal exactly if their pointers are.
class ParameterTable {
 public:
  ParameterTable();
  const ParameterSetPtr& empty() const { return empty_; }
  /// `values` in any order; of a repeated name the last counts.
  ParameterSetPtr intern(std::vector<std::pair<std::string, std::string>> values);
  ParameterSetPtr with(const ParameterSetPtr& set, std::string_view key, std::string_view value);
  ParameterSetPtr without(const ParameterSetPtr& set, std::string_view key);

 private:
  ParameterSetPtr intern_sorted(std::vector<std::pair<std::string, std::string>> values);

  std::unordered_map<std::string, std::weak_ptr<const ParameterSet>> sets_;
  size_t sweep_at_ = 64;  // size at which the table is rid of sets that nobody has any more
  ParameterSetPtr empty_;
};

/// What a server reports of itself, in the order of its login: name as it spells it, value.
class ReportedParameters {
 public:
  struct Entry {
    std::string key, name, value;
  };
  void set(std::string_view name, std::string_view value);
  const std::string* find(std::string_view key) const;
  const std::vector<Entry>& entries() const { return entries_; }

 private:
  std::vector<Entry> entries_;
};

/// SQL that takes a session from `from` to `to`; empty if nothing needs to be done. Where a parameter of `to` equals
/// what the server reports by default (`defaults`) and `from` has not changed it, it is left alone.
std::string parameter_change_sql(const ParameterSet& from, const ParameterSet& to, const ReportedParameters& defaults);

}  // namespace bezel::pool
