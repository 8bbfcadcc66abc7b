#pragma once

#include <uv.h>

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

namespace bezel::program {

/// Tells when files have changed, however that is done: written, replaced, or reached by a symbolic link that was
/// swapped, as Kubernetes does with mounted secrets. It watches the folders, and looks at the files when anything
/// has happened there, until two looks in a row see the same. Belongs to the thread of its loop.
class FileWatch {
 public:
  FileWatch(uv_loop_t* loop, std::function<void()> on_change);
  FileWatch(const FileWatch&) = delete;
  FileWatch& operator=(const FileWatch&) = delete;

  /// From now on these files and no others; "FOLDER/." stands for a folder's entries. Those that were watched before
  /// are compared with what they were then, so that no change between reading and watching is missed. A folder that
  /// cannot be watched is left out.
  void watch(const std::vector<std::string>& files);
  /// REQUIRED before the loop is closed.
  void stop();

 private:
  struct Folder;
  /// What tells one state of a file from another: device, inode, size, time of change.
  using Signature = std::vector<uint64_t>;
  using Signatures = std::map<std::string, Signature>;
  static Signature signature_of(const std::string& file);
  static std::string folder_of(const std::string& file);
  void watch_folder(const std::string& name);
  static void close(Folder* folder);
  void look_soon();
  void look();

  static constexpr uint64_t kSettleMs = 200;

  uv_loop_t* loop_;
  std::function<void()> on_change_;
  Signatures files_;                        ///< as they were when they were read
  Signatures last_seen_;                    ///< as they were at the last look, if they had changed
  std::map<std::string, Folder*> folders_;  ///< each ends in its handle's close callback
  uv_timer_t timer_;
};

}  // namespace bezel::program
