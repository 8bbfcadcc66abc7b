#pragma once

#include <string>

namespace bezel::config {

/// docs/configuration.md, the whole file, from the settings' registry. A unit test compares the two.
std::string configuration_markdown();

}  // namespace bezel::config
