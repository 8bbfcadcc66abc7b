// Connection strings, of which databases and users are made.

#include <set>
#include <string>

#include "src/config/conninfo.h"
#include "src/config/database_entry.h"
#include "tests/fuzz/target.h"

namespace {

using namespace bezel::config;
using bezel::fuzz::must;

const Environment kEnvironment = {{"PASSWORD", "geheim '\\ x=y"}, {"WHOLE", "host=h port=5433"}};

bool is_uri(std::string_view text) {
  return text.starts_with("postgres://") || text.starts_with("postgresql://");
}

std::string written(const std::vector<Parameter>& parameters) {
  std::string text;
  for (const Parameter& parameter : parameters) {
    text += parameter.key + "='";
    for (const char c : parameter.value) {
      if (c == '\'' || c == '\\') text += '\\';
      text += c;
    }
    text += "' ";
  }
  return text;
}

void check_again(const Conninfo& conninfo) {
  const std::string text = written(conninfo.parameters);
  if (text.find("${") != std::string::npos) return;  // a variable's value is not looked into again, this would be
  const Conninfo again = parse_conninfo(text, kEnvironment);
  must(again.error.empty() && again.parameters.size() == conninfo.parameters.size(), "a written string is one");
  for (size_t i = 0; i < again.parameters.size(); i++) {
    must(again.parameters[i].key == conninfo.parameters[i].key, "with the same keywords");
    must(again.parameters[i].value == conninfo.parameters[i].value, "and values");
  }
}

void check_entries(const Conninfo& conninfo) {
  bezel::pool::DatabaseSettings database;
  if (read_database(conninfo.parameters, "/tmp", std::nullopt, database).empty()) {
    must(!database.hosts.empty() || database.upstream, "a database leads somewhere");
  }
  bezel::pool::UserSettings user;
  read_user(conninfo.parameters, user);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view text = bezel::fuzz::as_text(data, size);
  const Conninfo conninfo = parse_conninfo(text, kEnvironment);
  must(conninfo.error.find("geheim") == std::string::npos, "no error shows a password");
  if (!conninfo.error.empty()) return 0;
  std::set<std::string> keys;
  for (const Parameter& parameter : conninfo.parameters) must(keys.insert(parameter.key).second, "no keyword twice");
  // libpq lets control characters through in a URI, which a string of keywords may not have.
  if (!is_uri(text)) check_again(conninfo);
  check_entries(conninfo);
  return 0;
}
