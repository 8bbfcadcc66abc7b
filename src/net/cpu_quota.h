#pragma once

#include <filesystem>
#include <optional>

namespace bezel::net {

/// How many CPUs' time the cgroup of this process may use: the least quota of its cgroup and all above it, of cgroup v2
/// or v1. Nothing when there is no limit. `root` is where /proc and /sys are found.
std::optional<double> cgroup_cpu_quota(const std::filesystem::path& root = "/");

/// How many CPUs this process may run on (sched_getaffinity(2)); at least 1.
int affinity_cpu_count();

/// The number of event loops for `workers: auto`: the quota rounded up, no more than the CPUs there are, at least 1.
int automatic_worker_count(std::optional<double> quota, int cpu_count);
int automatic_worker_count();

}  // namespace bezel::net
