#include "integration/mounted_folder.h"

#include <filesystem>

namespace bezel::integration {

namespace fs = std::filesystem;

void MountedFolder::provide(const Files& files) {
  const std::string version = "..version_" + std::to_string(++versions_);
  fs::create_directory(folder_.path_of(version));
  for (const auto& [name, content] : files) folder_.write(version + "/" + name, content);
  fs::create_directory_symlink(version, folder_.path_of("..data_tmp"));
  fs::rename(folder_.path_of("..data_tmp"), folder_.path_of("..data"));
  for (const auto& [name, content] : files) {
    if (!fs::is_symlink(folder_.path_of(name))) fs::create_symlink("..data/" + name, folder_.path_of(name));
  }
  for (const auto& entry : fs::directory_iterator(folder_.path())) {
    const std::string name = entry.path().filename();
    if (!name.starts_with("..") && files.count(name) == 0) fs::remove(entry.path());
  }
  fs::remove_all(folder_.path_of("..version_" + std::to_string(versions_ - 1)));
}

}  // namespace bezel::integration
