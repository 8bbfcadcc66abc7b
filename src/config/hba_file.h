#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "pool/hba.h"
#include "pool/ident_map.h"
#include "src/config/problem.h"

namespace bezel::config {

/// The rules of an auth_hba_file, whose content is given. What is wrong, or not supported, becomes an error with its
/// line; then the result is of no use. Blocks on the files that it includes, whose names are added to `included`.
std::shared_ptr<const pool::HbaRules> read_hba_file(const std::string& path, std::string_view content,
                                                    const pool::IdentMaps& maps, ProblemList& errors,
                                                    std::vector<std::string>& included);

/// The maps of an auth_ident_file, in the same way.
pool::IdentMaps read_ident_file(const std::string& path, std::string_view content, ProblemList& errors,
                                std::vector<std::string>& included);

}  // namespace bezel::config
