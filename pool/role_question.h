#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "pool/upstream.h"

namespace bezel::pool {

/// Asks a server that has just logged in whether it is a primary, and on which timeline: what PostgreSQL 14 reports by
/// itself (in_hot_standby) is only half of that, and earlier ones report nothing.
class RoleQuestion {
 public:
  /// The Query message that asks.
  static std::string message();

  /// Takes one message of the answer, up to and with ReadyForQuery. A primary on which the timeline's functions cannot
  /// be called (some services have none) has none.
  void on_message(char type, std::string_view body);
  /// After ReadyForQuery; nothing: the server has not said what it is.
  const std::optional<ServerRole>& role() const { return role_; }

 private:
  std::optional<ServerRole> role_;
};

}  // namespace bezel::pool
