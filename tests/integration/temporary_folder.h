#pragma once

#include <string>
#include <string_view>

namespace bezel::integration {

/// A folder that ends with the object. With BEZEL_TEST_KEEP in the environment it stays, and its name is printed.
class TemporaryFolder {
 public:
  TemporaryFolder();
  ~TemporaryFolder();
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;

  const std::string& path() const { return path_; }
  std::string path_of(std::string_view name) const { return path_ + "/" + std::string(name); }
  /// Writes a file, readable by its owner only; returns its path.
  std::string write(std::string_view name, std::string_view content) const;

 private:
  std::string path_;
};

/// A file's content; empty if it cannot be read.
std::string read_file(const std::string& path);
/// Writes a file (mode 0600 when it is new). Throws std::runtime_error when that fails.
void write_file(const std::string& path, std::string_view content);

}  // namespace bezel::integration
