#pragma once

#include <functional>
#include <iosfwd>
#include <map>
#include <string>
#include <vector>

#include "pool/settings.h"
#include "src/config/problem.h"

namespace bezel::config {

/// The variables that ${NAME} in a value may use.
using Environment = std::map<std::string, std::string, std::less<>>;

/// A copy of this process's environment. Not to be called while another thread changes it.
Environment process_environment();

/// What became of a configuration file: settings, or at least one error. Warnings may come with either.
struct LoadResult {
  pool::SettingsPtr settings;     ///< null when there is any error: all or nothing
  std::vector<Problem> errors;    ///< at most ProblemList::kProblemsMax and a line that counts the rest
  std::vector<Problem> warnings;  ///< likewise

  bool ok() const { return settings != nullptr; }
};

/// Reads the YAML file at `path`, what it includes, its auth_file, auth_hba_file and auth_ident_file. Looks at nothing
/// else (no PG* variables, no passfile, no service file), keeps no state and throws nothing; it blocks on file reads,
/// so call it outside the event loops. docs/configuration.md says what a file may hold.
LoadResult load(const std::string& path, const Environment& environment);

/// `bezel --check-config`: loads the file with the process's environment, writes every error and warning, one a line,
/// and "PATH: configuration is valid" when there is no error. Returns the exit code: 0 valid, 1 not.
int check_config(const std::string& path, std::ostream& out);

}  // namespace bezel::config
