#pragma once

#include <string>

#include "src/net/submitter.h"

namespace bezel::net {

/// Sends through `submitter` on a pair of sockets of its own: all of it, a part, nothing, to nobody. "" or what it does
/// differently from plain sends.
std::string try_out(Submitter& submitter);

/// `what`, and what the errno `error` means.
std::string refusal(const char* what, int error);

}  // namespace bezel::net
