#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace bezel::upstream {

/// "http://host:port" of an HTTP or HTTPS address, whatever path it has. Nothing if it is none, has a user's name in
/// it, or might mean one thing here and another one to libcurl.
std::optional<std::string> base_url_of(std::string_view url);

/// Whether `host` is an IP address or may be a host's name; a folder of Unix sockets is neither.
bool is_network_host(std::string_view host);

}  // namespace bezel::upstream
