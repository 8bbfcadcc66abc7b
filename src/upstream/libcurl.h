#pragma once

#include <curl/curl.h>

namespace bezel::upstream {

/// libcurl's functions. The library is loaded when they are first asked for: it brings along Kerberos, LDAP, SSH and
/// RTMP, megabytes of memory that a pooler which follows neither Patroni nor Kubernetes must not carry. Once loaded it
/// stays: a thread of its resolver may still run when the last request has gone.
struct Libcurl {
  /// Null if libcurl.so.4 cannot be loaded. Any thread.
  static const Libcurl* load();

  // As the functions of the same names in libcurl, without "curl_".
  decltype(&curl_global_init) global_init;
  decltype(&curl_slist_append) slist_append;
  decltype(&curl_slist_free_all) slist_free_all;
  decltype(&curl_easy_init) easy_init;
  decltype(&curl_easy_setopt) easy_setopt;
  decltype(&curl_easy_getinfo) easy_getinfo;
  decltype(&curl_easy_strerror) easy_strerror;
  decltype(&curl_easy_cleanup) easy_cleanup;
  decltype(&curl_multi_init) multi_init;
  decltype(&curl_multi_setopt) multi_setopt;
  decltype(&curl_multi_add_handle) multi_add_handle;
  decltype(&curl_multi_remove_handle) multi_remove_handle;
  decltype(&curl_multi_socket_action) multi_socket_action;
  decltype(&curl_multi_assign) multi_assign;
  decltype(&curl_multi_info_read) multi_info_read;
  decltype(&curl_multi_cleanup) multi_cleanup;
};

}  // namespace bezel::upstream
