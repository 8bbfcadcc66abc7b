#include "src/config/setting.h"

#include <fmt/format.h>

#include <algorithm>
#include <limits>
#include <type_traits>

#include "src/config/values.h"

namespace bezel::config {

namespace {

using pool::Settings;

template <typename... Functions>
struct Overloaded : Functions... {
  using Functions::operator()...;
};
template <typename... Functions>
Overloaded(Functions...) -> Overloaded<Functions...>;

std::string_view unit_name(int64_t unit_us) {
  if (unit_us == kMillisecondUs) return "milliseconds";
  return "seconds";
}

std::string duration_limits(const DurationKind& kind) {
  std::string text = fmt::format("at most {} {}", format_duration(kind.max_us, kind.unit_us), unit_name(kind.unit_us));
  if (kind.step_us > 1) text += fmt::format(", in whole {}", unit_name(kind.step_us));
  if (kind.switched_on_us > 0) text += fmt::format("; 1 or on means {} s", kind.switched_on_us / kSecondUs);
  return text;
}

std::optional<int64_t> parse_kind(const DurationKind& kind, std::string_view text) {
  if (kind.switched_on_us > 0) {
    if (const std::optional<bool> on = parse_boolean(text)) return *on ? kind.switched_on_us : 0;
  }
  const std::optional<int64_t> value = parse_duration_us(text, kind.unit_us);
  if (!value || *value > kind.max_us || *value % kind.step_us != 0) return std::nullopt;
  return value;
}

std::optional<bool> parse_kind(const BooleanKind&, std::string_view text) {
  return parse_boolean(text);
}

std::optional<int> parse_kind(const IntegerKind& kind, std::string_view text) {
  if (kind.automatic && trimmed(text) == "auto") return 0;
  const std::optional<int64_t> value = parse_integer(text);
  if (!value || *value < kind.min || *value > kind.max) return std::nullopt;
  return static_cast<int>(*value);
}

std::optional<uint16_t> parse_kind(const PortKind& kind, std::string_view text) {
  const std::optional<int64_t> value = parse_integer(text);
  if (!value || *value < kind.min || *value > std::numeric_limits<uint16_t>::max()) return std::nullopt;
  return static_cast<uint16_t>(*value);
}

std::optional<int64_t> parse_kind(const SizeKind& kind, std::string_view text) {
  const std::optional<int64_t> value = parse_size_bytes(text);
  if (!value || *value < kind.min_bytes || *value > kind.max_bytes) return std::nullopt;
  return value;
}

std::optional<uint32_t> parse_kind(const FileModeKind&, std::string_view text) {
  return parse_file_mode(text);
}

template <typename Value>
std::optional<Value> parse_kind(const ChoiceKind<Value>& kind, std::string_view text) {
  for (const auto& [word, value] : kind.words) {
    if (word == trimmed(text)) return value;
  }
  return std::nullopt;
}

std::optional<std::string> parse_kind(const TextKind& kind, std::string_view text) {
  if (kind.accepts != nullptr && !kind.accepts(text)) return std::nullopt;
  return std::string(text);
}

std::optional<std::string> parse_kind(const FileKind&, std::string_view text) {
  return std::string(text);
}

std::optional<std::vector<std::string>> parse_kind(const NamesKind&, std::string_view text) {
  return split_names(text);
}

template <typename Value>
std::string words_of(const ChoiceKind<Value>& kind) {
  std::string list;
  for (size_t i = 0; i < kind.words.size(); ++i) {
    if (i > 0) list += i + 1 == kind.words.size() ? " or " : ", ";
    list += kind.words[i].first;
  }
  return list;
}

std::string format_integer(const IntegerKind& kind, int value) {
  return kind.automatic && value == 0 ? "auto" : fmt::format("{}", value);
}

}  // namespace

const Setting* find_setting(std::string_view name) {
  const std::vector<Setting>& table = settings_table();
  const auto found =
      std::lower_bound(table.begin(), table.end(), name,
                       [](const Setting& setting, std::string_view wanted) { return setting.name < wanted; });
  return found != table.end() && found->name == name ? &*found : nullptr;
}

std::optional<std::string> assign(Settings& settings, const Setting& setting, std::string_view text) {
  return std::visit(
      [&](const auto& kind) -> std::optional<std::string> {
        auto value = parse_kind(kind, text);
        if (!value) return expected_value(setting);
        settings.*kind.member = std::move(*value);
        return std::nullopt;
      },
      setting.kind);
}

std::optional<std::string> assign_list(Settings& settings, const Setting& setting,
                                       const std::vector<std::string>& items) {
  if (const auto* names = std::get_if<NamesKind>(&setting.kind)) {
    settings.*names->member = items;
    return std::nullopt;
  }
  const auto* text = std::get_if<TextKind>(&setting.kind);
  if (text == nullptr || !text->list) return expected_value(setting);
  return assign(settings, setting, fmt::format("{}", fmt::join(items, ",")));
}

std::string expected_value(const Setting& setting) {
  return std::visit(
      Overloaded{
          [](const BooleanKind&) -> std::string { return "a boolean (1, 0, yes, no, true, false, on, off)"; },
          [](const IntegerKind& kind) {
            return fmt::format("{}a whole number from {} to {}", kind.automatic ? "auto or " : "", kind.min, kind.max);
          },
          [](const PortKind& kind) {
            return fmt::format("a port number from 1 to 65535{}", kind.min == 0 ? ", or 0 for none" : "");
          },
          [](const DurationKind& kind) {
            return fmt::format("a duration such as 5s, 250ms or 10min (a plain number counts {}), {}",
                               unit_name(kind.unit_us), duration_limits(kind));
          },
          [](const SizeKind& kind) {
            return fmt::format("a size such as 65536, 64kB, 1MB or 1GB, from {} to {} bytes", kind.min_bytes,
                               kind.max_bytes);
          },
          [](const FileModeKind&) -> std::string { return "an octal file mode from 0 to 0777"; },
          [](const TextKind& kind) { return std::string(kind.expected); },
          [](const FileKind&) -> std::string { return "a file name"; },
          [](const NamesKind&) -> std::string { return "a list of names (a YAML list, or one text with commas)"; },
          [](const auto& choice) { return words_of(choice); },
      },
      setting.kind);
}

std::string format_value(const Settings& settings, const Setting& setting) {
  return std::visit(Overloaded{
                        [&](const BooleanKind& kind) -> std::string { return settings.*kind.member ? "1" : "0"; },
                        [&](const IntegerKind& kind) { return format_integer(kind, settings.*kind.member); },
                        [&](const PortKind& kind) { return fmt::format("{}", settings.*kind.member); },
                        [&](const DurationKind& kind) { return format_duration(settings.*kind.member, kind.unit_us); },
                        [&](const SizeKind& kind) { return fmt::format("{}", settings.*kind.member); },
                        [&](const FileModeKind& kind) { return format_file_mode(settings.*kind.member); },
                        [&](const TextKind& kind) {
                          return kind.shown != nullptr ? kind.shown(settings.*kind.member) : settings.*kind.member;
                        },
                        [&](const FileKind& kind) { return settings.*kind.member; },
                        [&](const NamesKind& kind) { return fmt::format("{}", fmt::join(settings.*kind.member, ",")); },
                        [&](const auto& choice) {
                          for (const auto& [word, value] : choice.words) {
                            if (value == settings.*choice.member) return std::string(word);
                          }
                          return std::string();
                        },
                    },
                    setting.kind);
}

void copy_value(const Settings& from, Settings& to, const Setting& setting) {
  std::visit([&](const auto& kind) { to.*kind.member = from.*kind.member; }, setting.kind);
}

bool equal_value(const Settings& a, const Settings& b, const Setting& setting) {
  return std::visit([&](const auto& kind) { return a.*kind.member == b.*kind.member; }, setting.kind);
}

}  // namespace bezel::config
