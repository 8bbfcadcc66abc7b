#pragma once

#include <sys/types.h>

#include <string>

namespace bezel::integration {

/// How often the text is in the memory of a child process: in all that it can write to.
int occurrences(pid_t pid, const std::string& text);

/// A sanitizer maps terabytes, and keeps what is freed.
#ifdef BEZEL_SANITIZED
inline constexpr bool kMemoryCanBeSearched = false;
#else
inline constexpr bool kMemoryCanBeSearched = true;
#endif

}  // namespace bezel::integration
