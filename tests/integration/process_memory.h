#pragma once

#include <sys/types.h>

#include <string>

namespace bezel::integration {

/// How often the text is in the memory of a child process: in all that it can write to.
int occurrences(pid_t pid, const std::string& text);

}  // namespace bezel::integration
