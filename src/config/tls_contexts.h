#pragma once

#include <vector>

#include "src/config/cross_checks.h"

namespace bezel::config {

/// Reads the files of the TLS settings and fills in `client_tls` and `server_tls`. What is wrong, by setting; then
/// nothing is filled in. Blocks on files.
std::vector<Finding> make_tls_contexts(pool::Settings& settings);

}  // namespace bezel::config
