#pragma once

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <stdexcept>
#include <string>
#include <vector>

#include "src/config/settings_loader.h"

namespace bezel::config {

/// A folder for one test's configuration files, removed at the end.
class ConfigFolder {
 public:
  ConfigFolder() {
    std::string name = (std::filesystem::temp_directory_path() / "bezel-config-XXXXXX").string();
    if (mkdtemp(name.data()) == nullptr) throw std::runtime_error("no temporary folder");
    folder_ = name;
    write("userlist.txt", "\"alice\" \"wonder\"\n\"bob\" \"md5aabbccddeeff00112233445566778899\"\n");
  }
  ConfigFolder(const ConfigFolder&) = delete;
  ConfigFolder& operator=(const ConfigFolder&) = delete;
  ~ConfigFolder() {
    std::error_code ignored;
    std::filesystem::remove_all(folder_, ignored);
  }

  std::string path(const std::string& name) const { return (folder_ / name).string(); }

  std::string write(const std::string& name, const std::string& content) const {
    std::filesystem::create_directories((folder_ / name).parent_path());
    std::ofstream(folder_ / name, std::ios::binary) << content;
    return path(name);
  }

  /// Loads `yaml`, after a first line that names the users' file.
  LoadResult load(const std::string& yaml, const Environment& environment = {}) const {
    return config::load(write("bezel.yaml", "auth_file: userlist.txt\n" + yaml), environment);
  }

  /// The texts of the problems, the folder's name cut off.
  std::vector<std::string> texts(const std::vector<Problem>& problems) const {
    std::vector<std::string> texts;
    for (const Problem& problem : problems) {
      std::string text = problem.text();
      const std::string prefix = folder_.string() + "/";
      for (size_t at = text.find(prefix); at != std::string::npos; at = text.find(prefix))
        text.erase(at, prefix.size());
      texts.push_back(text);
    }
    return texts;
  }

  /// The errors of `yaml`; it must have some, and then there are no settings.
  std::vector<std::string> errors(const std::string& yaml, const Environment& environment = {}) const {
    const LoadResult result = load(yaml, environment);
    if (result.ok() || result.errors.empty()) return {"no error"};
    return texts(result.errors);
  }

 private:
  std::filesystem::path folder_;
};

}  // namespace bezel::config
