#include "pool/parameters.h"

#include <algorithm>
#include <array>

namespace bezel::pool {

std::string parameter_key(std::string_view name) {
  std::string key(name);
  for (char& c : key) {
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  }
  return key;
}

bool parameter_is_session_state(std::string_view key) {
  static constexpr std::array<std::string_view, 6> kServersOwn = {"server_version",    "server_encoding",
                                                                  "integer_datetimes", "in_hot_standby",
                                                                  "is_superuser",      "session_authorization"};
  return std::find(kServersOwn.begin(), kServersOwn.end(), key) == kServersOwn.end();
}

namespace {

bool before(const std::pair<std::string, std::string>& entry, std::string_view key) {
  return entry.first < key;
}

/// Bytes that tell two sets apart, whatever is in them.
std::string identity(const std::vector<std::pair<std::string, std::string>>& values) {
  std::string bytes;
  for (const auto& [key, value] : values) bytes.append(key).push_back('\0'), bytes.append(value).push_back('\0');
  return bytes;
}

void append_quoted_literal(std::string& sql, std::string_view text) {
  // E'' so that the meaning does not hang on standard_conforming_strings.
  sql += "E'";
  for (char c : text) {
    if (c == '\'' || c == '\\') sql += c;
    sql += c;
  }
  sql += '\'';
}

void append_quoted_name(std::string& sql, std::string_view key) {
  // A name with a dot (extension.setting) is quoted part by part.
  sql += '"';
  for (char c : key) {
    if (c == '"') sql += '"';
    if (c == '.') {
      sql += "\".\"";
    } else {
      sql += c;
    }
  }
  sql += '"';
}

}  // namespace

const std::string* ParameterSet::find(std::string_view key) const {
  const auto at = std::lower_bound(values.begin(), values.end(), key, before);
  return at != values.end() && at->first == key ? &at->second : nullptr;
}

ParameterTable::ParameterTable() {
  empty_ = intern_sorted({});
}

ParameterSetPtr ParameterTable::intern(std::vector<std::pair<std::string, std::string>> values) {
  if (values.empty()) return empty_;
  if (values.size() == 1) return intern_sorted(std::move(values));
  std::stable_sort(values.begin(), values.end(), [](const auto& a, const auto& b) { return a.first < b.first; });
  std::vector<std::pair<std::string, std::string>> unique;
  for (auto& value : values) {
    if (!unique.empty() && unique.back().first == value.first) {
      unique.back().second = std::move(value.second);
    } else {
      unique.push_back(std::move(value));
    }
  }
  return intern_sorted(std::move(unique));
}

ParameterSetPtr ParameterTable::intern_sorted(std::vector<std::pair<std::string, std::string>> values) {
  if (sets_.size() >= sweep_at_) {
    std::erase_if(sets_, [](const auto& entry) { return entry.second.expired(); });
    sweep_at_ = std::max<size_t>(64, 2 * sets_.size());
  }
  std::weak_ptr<const ParameterSet>& slot = sets_[identity(values)];
  if (ParameterSetPtr known = slot.lock()) return known;
  auto made = std::make_shared<const ParameterSet>(ParameterSet{std::move(values)});
  slot = made;
  return made;
}

ParameterSetPtr ParameterTable::with(const ParameterSetPtr& set, std::string_view key, std::string_view value) {
  const std::string* now = set->find(key);
  if (now != nullptr && *now == value) return set;
  auto values = set->values;
  const auto at = std::lower_bound(values.begin(), values.end(), key, before);
  if (at != values.end() && at->first == key) {
    at->second = value;
  } else {
    values.emplace(at, key, value);
  }
  return intern_sorted(std::move(values));
}

ParameterSetPtr ParameterTable::without(const ParameterSetPtr& set, std::string_view key) {
  if (set->find(key) == nullptr) return set;
  auto values = set->values;
  values.erase(std::lower_bound(values.begin(), values.end(), key, before));
  return intern_sorted(std::move(values));
}

void ReportedParameters::set(std::string_view name, std::string_view value) {
  const std::string key = parameter_key(name);
  for (Entry& entry : entries_) {
    if (entry.key == key) {
      entry.value = value;
      return;
    }
  }
  entries_.push_back({key, std::string(name), std::string(value)});
}

const std::string* ReportedParameters::find(std::string_view key) const {
  for (const Entry& entry : entries_) {
    if (entry.key == key) return &entry.value;
  }
  return nullptr;
}

std::string parameter_change_sql(const ParameterSet& from, const ParameterSet& to, const ReportedParameters& defaults) {
  std::string resets, settings;
  for (const auto& [key, value] : from.values) {
    if (to.find(key) != nullptr) continue;
    resets += "RESET ";
    append_quoted_name(resets, key);
    resets += ';';
  }
  for (const auto& [key, value] : to.values) {
    const std::string* now = from.find(key);
    if (now == nullptr) now = defaults.find(key);
    if (now != nullptr && *now == value) continue;
    // set_config() takes the text as a startup packet does; SET would read a list (search_path) as one quoted name.
    settings += settings.empty() ? "SELECT pg_catalog.set_config(" : ",pg_catalog.set_config(";
    append_quoted_literal(settings, key);
    settings += ',';
    append_quoted_literal(settings, value);
    settings += ",false)";
  }
  return resets + settings;
}

}  // namespace bezel::pool
