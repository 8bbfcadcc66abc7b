#include "admin/process_figures.h"

#include <dirent.h>
#include <sys/resource.h>
#include <unistd.h>

#include <cstdio>
#include <cstring>
#include <string>

namespace bezel::admin {

namespace {

/// The start of a small file.
std::string read_file(const char* path) {
  std::string text;
  FILE* file = std::fopen(path, "re");
  if (file == nullptr) return text;
  char buffer[4096];
  text.assign(buffer, std::fread(buffer, 1, sizeof(buffer), file));
  std::fclose(file);
  return text;
}

uint64_t count_open_fds() {
  DIR* directory = opendir("/proc/self/fd");
  if (directory == nullptr) return 0;
  uint64_t count = 0;
  while (const dirent* entry = readdir(directory))
    if (entry->d_name[0] != '.') count++;
  closedir(directory);
  return count == 0 ? 0 : count - 1;  // without the one that reads them
}

/// When the machine was started, seconds since 1970.
double boot_time_seconds() {
  FILE* file = std::fopen("/proc/stat", "re");
  if (file == nullptr) return 0;
  char line[256];
  double boot_time = 0;
  while (std::fgets(line, sizeof(line), file) != nullptr)
    if (std::sscanf(line, "btime %lf", &boot_time) == 1) break;
  std::fclose(file);
  return boot_time;
}

void read_stat(ProcessFigures& figures) {
  const std::string stat = read_file("/proc/self/stat");
  const size_t name_end = stat.rfind(')');  // the name may hold anything
  if (name_end == std::string::npos) return;
  unsigned long user_ticks = 0, system_ticks = 0, virtual_bytes = 0;
  unsigned long long start_ticks = 0;
  long resident_pages = 0;
  const int read =
      std::sscanf(stat.c_str() + name_end + 1,
                  " %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu %*d %*d %*d %*d %*d %*d %llu %lu %ld",
                  &user_ticks, &system_ticks, &start_ticks, &virtual_bytes, &resident_pages);
  if (read != 5) return;
  const auto ticks_per_second = static_cast<double>(sysconf(_SC_CLK_TCK));
  figures.cpu_seconds = static_cast<double>(user_ticks + system_ticks) / ticks_per_second;
  figures.start_time_seconds = boot_time_seconds() + static_cast<double>(start_ticks) / ticks_per_second;
  figures.virtual_bytes = virtual_bytes;
  figures.resident_bytes = static_cast<uint64_t>(resident_pages) * figures.page_bytes;
}

}  // namespace

ProcessFigures process_figures() {
  ProcessFigures figures;
  figures.page_bytes = static_cast<uint64_t>(sysconf(_SC_PAGESIZE));
  read_stat(figures);
  figures.open_fds = count_open_fds();
  rlimit limit{};
  if (getrlimit(RLIMIT_NOFILE, &limit) == 0) figures.max_fds = limit.rlim_cur;
  return figures;
}

}  // namespace bezel::admin
