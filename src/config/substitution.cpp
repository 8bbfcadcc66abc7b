#include "src/config/substitution.h"

#include <fmt/format.h>

#include <cctype>

namespace bezel::config {

namespace {

constexpr std::string_view kOpen = "${";
constexpr std::string_view kEscapedOpen = "$${";

bool is_variable_name(std::string_view name) {
  if (name.empty() || (name.front() >= '0' && name.front() <= '9')) return false;
  for (const char c : name) {
    if (!(std::isalnum(static_cast<unsigned char>(c)) || c == '_') || static_cast<unsigned char>(c) >= 0x80)
      return false;
  }
  return true;
}

/// The value of what stands between ${ and }.
Substitution variable_value(std::string_view inside, const Environment& environment) {
  const size_t separator = inside.find(":-");
  const std::string_view name = inside.substr(0, separator);
  if (!is_variable_name(name))
    return {{}, "expected ${NAME} or ${NAME:-default} after \"$\" (write $${ for a plain ${)"};
  const auto found = environment.find(name);
  if (separator != std::string_view::npos && (found == environment.end() || found->second.empty())) {
    return {std::string(inside.substr(separator + 2)), {}};
  }
  if (found == environment.end()) return {{}, fmt::format("the environment variable {} is not set", name)};
  return {found->second, {}};
}

}  // namespace

size_t substitution_bytes(std::string_view text) {
  if (text.substr(0, kEscapedOpen.size()) == kEscapedOpen) return kEscapedOpen.size();
  if (text.substr(0, kOpen.size()) != kOpen) return 0;
  const size_t close = text.find('}');
  return close == std::string_view::npos ? text.size() : close + 1;
}

bool is_one_substitution(std::string_view text) {
  return text.substr(0, kOpen.size()) == kOpen && text.back() == '}' && substitution_bytes(text) == text.size();
}

Substitution substitute(std::string_view text, const Environment& environment) {
  Substitution result;
  while (!text.empty()) {
    const size_t bytes = substitution_bytes(text);
    if (bytes == 0) {
      result.text += text.front();
      text.remove_prefix(1);
      continue;
    }
    const std::string_view part = text.substr(0, bytes);
    text.remove_prefix(bytes);
    if (part == kEscapedOpen) {
      result.text += kOpen;
      continue;
    }
    if (part.back() != '}') return {{}, "expected \"}\" after \"${\" (write $${ for a plain ${)"};
    const Substitution value = variable_value(part.substr(2, part.size() - 3), environment);
    if (!value.error.empty()) return value;
    result.text += value.text;
  }
  return result;
}

}  // namespace bezel::config
