// The configuration, bezel.yaml. The file is a real one; those that it may name are none.

#include <string>

#include "src/config/setting.h"
#include "src/config/settings_loader.h"
#include "src/config/settings_registry.h"
#include "tests/fuzz/target.h"
#include "tests/unit/config_folder.h"

namespace {

using namespace bezel;
using fuzz::must;

const config::Environment kEnvironment = {{"PASSWORD", "geheim"}, {"NUMBER", "7"}};

/// What SHOW CONFIG prints can be set again.
void check_values(const pool::Settings& settings) {
  pool::Settings again = settings;
  for (const config::Setting& setting : config::settings_table()) {
    const auto fault = config::assign(again, setting, config::format_value(settings, setting));
    const bool is_hidden = setting.name == "auth_ldap_options";
    must(is_hidden || (!fault && config::equal_value(settings, again, setting)), setting.name);
  }
}

void check_databases(const pool::Settings& settings) {
  for (const auto& [name, database] : settings.databases) {
    must(name == database.name, "an entry is called by its name");
    must(!database.hosts.empty() || database.upstream, "a database leads somewhere");
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const config::ConfigFolder kFolder;
  const std::string text(fuzz::as_text(data, size));
  // An absolute name leads out of the folder, to whatever is there.
  if (text.find("file") != std::string::npos || text.find("include") != std::string::npos) {
    if (text.find('/') != std::string::npos || text.find("..") != std::string::npos) return 0;
  }
  const config::LoadResult result = config::load(kFolder.write("fuzz.yaml", text), kEnvironment);
  must(result.ok() == result.errors.empty(), "settings or errors");
  must(result.errors.size() <= config::ProblemList::kProblemsMax + 1, "not more errors than anybody reads");
  for (const config::Problem& problem : result.errors) {
    must(problem.text().find("geheim") == std::string::npos || text.find("geheim") != std::string::npos,
         "no error shows a password");
  }
  if (!result.ok()) return 0;
  check_values(*result.settings);
  check_databases(*result.settings);
  return 0;
}
