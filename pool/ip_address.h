#pragma once

#include <array>
#include <compare>
#include <cstdint>
#include <optional>
#include <string_view>

namespace bezel::pool {

/// An IPv4 or IPv6 address as a value.
struct IpAddress {
  bool is_v6 = false;
  std::array<uint8_t, 16> bytes{};  ///< IPv4: the first four

  /// From figures only: no names, brackets, scopes or ports. Pure.
  static std::optional<IpAddress> parse(std::string_view text);
  int bits() const { return is_v6 ? 128 : 32; }
  /// With all but the first `bits` bits cleared. REQUIRES: 0 <= bits <= bits().
  IpAddress prefix(int bits) const;
  auto operator<=>(const IpAddress&) const = default;
};

/// The addresses that are equal to one where a mask has ones.
struct IpNetwork {
  IpAddress address, mask;  ///< of the same family

  /// REQUIRES: 0 <= bits <= address.bits().
  static IpNetwork of_prefix(const IpAddress& address, int bits);
  bool contains(const IpAddress& other) const;
};

}  // namespace bezel::pool
