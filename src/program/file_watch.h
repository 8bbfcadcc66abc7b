#pragma once

#include <uv.h>

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

namespace bezel::program {

/// Tells when files have changed, however that is done: written, replaced, or reached by a symbolic link that was
/// swapped, as Kubernetes does with mounted secrets. It watches the folders, and looks at the files a moment after
/// anything has happened there. Belongs to the thread of its loop.
class FileWatch {
 public:
  FileWatch(uv_loop_t* loop, std::function<void()> on_change);
  FileWatch(const FileWatch&) = delete;
  FileWatch& operator=(const FileWatch&) = delete;

  /// From now on these files, as they are now. A folder that cannot be watched is left out.
  void watch(const std::vector<std::string>& files);
  /// REQUIRED before the loop is closed.
  void stop();

 private:
  struct Folder;
  /// What tells one state of a file from another: device, inode, size, time of change.
  using Signature = std::vector<uint64_t>;
  static Signature signature_of(const std::string& file);
  void look();

  static constexpr uint64_t kSettleMs = 200;

  uv_loop_t* loop_;
  std::function<void()> on_change_;
  std::map<std::string, Signature> files_;
  std::map<std::string, Folder*> folders_;  ///< each ends in its handle's close callback
  uv_timer_t timer_;
};

}  // namespace bezel::program
