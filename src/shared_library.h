#pragma once

#include <dlfcn.h>

#include <mutex>
#include <optional>

namespace bezel {

/// A library that is loaded while the program runs.
class SharedLibrary {
 public:
  enum class Stays : int {
    for_good = RTLD_NODELETE,  ///< from then on
    with_object = 0,
  };

  explicit SharedLibrary(const char* file, Stays stays = Stays::for_good)
      : library_(dlopen(file, RTLD_NOW | RTLD_LOCAL | static_cast<int>(stays))) {}
  SharedLibrary(const SharedLibrary&) = delete;
  SharedLibrary& operator=(const SharedLibrary&) = delete;
  ~SharedLibrary() {
    if (library_ != nullptr) dlclose(library_);
  }

  /// Finds a function. False if it is not there, or the library is not.
  template <typename Function>
  bool find(const char* name, Function& function) const {
    function = library_ != nullptr ? reinterpret_cast<Function>(dlsym(library_, name)) : nullptr;
    return function != nullptr;
  }

 private:
  void* library_;
};

/// The functions of a library that stays for good, loaded with the first call. Null if they cannot be loaded; then the
/// next call tries again: whoever is told of it may install the library meanwhile. Any thread.
template <typename Functions>
const Functions* load_once(std::optional<Functions> (*load_all)()) {
  static std::mutex mutex;
  static std::optional<Functions> loaded;
  const std::lock_guard lock(mutex);
  if (!loaded) loaded = load_all();
  return loaded ? &*loaded : nullptr;
}

}  // namespace bezel
