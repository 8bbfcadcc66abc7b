#include <fmt/format.h>

#include <map>
#include <utility>
#include <vector>

#include "src/config/hba_file.h"
#include "src/config/hba_tokens.h"

namespace bezel::config {

namespace {

/// "" or what is wrong with a line.
std::string add_line(const HbaLine& line, std::map<std::string, pool::IdentMap>& maps) {
  constexpr size_t kFields = 3;
  if (line.fields.size() != kFields) {
    return fmt::format("expected a map, a system user and a database user; found {} field{}", line.fields.size(),
                       line.fields.size() == 1 ? "" : "s");
  }
  for (const HbaField& field : line.fields) {
    if (field.size() != 1) return "expected one name in each field; found a list";
  }
  const std::string& system_user = line.fields[1][0].text;
  const HbaToken& database_user = line.fields[2][0];
  if (system_user.empty()) return "expected a system user; found an empty name";
  pool::IdentMap& map = maps[line.fields[0][0].text];
  if (database_user.is("all")) return map.add_for_all(system_user);
  if (!database_user.quoted && database_user.text.starts_with('+')) {
    return fmt::format("\"{}\": groups are not supported: Bezel does not know them", database_user.text);
  }
  if (database_user.text.starts_with('/')) {
    return fmt::format("\"{}\": a regular expression is supported for the system user only", database_user.text);
  }
  return map.add(system_user, database_user.text);
}

}  // namespace

pool::IdentMaps read_ident_file(const std::string& path, std::string_view content, ProblemList& errors,
                                std::vector<std::string>& included) {
  std::map<std::string, pool::IdentMap> maps;
  for (const HbaLine& line : read_hba_lines(path, content, errors, included)) {
    if (std::string error = add_line(line, maps); !error.empty()) {
      errors.add({line.file, line.line, {}, std::move(error)});
    }
  }
  pool::IdentMaps result;
  for (auto& [name, map] : maps) result.emplace(name, std::make_shared<pool::IdentMap>(std::move(map)));
  return result;
}

}  // namespace bezel::config
