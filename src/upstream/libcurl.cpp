#include "src/upstream/libcurl.h"

#include <dlfcn.h>

#include <optional>

namespace bezel::upstream {

namespace {

template <typename Function>
bool find(void* library, const char* name, Function& function) {
  function = reinterpret_cast<Function>(dlsym(library, name));
  return function != nullptr;
}

std::optional<Libcurl> load_all() {
  void* const library = dlopen("libcurl.so.4", RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE);
  if (library == nullptr) return std::nullopt;
  Libcurl curl{};
  const bool whole =
      find(library, "curl_global_init", curl.global_init) && find(library, "curl_slist_append", curl.slist_append) &&
      find(library, "curl_slist_free_all", curl.slist_free_all) && find(library, "curl_easy_init", curl.easy_init) &&
      find(library, "curl_easy_setopt", curl.easy_setopt) && find(library, "curl_easy_getinfo", curl.easy_getinfo) &&
      find(library, "curl_easy_strerror", curl.easy_strerror) &&
      find(library, "curl_easy_cleanup", curl.easy_cleanup) && find(library, "curl_multi_init", curl.multi_init) &&
      find(library, "curl_multi_setopt", curl.multi_setopt) &&
      find(library, "curl_multi_add_handle", curl.multi_add_handle) &&
      find(library, "curl_multi_remove_handle", curl.multi_remove_handle) &&
      find(library, "curl_multi_socket_action", curl.multi_socket_action) &&
      find(library, "curl_multi_assign", curl.multi_assign) &&
      find(library, "curl_multi_info_read", curl.multi_info_read) &&
      find(library, "curl_multi_cleanup", curl.multi_cleanup);
  if (!whole || curl.global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK) return std::nullopt;
  return curl;
}

}  // namespace

const Libcurl* Libcurl::load() {
  // It is tried again when it has failed: whoever is told of it may install the library meanwhile.
  static std::optional<Libcurl> loaded;
  if (!loaded) loaded = load_all();
  return loaded ? &*loaded : nullptr;
}

}  // namespace bezel::upstream
