#include "src/net/cpu_quota.h"

#include <sched.h>

#include <algorithm>
#include <cerrno>
#include <cmath>
#include <fstream>
#include <limits>
#include <sstream>
#include <string>
#include <thread>
#include <vector>

namespace bezel::net {
namespace {

namespace fs = std::filesystem;

/// Where a cgroup hierarchy is mounted, and which of its cgroups is seen there.
struct Mount {
  fs::path point;
  fs::path root;
};

struct CgroupFiles {
  std::optional<Mount> mount;
  std::optional<fs::path> path;  ///< of this process's cgroup in the hierarchy
};

/// The same for cgroup v2 (`unified`) and for the v1 hierarchy with the cpu controller.
struct Cgroups {
  CgroupFiles unified, cpu;
};

std::vector<std::string> split(const std::string& text, char separator) {
  std::vector<std::string> parts;
  std::istringstream stream(text);
  for (std::string part; std::getline(stream, part, separator);) parts.push_back(part);
  return parts;
}

bool lists_cpu(const std::string& options) {
  const auto all = split(options, ',');
  return std::find(all.begin(), all.end(), "cpu") != all.end();
}

/// /proc/self/mountinfo (proc(5)): ID parent major:minor ROOT POINT options [tags…] - TYPE source SUPER-OPTIONS
void find_mounts(const fs::path& root, Cgroups& cgroups) {
  std::ifstream file(root / "proc/self/mountinfo");
  for (std::string line; std::getline(file, line);) {
    const auto words = split(line, ' ');
    const auto dash = std::find(words.begin(), words.end(), "-");
    if (words.size() < 5 || words.end() - dash < 4) continue;
    const std::string& type = dash[1];
    const Mount mount{words[4], words[3]};
    if (type == "cgroup2") cgroups.unified.mount = mount;
    if (type == "cgroup" && lists_cpu(dash[3])) cgroups.cpu.mount = mount;
  }
}

/// /proc/self/cgroup (cgroups(7)): hierarchy:controllers:path, with "0::path" for v2.
void find_paths(const fs::path& root, Cgroups& cgroups) {
  std::ifstream file(root / "proc/self/cgroup");
  for (std::string line; std::getline(file, line);) {
    const size_t first = line.find(':');
    const size_t second = first == std::string::npos ? first : line.find(':', first + 1);
    if (second == std::string::npos) continue;
    const std::string controllers = line.substr(first + 1, second - first - 1);
    const std::string path = line.substr(second + 1);
    if (controllers.empty()) cgroups.unified.path = path;
    if (lists_cpu(controllers)) cgroups.cpu.path = path;
  }
}

/// cpu.max: "max 100000" or "50000 100000".
std::optional<double> quota_v2(const fs::path& folder) {
  std::ifstream file(folder / "cpu.max");
  double quota_us = 0, period_us = 0;
  if (!(file >> quota_us >> period_us) || quota_us <= 0 || period_us <= 0) return std::nullopt;
  return quota_us / period_us;
}

/// cpu.cfs_quota_us: -1 is no limit.
std::optional<double> quota_v1(const fs::path& folder) {
  std::ifstream quota(folder / "cpu.cfs_quota_us");
  std::ifstream period(folder / "cpu.cfs_period_us");
  double quota_us = 0, period_us = 0;
  if (!(quota >> quota_us) || !(period >> period_us) || quota_us <= 0 || period_us <= 0) return std::nullopt;
  return quota_us / period_us;
}

/// The folder of the process's cgroup below the mount point. In a container the path may be the host's, and only the
/// container's own cgroup is mounted: then that is the one.
fs::path folder_below(const CgroupFiles& files) {
  const fs::path seen = files.path->lexically_relative(files.mount->root);
  const bool is_below = !seen.empty() && *seen.begin() != "..";
  return is_below ? seen : fs::path(".");
}

std::optional<double> least_quota(const fs::path& root, const CgroupFiles& files,
                                  std::optional<double> (*quota_of)(const fs::path&)) {
  if (!files.mount.has_value() || !files.path.has_value()) return std::nullopt;
  const fs::path top = root / files.mount->point.relative_path();
  std::optional<double> least = quota_of(top);
  fs::path folder = top;
  for (const fs::path& part : folder_below(files)) {
    folder /= part;
    const auto quota = quota_of(folder);
    if (quota.has_value()) least = std::min(least.value_or(*quota), *quota);
  }
  return least;
}

}  // namespace

std::optional<double> cgroup_cpu_quota(const std::filesystem::path& root) {
  Cgroups cgroups;
  find_mounts(root, cgroups);
  find_paths(root, cgroups);
  const auto v2 = least_quota(root, cgroups.unified, quota_v2);
  const auto v1 = least_quota(root, cgroups.cpu, quota_v1);
  if (v2.has_value() && v1.has_value()) return std::min(*v2, *v1);
  return v2.has_value() ? v2 : v1;
}

int affinity_cpu_count() {
  // A machine may have more CPUs than cpu_set_t has bits; then the kernel refuses a set that is too small.
  for (size_t cpus = 1024; cpus <= size_t{1} << 20; cpus *= 2) {
    std::vector<char> memory(CPU_ALLOC_SIZE(cpus));
    auto* const set = reinterpret_cast<cpu_set_t*>(memory.data());
    if (::sched_getaffinity(0, memory.size(), set) == 0) return std::max(1, CPU_COUNT_S(memory.size(), set));
    if (errno != EINVAL) break;
  }
  return std::max(1, static_cast<int>(std::thread::hardware_concurrency()));
}

int automatic_worker_count(std::optional<double> quota, int cpu_count) {
  if (!quota.has_value() || *quota >= cpu_count) return std::max(1, cpu_count);
  return std::max(1, static_cast<int>(std::ceil(*quota)));
}

int automatic_worker_count() {
  return automatic_worker_count(cgroup_cpu_quota(), affinity_cpu_count());
}

}  // namespace bezel::net
