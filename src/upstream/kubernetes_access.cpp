#include "src/upstream/kubernetes_access.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdlib>
#include <fstream>

#include "src/upstream/base_url.h"

namespace bezel::upstream {

namespace {

constexpr const char* kPodsFolder = "/var/run/secrets/kubernetes.io/serviceaccount/";
constexpr size_t kFileBytesMax = 64UL * 1024;

/// A file's first line without spaces around it; empty if it cannot be read, or is more than that.
std::string read_word(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  std::string text(kFileBytesMax, '\0');
  file.read(text.data(), static_cast<std::streamsize>(text.size()));
  text.resize(static_cast<size_t>(file.gcount()));
  const auto is_space = [](char c) { return c == ' ' || c == '\t' || c == '\r' || c == '\n'; };
  while (!text.empty() && is_space(text.back())) text.pop_back();
  // What does not belong into a header of HTTP does not come into one.
  return std::all_of(text.begin(), text.end(), [](char c) { return c > 32 && c < 127; }) ? text : "";
}

/// The interface's address as each pod's environment has it; empty: this is no pod.
std::string url_of_environment() {
  const char* const host = std::getenv("KUBERNETES_SERVICE_HOST");
  const char* const port = std::getenv("KUBERNETES_SERVICE_PORT");
  if (host == nullptr || port == nullptr) return "";
  const bool is_ipv6 = std::string_view(host).find(':') != std::string_view::npos;
  return fmt::format("https://{}{}{}:{}", is_ipv6 ? "[" : "", host, is_ipv6 ? "]" : "", port);
}

}  // namespace

std::string KubernetesAccess::find(const pool::UpstreamSettings& settings) {
  const auto or_pods = [](const std::string& set, const char* name) {
    return set.empty() ? kPodsFolder + std::string(name) : set;
  };
  api_url = settings.api_url.empty() ? url_of_environment() : settings.api_url;
  if (api_url.empty()) return "KUBERNETES_SERVICE_HOST is not set, as it is in pods, and no api_url either";
  while (api_url.ends_with('/')) api_url.pop_back();
  // It may have a path, but nothing after that.
  const bool is_plain = std::all_of(api_url.begin(), api_url.end(), [](char c) { return c > 32 && c < 127; }) &&
                        api_url.find_first_of("?#") == std::string::npos;
  if (!is_plain || !base_url_of(api_url)) return "the api_url is not of the form https://host:port";
  token_file = or_pods(settings.token_file, "token");
  ca_file = or_pods(settings.ca_file, "ca.crt");
  // A pod's own token does not go over a connection that anyone may read, unless someone has said so.
  sends_token = !settings.token_file.empty() || base_url_of(api_url)->starts_with("https://");
  request_timeout_us = settings.request_timeout_us;
  const std::string namespace_file = or_pods("", "namespace");
  namespace_name = settings.namespace_name.empty() ? read_word(namespace_file) : settings.namespace_name;
  return namespace_name.empty() ? fmt::format("the namespace cannot be read from {}", namespace_file) : "";
}

std::string KubernetesAccess::prepare(const std::string& path, HttpRequest& request) const {
  request.url = api_url + path;
  request.ca_file = ca_file;
  request.connect_timeout_us = request_timeout_us;
  if (!sends_token) return "";
  request.bearer_token = read_word(token_file);
  return request.bearer_token.empty() ? fmt::format("no token can be read from {}", token_file) : "";
}

std::string url_encoded(std::string_view text) {
  std::string encoded;
  for (const char c : text) {
    const bool is_plain = (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '-' ||
                          c == '.' || c == '_' || c == '~';
    encoded += is_plain ? std::string(1, c) : fmt::format("%{:02X}", static_cast<unsigned char>(c));
  }
  return encoded;
}

}  // namespace bezel::upstream
