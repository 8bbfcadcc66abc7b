#pragma once

#include <string>
#include <string_view>

#include "src/config/settings_loader.h"

namespace bezel::config {

/// A text with its ${...} replaced, or what is wrong with them. Errors name variables, never their values.
struct Substitution {
  std::string text;
  std::string error;  ///< empty: all is well
};

/// Replaces ${NAME} by the variable's value and ${NAME:-default} by `default` when the variable is unset or empty;
/// "$${" stands for "${". What a variable holds is not looked into again.
Substitution substitute(std::string_view text, const Environment& environment);

/// True if `text` is one ${...} and nothing else.
bool is_one_substitution(std::string_view text);

/// The length of the ${...} (or of the escape "$${") at the front of `text`; 0 when there is none.
size_t substitution_bytes(std::string_view text);

}  // namespace bezel::config
