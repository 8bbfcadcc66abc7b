#include "bench/process_cost.h"

#include <dirent.h>
#include <unistd.h>

#include <fstream>
#include <memory>
#include <sstream>
#include <string>

namespace bezel::bench {
namespace {

std::optional<long long> cpu_us_of(const std::string& folder) {
  std::ifstream file(folder + "/stat");
  std::string line;
  if (!std::getline(file, line)) return std::nullopt;
  // The command's name stands in parentheses and may hold blanks itself: fields count from the last ')'.
  std::istringstream fields(line.substr(line.rfind(')') + 1));
  std::string skipped;
  for (int field = 3; field < 14; ++field) fields >> skipped;
  long long user_ticks = 0;
  long long system_ticks = 0;
  if (!(fields >> user_ticks >> system_ticks)) return std::nullopt;
  return (user_ticks + system_ticks) * 1'000'000 / sysconf(_SC_CLK_TCK);
}

void add_switches(const std::string& status_path, ProcessCost& cost) {
  std::ifstream file(status_path);
  std::string name;
  while (file >> name) {
    if (name == "voluntary_ctxt_switches:" || name == "nonvoluntary_ctxt_switches:") {
      long long count = 0;
      file >> count;
      (name[0] == 'v' ? cost.voluntary_switches : cost.involuntary_switches) += count;
    }
    std::getline(file, name);
  }
}

}  // namespace

std::optional<ProcessCost> read_process_cost(int pid) {
  const std::string folder = "/proc/" + std::to_string(pid);
  const auto cpu_us = cpu_us_of(folder);
  if (!cpu_us) return std::nullopt;
  ProcessCost cost;
  cost.cpu_us = *cpu_us;
  const std::unique_ptr<DIR, int (*)(DIR*)> tasks(opendir((folder + "/task").c_str()), closedir);
  if (!tasks) return std::nullopt;
  while (const dirent* entry = readdir(tasks.get())) {
    if (entry->d_name[0] != '.') add_switches(folder + "/task/" + entry->d_name + "/status", cost);
  }
  return cost;
}

ProcessCost operator-(const ProcessCost& later, const ProcessCost& earlier) {
  return {later.cpu_us - earlier.cpu_us, later.voluntary_switches - earlier.voluntary_switches,
          later.involuntary_switches - earlier.involuntary_switches};
}

}  // namespace bezel::bench
