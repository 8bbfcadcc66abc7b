#pragma once

#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "admin/command.h"

namespace bezel::admin {

/// A statement that the console understands.
struct Request {
  const Command* command = nullptr;
  std::string argument;
  std::string key;                  ///< SET: the setting's name
  std::span<const Column> columns;  ///< of its rows; none: it returns no rows
};

/// What a statement's text means: a request, a failure, or (neither) nothing at all.
struct Interpretation {
  std::optional<Request> request;
  std::optional<Failure> failure;
};

/// Who may use the command is not looked at here.
Interpretation interpret(std::string_view text);

}  // namespace bezel::admin
