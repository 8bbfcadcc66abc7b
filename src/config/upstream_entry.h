#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "pool/upstream_settings.h"
#include "src/config/conninfo.h"
#include "src/config/database_entry.h"

// What an `upstream:` may say.
namespace bezel::config {

/// A parameter of the upstream among those of a database bears this prefix.
inline constexpr std::string_view kUpstreamPrefix = "upstream.";

/// Reads an upstream's parameters (without the prefix). `needs_hosts`: static and dns are errors without a host of
/// their own; else the database's hosts will be theirs.
std::vector<EntryError> read_upstream(const std::vector<Parameter>& parameters, bool needs_hosts,
                                      pool::UpstreamSettings& upstream);

/// Parameters whose value may be a YAML list.
bool upstream_list_parameter(std::string_view name);
/// Parameters that name files, relative to the configuration's folder.
bool upstream_file_parameter(std::string_view name);

const std::vector<EntryKeyword>& upstream_keywords();

}  // namespace bezel::config
