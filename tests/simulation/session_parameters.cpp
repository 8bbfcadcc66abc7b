// The parameters of a session.

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "protocol/messages.h"
#include "protocol/sqlstate.h"
#include "tests/simulation/session.h"
#include "tests/simulation/sql_text.h"

namespace bezel::simulation {

namespace sqlstate = protocol::sqlstate;

namespace {

/// Parameters that the model has: key, name as reported (empty: not reported), default.
struct Known {
  std::string_view key, reported_name, value;
};
constexpr std::array kKnown{
    Known{"application_name", "application_name", ""},
    Known{"client_encoding", "client_encoding", "UTF8"},
    Known{"datestyle", "DateStyle", "ISO, MDY"},
    Known{"search_path", "", "\"$user\", public"},
    Known{"statement_timeout", "", "0"},
    Known{"timezone", "TimeZone", "UTC"},
};

}  // namespace

Session::Session(std::string database, std::string user, bool reports_at_once)
    : database_(std::move(database)), user_(std::move(user)), reports_at_once_(reports_at_once) {
  for (const Known& known : kKnown) defaults_.emplace(known.key, known.value);
  values_ = defaults_;
}

std::optional<protocol::ProtocolError> Session::check(std::string_view key, std::string& value) const {
  const bool known = std::any_of(kKnown.begin(), kKnown.end(), [&](const Known& one) { return one.key == key; });
  if (!known && key.find('.') == std::string_view::npos) {
    return protocol::ProtocolError{sqlstate::kUndefinedObject,
                                   fmt::format("unrecognized configuration parameter \"{}\"", key), "", ""};
  }
  const bool refused = (key == "timezone" && value == "Nowhere") || (key == "statement_timeout" && value == "abc");
  if (refused) {
    return protocol::ProtocolError{sqlstate::kInvalidParameterValue,
                                   fmt::format("invalid value for parameter \"{}\": \"{}\"", key, value), "", ""};
  }
  if (key == "datestyle" && value == "ISO") value = "ISO, MDY";
  if (key == "datestyle" && value == "German") value = "German, DMY";
  return std::nullopt;
}

std::optional<protocol::ProtocolError> Session::set(std::string_view name, std::string_view text) {
  const std::string key = lower(name);
  std::string value(text);
  if (auto error = check(key, value)) return error;
  values_[key] = value;
  local_before_.erase(key);
  return std::nullopt;
}

std::optional<protocol::ProtocolError> Session::start_with(std::string_view name, std::string_view value) {
  auto error = set(name, value);
  defaults_ = values_;
  return error;
}

std::vector<std::pair<std::string, std::string>> Session::reported() const {
  std::vector<std::pair<std::string, std::string>> list = {{"server_version", "15.0"}, {"in_hot_standby", "off"}};
  for (const Known& known : kKnown) {
    if (!known.reported_name.empty()) {
      list.emplace_back(known.reported_name, values_.find(std::string(known.key))->second);
    }
  }
  return list;
}

void Session::mark_all_reported() {
  reported_ = values_;
}

void Session::report(std::string& out) {
  for (const Known& known : kKnown) {
    const std::string key(known.key);
    if (known.reported_name.empty() || values_[key] == reported_[key]) continue;
    protocol::append_parameter_status(out, known.reported_name, values_[key]);
  }
  reported_ = values_;
}

const std::string* Session::value(const std::string& key) const {
  const auto at = values_.find(key);
  return at == values_.end() ? nullptr : &at->second;
}

void Session::note_reported(const std::string& name, const std::string& value) {
  for (const Known& known : kKnown) {
    if (known.reported_name == name) reported_[std::string(known.key)] = value;
  }
}

bool Session::run_set_config(std::string_view text, std::string& out) {
  std::vector<std::string> results;
  for (size_t at = text.find("E'"); at != std::string_view::npos; at = text.find("E'", at)) {
    const std::string key = quoted_literal(text, at);
    at = text.find("E'", at);
    const std::string value = quoted_literal(text, at);
    if (const auto error = set(key, value)) return fail(out, error->sqlstate, error->message);
    results.push_back(values_[lower(key)]);
  }
  const std::vector<protocol::ColumnDescription> columns(results.size(), {"set_config"});
  const std::vector<std::optional<std::string_view>> row(results.begin(), results.end());
  protocol::append_row_description(out, columns);
  protocol::append_data_row(out, row);
  if (reports_at_once_) report(out);
  protocol::append_command_complete(out, "SELECT 1");
  return true;
}

bool Session::run_set(const std::vector<std::string>& words, std::string& out) {
  if (words[0] == "set") {
    const bool local = words[1] == "local";
    const std::string key = lower(words[local ? 2 : 1]);
    const std::string& value = words[local ? 3 : 2];
    if (local && status_ != 'T') {
      protocol::append_notice_response(out, protocol::severity::kWarning, sqlstate::kNoActiveSqlTransaction,
                                       "SET LOCAL can only be used in transaction blocks");
    } else {
      const std::string before = values_[key];
      const bool was_local = local_before_.contains(key);
      const std::string local_before = was_local ? local_before_[key] : before;
      if (const auto error = set(key, value)) return fail(out, error->sqlstate, error->message);
      if (local) local_before_[key] = local_before;
    }
  } else {
    const std::string key = lower(unquoted_name(words[1]));
    if (words[1] == "ALL") {
      values_ = defaults_;
      local_before_.clear();
    } else if (!defaults_.contains(key)) {
      values_.erase(key);
    } else {
      values_[key] = defaults_[key];
      local_before_.erase(key);
    }
  }
  if (reports_at_once_) report(out);
  protocol::append_command_complete(out, words[0] == "set" ? "SET" : "RESET");
  return true;
}

}  // namespace bezel::simulation
