#include "src/config/settings_loader.h"

#include <fmt/format.h>
#include <unistd.h>

#include <memory>
#include <ostream>
#include <set>
#include <utility>

#include "src/config/configuration_file.h"
#include "src/config/conninfo.h"
#include "src/config/cross_checks.h"
#include "src/config/database_entry.h"
#include "src/config/named_files.h"
#include "src/config/setting.h"
#include "src/config/spelling.h"
#include "src/config/tls_contexts.h"
#include "src/config/upstream_entry.h"

namespace bezel::config {

namespace {

using pool::Settings;

constexpr std::string_view kUpstreamKey = "upstream";

/// Turns a configuration file into settings, with every error on the way collected.
class Loader {
 public:
  Loader(const std::string& path, const Environment& environment) : path_(path), environment_(environment) {}

  LoadResult load() {
    const Configuration configuration = read_configuration(path_, environment_, errors_);
    for (const auto& [name, item] : configuration.settings) {
      if (name == kUpstreamKey) {
        load_upstream(item);
      } else {
        load_setting(name, item);
      }
    }
    for (const auto& [name, item] : configuration.databases) load_database(name, item);
    for (const auto& [name, item] : configuration.users) load_user(name, item);
    load_named_files(configuration);
    if (configuration.complete) check(configuration);
    if (failed_keys_.empty()) {
      for (const Finding& finding : make_tls_contexts(*settings_)) errors_.add(placed(finding, configuration));
    }
    LoadResult result;
    result.errors = errors_.take();
    if (!result.errors.empty()) return result;
    for (const Finding& finding : doubts(*settings_)) warnings_.add(placed(finding, configuration));
    result.warnings = warnings_.take();
    result.settings = settings_;
    return result;
  }

 private:
  /// Contradictions that do not just follow from another error.
  void check(const Configuration& configuration) {
    for (const Finding& finding : contradictions(*settings_)) {
      if (failed_keys_.count(finding.key) == 0) errors_.add(placed(finding, configuration));
    }
  }

  void fail(const Origin& origin, const std::string& key, std::string message) {
    failed_keys_.insert(key);
    errors_.add({origin.file, origin.line, key, std::move(message)});
  }

  void load_setting(const std::string& name, const Item& item) {
    const Setting* setting = find_setting(name);
    if (setting == nullptr) {
      fail(item.origin, name, unknown_setting_message(name));
    } else if (item.node.IsSequence()) {
      load_list(*setting, item);
    } else {
      load_scalar(*setting, item);
    }
  }

  void load_scalar(const Setting& setting, const Item& item) {
    const std::string name(setting.name);
    TextValue value = text_value(item.node, environment_);
    if (!value.error.empty()) {
      fail(item.origin, name, fmt::format("expected {}; {}", expected_value(setting), value.error));
      return;
    }
    if (std::holds_alternative<FileKind>(setting.kind) && !value.text.empty()) {
      value.text = path_beside(item.origin.file, value.text);
    }
    if (const std::optional<std::string> expected = assign(*settings_, setting, value.text)) {
      fail(item.origin, name, fmt::format("expected {}; found {}", *expected, quoted(value.text)));
    }
  }

  void load_list(const Setting& setting, const Item& item) {
    const std::string name(setting.name);
    std::vector<std::string> values;
    for (const YAML::Node& node : item.node) {
      TextValue value = text_value(node, environment_);
      if (value.error.empty() && value.text.empty()) value.error = "found an empty text";
      if (!value.error.empty()) {
        const int line = node.IsNull() ? item.origin.line : node.Mark().line + 1;
        fail({item.origin.file, line}, name,
             fmt::format("expected {}; {} in the list", expected_value(setting), value.error));
        return;
      }
      values.push_back(std::move(value.text));
    }
    if (const std::optional<std::string> expected = assign_list(*settings_, setting, values)) {
      fail(item.origin, name, fmt::format("expected {}; found a list", *expected));
    }
  }

  /// What an entry of databases: or users: says, whichever way it is written. Nothing when it cannot be read.
  std::optional<std::vector<Parameter>> parameters_of(const std::string& key, const Item& item) {
    if (item.node.IsNull()) return std::vector<Parameter>();
    if (item.node.IsMap()) return parameters_of_map(key, item);
    const TextValue text = raw_text_value(item.node);
    if (!text.error.empty()) {
      fail(item.origin, key, fmt::format("expected a connection string or a map; {}", text.error));
      return std::nullopt;
    }
    Conninfo conninfo = parse_conninfo(text.text, environment_);
    if (!conninfo.error.empty()) {
      fail(item.origin, key, std::move(conninfo.error));
      return std::nullopt;
    }
    return std::move(conninfo.parameters);
  }

  /// For all databases that say nothing else.
  void load_upstream(const Item& item) {
    const std::string key(kUpstreamKey);
    if (!item.node.IsMap()) {
      return fail(item.origin, key, fmt::format("expected a map, found {}", kind_of_node(item.node)));
    }
    const std::optional<std::vector<Parameter>> parameters = parameters_of_map(key, item);
    if (!parameters) return;
    pool::UpstreamSettings upstream;
    const std::vector<EntryError> errors = read_upstream(*parameters, true, upstream);
    if (!errors.empty()) return report(key, item, errors);
    settings_->upstream = std::move(upstream);
  }

  std::optional<std::vector<Parameter>> parameters_of_map(const std::string& key, const Item& item) {
    const bool of_upstream = key == kUpstreamKey || key.ends_with(".upstream");
    std::vector<Parameter> parameters;
    bool all_read = true;
    for (const auto& [name, value] : map_items(item.node, item.origin.file, key, errors_)) {
      if (!of_upstream && name == kUpstreamKey && value.node.IsMap()) {
        const auto inner = parameters_of_map(fmt::format("{}.{}", key, name), value);
        all_read = all_read && inner;
        if (!inner) continue;
        for (const Parameter& one : *inner) {
          parameters.push_back({fmt::format("{}.{}", name, one.key), one.value, one.line});
        }
        continue;
      }
      const bool listable = of_upstream ? upstream_list_parameter(name) : name == "host" || name == "port";
      TextValue text =
          listable && value.node.IsSequence() ? joined_list(value.node) : text_value(value.node, environment_);
      if (!text.error.empty()) {
        fail(value.origin, fmt::format("{}.{}", key, name),
             fmt::format("expected a text{}; {}", listable ? " or a list" : "", text.error));
        all_read = false;
        continue;
      }
      if (of_upstream && upstream_file_parameter(name) && !text.text.empty()) {
        text.text = path_beside(value.origin.file, text.text);
      }
      parameters.push_back({name, std::move(text.text), value.origin.line});
    }
    if (!all_read) return std::nullopt;
    return parameters;
  }

  TextValue joined_list(const YAML::Node& list) {
    TextValue joined;
    for (const YAML::Node& node : list) {
      const TextValue value = text_value(node, environment_);
      if (!value.error.empty()) return {{}, value.error + " in the list"};
      if (value.text.empty()) return {{}, "found an empty text in the list"};
      if (!joined.text.empty()) joined.text += ',';
      joined.text += value.text;
    }
    if (joined.text.empty()) joined.error = "found an empty list";
    return joined;
  }

  void report(const std::string& key, const Item& item, const std::vector<EntryError>& errors) {
    failed_keys_.insert(key);
    for (const EntryError& error : errors) {
      const Origin origin = {item.origin.file, error.line > 0 ? error.line : item.origin.line};
      fail(origin, error.key.empty() ? key : fmt::format("{}.{}", key, error.key), error.message);
    }
  }

  void load_database(const std::string& name, const Item& item) {
    const std::string key = "databases." + name;
    if (name == "pgbouncer" || name == "bezel") {
      fail(item.origin, key, "this name is reserved for the console");
      return;
    }
    const std::optional<std::vector<Parameter>> parameters = parameters_of(key, item);
    if (!parameters) return;
    pool::DatabaseSettings database;
    database.name = name;
    const std::vector<EntryError> errors =
        read_database(*parameters, settings_->unix_socket_dir, settings_->upstream, database);
    if (!errors.empty()) {
      report(key, item, errors);
      return;
    }
    if (database.upstream) {
      pool::UpstreamSettings& upstream = *database.upstream;
      upstream.dns_max_ttl_us = settings_->dns_max_ttl_us;
      upstream.dns_nxdomain_ttl_us = settings_->dns_nxdomain_ttl_us;
      upstream.resolv_conf = settings_->resolv_conf;
    }
    settings_->databases.emplace(name, std::move(database));
  }

  void load_user(const std::string& name, const Item& item) {
    const std::string key = "users." + name;
    const std::optional<std::vector<Parameter>> parameters = parameters_of(key, item);
    if (!parameters) return;
    pool::UserSettings user;
    user.name = name;
    const std::vector<EntryError> errors = read_user(*parameters, user);
    if (!errors.empty()) {
      report(key, item, errors);
      return;
    }
    settings_->users.emplace(name, std::move(user));
  }

  void load_named_files(const Configuration& configuration) {
    read_user_files(*settings_, errors_, [&](const std::string& key, std::string message) {
      fail(origin_of(key, configuration), key, std::move(message));
    });
  }

  /// Where a key stands: "auth_file", "databases.app", "databases.app.pool_size".
  Origin origin_of(const std::string& key, const Configuration& configuration) const {
    if (const auto found = configuration.settings.find(key); found != configuration.settings.end()) {
      return found->second.origin;
    }
    for (const auto& [section, items] :
         {std::pair("databases.", &configuration.databases), {"users.", &configuration.users}}) {
      if (key.rfind(section, 0) != 0) continue;
      const std::string name = key.substr(std::string_view(section).size());
      if (const auto found = items->find(name); found != items->end()) return found->second.origin;
      const auto found = items->find(name.substr(0, name.rfind('.')));
      if (found != items->end()) return found->second.origin;
    }
    return {path_, 0};
  }

  Problem placed(const Finding& finding, const Configuration& configuration) const {
    const Origin origin = origin_of(finding.key, configuration);
    return {origin.file, origin.line, finding.key, finding.message};
  }

  const std::string& path_;
  const Environment& environment_;
  std::shared_ptr<Settings> settings_ = std::make_shared<Settings>();
  std::set<std::string> failed_keys_;
  ProblemList errors_, warnings_;
};

}  // namespace

Environment process_environment() {
  Environment variables;
  for (char** entry = environ; entry != nullptr && *entry != nullptr; ++entry) {
    const std::string_view text(*entry);
    const size_t equals = text.find('=');
    if (equals != std::string_view::npos) variables.emplace(text.substr(0, equals), text.substr(equals + 1));
  }
  return variables;
}

LoadResult load(const std::string& path, const Environment& environment) {
  try {
    return Loader(path, environment).load();
  } catch (const std::exception& exception) {
    // What YAML, memory or the file system may still throw: no half-read configuration gets out.
    LoadResult result;
    result.errors.push_back({path, 0, {}, fmt::format("cannot be loaded: {}", exception.what())});
    return result;
  }
}

int check_config(const std::string& path, std::ostream& out) {
  const LoadResult result = load(path, process_environment());
  for (const Problem& error : result.errors) out << error.text() << '\n';
  for (const Problem& warning : result.warnings) out << "warning: " << warning.text() << '\n';
  if (result.ok()) out << path << ": configuration is valid\n";
  return result.ok() ? 0 : 1;
}

}  // namespace bezel::config
