#pragma once

#include <map>
#include <string>

#include "integration/temporary_folder.h"

namespace bezel::integration {

/// A folder as Kubernetes mounts a secret or a ConfigMap: its files are links into a folder that is a link itself, and
/// that is swapped when anything changes, so that all files change at once.
class MountedFolder {
 public:
  using Files = std::map<std::string, std::string>;  // content by name

  explicit MountedFolder(const Files& files) { provide(files); }

  /// From now on these files, and no others.
  void provide(const Files& files);
  std::string path_of(const std::string& name) const { return folder_.path_of(name); }

 private:
  TemporaryFolder folder_;
  int versions_ = 0;
};

}  // namespace bezel::integration
