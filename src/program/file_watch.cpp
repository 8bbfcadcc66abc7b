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

void FileWatch::watch(const std::vector<std::string>& files) {
  std::set<std::string> wanted;
  files_.clear();
  for (const std::string& file : files) {
    if (file.empty()) continue;
    files_[file] = signature_of(file);
    const size_t slash = file.rfind('/');
    wanted.insert(slash == std::string::npos ? "." : slash == 0 ? "/" : file.substr(0, slash));
  }
  for (const std::string& name : wanted) {
    if (folders_.count(name) > 0) continue;
    auto* const folder = new Folder;
    uv_fs_event_init(loop_, &folder->event);
    folder->event.data = this;
    folders_[name] = folder;
    // A failure leaves the folder unwatched: a reload still reads the files.
    uv_fs_event_start(
        &folder->event,
        [](uv_fs_event_t* event, const char*, int, int) {
          auto& self = *static_cast<FileWatch*>(event->data);
          // Several files change one after the other: only when all is quiet they belong together.
          uv_timer_start(
              &self.timer_, [](uv_timer_t* timer) { static_cast<FileWatch*>(timer->data)->look(); }, kSettleMs, 0);
        },
        name.c_str(), 0);
  }
}

void FileWatch::look() {
  bool changed = false;
  for (auto& [file, signature] : files_) {
    Signature now = signature_of(file);
    changed = changed || now != signature;
    signature = std::move(now);
  }
  if (changed) on_change_();
}

void FileWatch::stop() {
  for (const auto& [name, folder] : folders_) {
    folder->event.data = folder;
    uv_close(reinterpret_cast<uv_handle_t*>(&folder->event),
             [](uv_handle_t* handle) { delete static_cast<Folder*>(handle->data); });
  }
  folders_.clear();
  uv_close(reinterpret_cast<uv_handle_t*>(&timer_), nullptr);
}

}  // namespace bezel::program
