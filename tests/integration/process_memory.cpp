#include "integration/process_memory.h"

#include <fcntl.h>
#include <unistd.h>

#include <cstdio>
#include <fstream>
#include <stdexcept>

namespace bezel::integration {

int occurrences(pid_t pid, const std::string& text) {
  const std::string folder = "/proc/" + std::to_string(pid);
  const int memory = open((folder + "/mem").c_str(), O_RDONLY | O_CLOEXEC);
  if (memory < 0) throw std::runtime_error("the memory of a child cannot be read");
  std::ifstream maps(folder + "/maps");
  int found = 0;
  for (std::string line; std::getline(maps, line);) {
    unsigned long begin = 0, end = 0;
    char access[5] = "";
    if (std::sscanf(line.c_str(), "%lx-%lx %4s", &begin, &end, access) != 3 || std::string(access, 2) != "rw") continue;
    std::string bytes(end - begin, '\0');
    const ssize_t got = pread(memory, bytes.data(), bytes.size(), static_cast<off_t>(begin));
    bytes.resize(got > 0 ? static_cast<size_t>(got) : 0);
    for (size_t at = bytes.find(text); at != std::string::npos; at = bytes.find(text, at + 1)) found++;
  }
  close(memory);
  return found;
}

}  // namespace bezel::integration
