#pragma once

#include <dlfcn.h>

namespace bezel {

/// A library that is loaded while the program runs, and stays from then on.
class SharedLibrary {
 public:
  explicit SharedLibrary(const char* file) : library_(dlopen(file, RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE)) {}

  /// Finds a function. False if it is not there, or the library is not.
  template <typename Function>
  bool find(const char* name, Function& function) const {
    function = library_ != nullptr ? reinterpret_cast<Function>(dlsym(library_, name)) : nullptr;
    return function != nullptr;
  }

 private:
  void* library_;
};

}  // namespace bezel
