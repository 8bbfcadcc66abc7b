#pragma once

#include <cstdint>
#include <string>

namespace bezel::integration {

/// This process's own address of the loopback network, made from its process id: tests that run at the same time cannot
/// get into each other's way, not even by SO_REUSEPORT.
const std::string& own_address();

/// Another such address, where nobody listens unless a test does.
const std::string& other_own_address();

/// A port of own_address() that this process has not given out before.
uint16_t next_port();

/// A descriptor listening at the address and port; throws std::runtime_error when that fails.
int listen_at(uint16_t port, int backlog = 128, const std::string& address = own_address());

/// A connected blocking descriptor; throws std::runtime_error when that fails.
int connect_to(const std::string& address, uint16_t port);

}  // namespace bezel::integration
