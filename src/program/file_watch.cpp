#include "src/program/file_watch.h"

#include <sys/stat.h>

#include <set>
#include <utility>

namespace bezel::program {

struct FileWatch::Folder {
  uv_fs_event_t event;
};

FileWatch::FileWatch(uv_loop_t* loop, std::function<void()> on_change) : loop_(loop), on_change_(std::move(on_change)) {
  uv_timer_init(loop_, &timer_);
  timer_.data = this;
}

FileWatch::Signature FileWatch::signature_of(const std::string& file) {
  struct stat found {};
  if (::stat(file.c_str(), &found) != 0) return {};
  return {static_cast<uint64_t>(found.st_dev), static_cast<uint64_t>(found.st_ino),
          static_cast<uint64_t>(found.st_size), static_cast<uint64_t>(found.st_ctim.tv_sec),
          static_cast<uint64_t>(found.st_ctim.tv_nsec)};
}

std::string FileWatch::folder_of(const std::string& file) {
  const size_t slash = file.rfind('/');
  return slash == std::string::npos ? "." : slash == 0 ? "/" : file.substr(0, slash);
}

void FileWatch::watch(const std::vector<std::string>& files) {
  std::set<std::string> folders;
  Signatures signatures;
  for (const std::string& file : files) {
    if (file.empty()) continue;
    const auto known = files_.find(file);
    signatures[file] = known != files_.end() ? known->second : signature_of(file);
    folders.insert(folder_of(file));
  }
  files_ = std::move(signatures);
  for (auto at = folders_.begin(); at != folders_.end();) {
    if (folders.count(at->first) > 0) {
      ++at;
    } else {
      close(at->second);
      at = folders_.erase(at);
    }
  }
  for (const std::string& name : folders) {
    if (folders_.count(name) == 0) watch_folder(name);
  }
}

void FileWatch::watch_folder(const std::string& name) {
  auto* const folder = new Folder;
  uv_fs_event_init(loop_, &folder->event);
  folder->event.data = this;
  const int error = uv_fs_event_start(
      &folder->event,
      [](uv_fs_event_t* event, const char*, int, int) {
        auto& self = *static_cast<FileWatch*>(event->data);
        // Other files of the folder, a log for instance, may change all the time: that must not put it off.
        if (uv_is_active(reinterpret_cast<uv_handle_t*>(&self.timer_)) == 0) self.look_soon();
      },
      name.c_str(), 0);
  // A reload still reads the files, and tries again.
  if (error != 0) return close(folder);
  folders_[name] = folder;
}

void FileWatch::close(Folder* folder) {
  folder->event.data = folder;
  uv_close(reinterpret_cast<uv_handle_t*>(&folder->event),
           [](uv_handle_t* handle) { delete static_cast<Folder*>(handle->data); });
}

void FileWatch::look_soon() {
  uv_timer_start(
      &timer_, [](uv_timer_t* timer) { static_cast<FileWatch*>(timer->data)->look(); }, kSettleMs, 0);
}

void FileWatch::look() {
  Signatures now;
  for (const auto& [file, signature] : files_) now[file] = signature_of(file);
  if (now == files_) return;
  // Several files change one after the other: only when all have been quiet for a while they belong together.
  if (now != last_seen_) {
    last_seen_ = std::move(now);
    return look_soon();
  }
  files_ = std::move(now);
  on_change_();
}

void FileWatch::stop() {
  for (const auto& [name, folder] : folders_) close(folder);
  folders_.clear();
  uv_close(reinterpret_cast<uv_handle_t*>(&timer_), nullptr);
}

}  // namespace bezel::program
