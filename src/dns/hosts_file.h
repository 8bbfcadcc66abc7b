#pragma once

#include <optional>
#include <string_view>

#include "src/dns/answer.h"

namespace bezel::dns {

/// What hosts(5) says of a name: the addresses of all its lines. Where it says nothing, localhost and names that end in
/// ".localhost" are the loopback addresses (RFC 6761). Nothing: the name must be asked for.
std::optional<Answer> find_in_hosts(std::string_view hosts_text, std::string_view name);

}  // namespace bezel::dns
