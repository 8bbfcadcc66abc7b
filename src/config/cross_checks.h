#pragma once

#include <string>
#include <vector>

#include "pool/settings.h"

// What only shows when all settings are known.
namespace bezel::config {

struct Finding {
  std::string key;  ///< "auth_file", "databases.app"
  std::string message;
};

/// Settings that cannot hold together; with any of them the configuration is refused.
std::vector<Finding> contradictions(const pool::Settings& settings);

/// What is allowed and yet hardly meant.
std::vector<Finding> doubts(const pool::Settings& settings);

}  // namespace bezel::config
