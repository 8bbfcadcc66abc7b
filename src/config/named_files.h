#pragma once

#include <functional>
#include <string>
#include <vector>

#include "pool/settings.h"
#include "src/config/problem.h"

// The files that settings name, and whose contents are part of the settings.
namespace bezel::config {

/// What is wrong with a file as a whole, and the setting that names it.
using FileFailed = std::function<void(const std::string& key, std::string message)>;

/// Reads who may log in, and how: auth_file, auth_hba_file, auth_ident_file, auth_ldap_options. Faulty lines go to
/// `faults`.
void read_user_files(pool::Settings& settings, ProblemList& faults, const FileFailed& failed);

/// Reads all of them anew: users, rules, certificates, keys. With any problem `settings` must not be used but for
/// named_files().
std::vector<Problem> read_named_files(pool::Settings& settings);

/// Their names, with those that were included when they were read, and folders as NAME/. . Some may be empty, or
/// missing.
std::vector<std::string> named_files(const pool::Settings& settings);

}  // namespace bezel::config
