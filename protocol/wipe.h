#pragma once

#include <memory>
#include <string>
#include <string_view>

// Passwords that must not stay in memory once they have served.
namespace bezel::protocol {

/// Overwrites the text, in a way that compilers keep, and empties it.
void wipe(std::string& text);

/// Appends, and overwrites the place where the text was if it had to be moved.
void append_wiping(std::string& text, std::string_view more);

/// A password that several hold. The last one to let go of it overwrites it, on whatever thread.
using SharedPassword = std::shared_ptr<const std::string>;
SharedPassword share_password(std::string_view password);

}  // namespace bezel::protocol
