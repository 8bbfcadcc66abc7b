#include "integration/temporary_folder.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <stdexcept>

namespace bezel::integration {

TemporaryFolder::TemporaryFolder() {
  std::string name = (std::filesystem::temp_directory_path() / "bezel-integration-XXXXXX").string();
  if (mkdtemp(name.data()) == nullptr) throw std::runtime_error("could not make a temporary folder");
  path_ = name;
  // Another user (postgres) has a folder of its own below.
  chmod(path_.c_str(), 0711);
}

TemporaryFolder::~TemporaryFolder() {
  if (std::getenv("BEZEL_TEST_KEEP") != nullptr) {
    std::fprintf(stderr, "kept: %s\n", path_.c_str());
    return;
  }
  std::error_code ignored;
  std::filesystem::remove_all(path_, ignored);
}

std::string TemporaryFolder::write(std::string_view name, std::string_view content) const {
  const std::string path = path_of(name);
  write_file(path, content);
  return path;
}

std::string read_file(const std::string& path) {
  const std::ifstream file(path, std::ios::binary);
  std::ostringstream content;
  content << file.rdbuf();
  return content.str();
}

void write_file(const std::string& path, std::string_view content) {
  const int fd = open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
  if (fd < 0) throw std::runtime_error("could not write " + path);
  const bool whole = write(fd, content.data(), content.size()) == static_cast<ssize_t>(content.size());
  close(fd);
  if (!whole) throw std::runtime_error("could not write " + path);
}

}  // namespace bezel::integration
