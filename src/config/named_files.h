#pragma once

#include <optional>
#include <string>
#include <vector>

#include "pool/settings.h"
#include "src/config/problem.h"

// The files that settings name, and whose contents are part of the settings.
namespace bezel::config {

/// Fills `secrets` from auth_file. Faulty lines go to `faults`. Returns why the file could not be read, if so.
std::optional<std::string> read_auth_file(pool::Settings& settings, std::vector<Problem>& faults);

/// Reads all of them anew: users' secrets, certificates, keys. With any problem `settings` must not be used.
std::vector<Problem> read_named_files(pool::Settings& settings);

/// Their names.
std::vector<std::string> named_files(const pool::Settings& settings);

}  // namespace bezel::config
