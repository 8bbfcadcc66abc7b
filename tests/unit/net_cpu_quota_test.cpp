#include <doctest/doctest.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>

#include "src/net/cpu_quota.h"

namespace bezel::net {
namespace {

/// A folder that looks like / to the code under test.
class FakeRoot {
 public:
  FakeRoot() {
    std::string path = (std::filesystem::temp_directory_path() / "bezel-cgroup-XXXXXX").string();
    REQUIRE(::mkdtemp(path.data()) != nullptr);
    path_ = path;
  }
  FakeRoot(const FakeRoot&) = delete;
  FakeRoot& operator=(const FakeRoot&) = delete;
  ~FakeRoot() { std::filesystem::remove_all(path_); }

  void file(const std::string& path, const std::string& text) {
    std::filesystem::create_directories((path_ / path).parent_path());
    std::ofstream(path_ / path) << text;
  }
  std::optional<double> quota() const { return cgroup_cpu_quota(path_); }

 private:
  std::filesystem::path path_;
};

constexpr const char* kMountV2 = "35 24 0:30 / /sys/fs/cgroup rw,nosuid shared:9 - cgroup2 cgroup2 rw,nsdelegate\n";
constexpr const char* kMountV1 =
    "30 24 0:26 / /sys/fs/cgroup ro,nosuid shared:9 - tmpfs tmpfs ro,mode=755\n"
    "31 30 0:27 / /sys/fs/cgroup/memory rw shared:10 - cgroup cgroup rw,memory\n"
    "32 30 0:28 / /sys/fs/cgroup/cpu,cpuacct rw shared:11 - cgroup cgroup rw,cpu,cpuacct\n"
    "33 30 0:29 / /sys/fs/cgroup/cpuset rw shared:12 - cgroup cgroup rw,cpuset\n";

TEST_CASE("cpu quota: none without cgroups") {
  FakeRoot root;
  CHECK_FALSE(root.quota().has_value());
}

TEST_CASE("cpu quota: cgroup v2, in a container of its own") {
  FakeRoot root;
  root.file("proc/self/mountinfo", kMountV2);
  root.file("proc/self/cgroup", "0::/\n");
  root.file("sys/fs/cgroup/cpu.max", "50000 100000\n");
  REQUIRE(root.quota().has_value());
  CHECK(*root.quota() == doctest::Approx(0.5));
  root.file("sys/fs/cgroup/cpu.max", "max 100000\n");
  CHECK_FALSE(root.quota().has_value());
}

TEST_CASE("cpu quota: cgroup v2, the least of all levels counts") {
  FakeRoot root;
  root.file("proc/self/mountinfo", kMountV2);
  root.file("proc/self/cgroup", "0::/system.slice/bezel.service\n");
  root.file("sys/fs/cgroup/system.slice/cpu.max", "150000 100000\n");
  root.file("sys/fs/cgroup/system.slice/bezel.service/cpu.max", "400000 100000\n");
  REQUIRE(root.quota().has_value());
  CHECK(*root.quota() == doctest::Approx(1.5));
}

TEST_CASE("cpu quota: cgroup v1, also where only the container's own cgroup is mounted") {
  FakeRoot root;
  root.file("proc/self/mountinfo", kMountV1);
  root.file("proc/self/cgroup", "5:cpuset:/\n4:cpu,cpuacct:/kubepods/pod1/c1\n3:memory:/kubepods\n");
  root.file("sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us", "-1\n");
  root.file("sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us", "100000\n");
  CHECK_FALSE(root.quota().has_value());
  root.file("sys/fs/cgroup/cpu,cpuacct/kubepods/pod1/c1/cpu.cfs_quota_us", "250000\n");
  root.file("sys/fs/cgroup/cpu,cpuacct/kubepods/pod1/c1/cpu.cfs_period_us", "100000\n");
  REQUIRE(root.quota().has_value());
  CHECK(*root.quota() == doctest::Approx(2.5));

  FakeRoot container;
  container.file("proc/self/mountinfo",
                 "32 30 0:28 /kubepods/pod1/c1 /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu,cpuacct\n");
  container.file("proc/self/cgroup", "4:cpu,cpuacct:/kubepods/pod1/c1\n");
  container.file("sys/fs/cgroup/cpu/cpu.cfs_quota_us", "300000\n");
  container.file("sys/fs/cgroup/cpu/cpu.cfs_period_us", "100000\n");
  REQUIRE(container.quota().has_value());
  CHECK(*container.quota() == doctest::Approx(3.0));
}

TEST_CASE("cpu quota: broken files are no limit") {
  FakeRoot root;
  root.file("proc/self/mountinfo", std::string("short line\n\n1 2 3 - \n") + kMountV2);
  root.file("proc/self/cgroup", "nonsense\n0::/../elsewhere\n");
  root.file("sys/fs/cgroup/cpu.max", "-5 0\n");
  CHECK_FALSE(root.quota().has_value());
}

TEST_CASE("cpu quota: workers are the quota rounded up, at least 1, at most the CPUs") {
  CHECK(automatic_worker_count(std::nullopt, 4) == 4);
  CHECK(automatic_worker_count(0.5, 4) == 1);
  CHECK(automatic_worker_count(1.0, 4) == 1);
  CHECK(automatic_worker_count(1.01, 4) == 2);
  CHECK(automatic_worker_count(16.0, 4) == 4);
  CHECK(automatic_worker_count(0.001, 1) == 1);
  CHECK(affinity_cpu_count() >= 1);
  CHECK(automatic_worker_count() >= 1);
  CHECK(automatic_worker_count() <= affinity_cpu_count());
}

}  // namespace
}  // namespace bezel::net
