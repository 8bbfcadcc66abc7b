#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace bezel::config {

/// The candidate that `word` is most likely a misspelling of; empty when none is near.
std::string_view nearest_spelling(std::string_view word, const std::vector<std::string_view>& candidates);

/// "; did you mean \"x\"?", or nothing when no candidate is near.
std::string did_you_mean(std::string_view word, const std::vector<std::string_view>& candidates);

/// `text` in single quotes for an error message: control characters replaced, cut at 80 bytes.
std::string quoted(std::string_view text);

}  // namespace bezel::config
