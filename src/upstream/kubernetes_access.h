#pragma once

#include <string>

#include "pool/upstream_settings.h"
#include "src/upstream/http_client.h"

namespace bezel::upstream {

/// Where Kubernetes' interface is, and as whom it is asked: what the settings say, else what every pod is given.
struct KubernetesAccess {
  std::string api_url;  ///< without a slash at its end
  std::string token_file, ca_file, namespace_name;
  bool sends_token = true;
  int64_t request_timeout_us = 0;

  /// Reads the environment and the pod's namespace. Returns "" or an error for people.
  std::string find(const pool::UpstreamSettings& settings);
  /// Makes a request for `path`, with the token as it is now: Kubernetes replaces it every hour or so. Returns "" or an
  /// error for people.
  std::string prepare(const std::string& path, HttpRequest& request) const;
};

/// "a%3Db" of "a=b": text as it may stand in a URL.
std::string url_encoded(std::string_view text);

}  // namespace bezel::upstream
