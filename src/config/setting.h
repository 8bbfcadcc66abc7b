#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "pool/settings.h"

// What one global setting is. The table of all of them is in settings_table.cpp; the loader, SHOW CONFIG, SET and
// docs/configuration.md are made from it.
namespace bezel::config {

/// When a changed value takes effect.
enum class Change : uint8_t {
  at_runtime,  ///< by RELOAD, SIGHUP or SET
  at_reload,   ///< by RELOAD or SIGHUP; SET is refused, because a file must be read or opened
  at_restart,
};

/// The headings of the documentation.
enum class Section : uint8_t { listening, login, pooling, servers, timeouts, tcp, tls, logs };

// The kinds of values. Each names the member of pool::Settings that it fills.

struct BooleanKind {
  bool pool::Settings::*member;
};

struct IntegerKind {
  int pool::Settings::*member;
  int min, max;
  bool automatic = false;  ///< the word `auto` is taken too, and means 0
};

struct PortKind {
  uint16_t pool::Settings::*member;
  uint16_t min;  ///< 0 when no port is a choice
};

struct DurationKind {
  int64_t pool::Settings::*member;
  int64_t unit_us;  ///< what a plain number counts, and what SHOW CONFIG prints
  int64_t max_us;
  int64_t step_us = 1;         ///< the kernel takes whole steps only
  int64_t switched_on_us = 0;  ///< not 0: a boolean is taken too, and `1` or `on` means this much
};

struct SizeKind {
  int64_t pool::Settings::*member;
  int64_t min_bytes, max_bytes;
};

struct FileModeKind {
  uint32_t pool::Settings::*member;
};

/// One of a few words. Word tables live as long as the program.
template <typename Value>
struct ChoiceKind {
  Value pool::Settings::*member;
  std::span<const std::pair<std::string_view, Value>> words;
};

/// Any text, or one that `fault` finds no fault with.
struct TextKind {
  std::string pool::Settings::*member;
  std::string_view expected;                    ///< what it should be, for errors and the documentation
  bool (*accepts)(std::string_view) = nullptr;  ///< null: everything
  bool list = false;                            ///< a YAML list is taken too, joined by commas
  std::string (*shown)(std::string_view) =
      nullptr;  ///< what of it may be seen, where it may hold a password; null: all
};

/// A file's name; when relative, it is meant from the folder of the configuration file that says so.
struct FileKind {
  std::string pool::Settings::*member;
};

struct NamesKind {
  std::vector<std::string> pool::Settings::*member;
};

using Kind = std::variant<BooleanKind, IntegerKind, PortKind, DurationKind, SizeKind, FileModeKind,
                          ChoiceKind<pool::AuthType>, ChoiceKind<pool::PoolMode>, ChoiceKind<pool::BatchedSends>,
                          ChoiceKind<pool::TlsMode>, ChoiceKind<std::string>, TextKind, FileKind, NamesKind>;

struct Setting {
  std::string_view name;
  Section section;
  Change change;
  Kind kind;
  std::string_view documentation;  ///< one paragraph of Markdown
};

using PoolModeWords = std::span<const std::pair<std::string_view, pool::PoolMode>>;
extern const PoolModeWords kPoolModeWords;
using AuthTypeWords = std::span<const std::pair<std::string_view, pool::AuthType>>;
extern const AuthTypeWords kAuthTypeWords;

/// All global settings in alphabetical order. Safe to call from any thread.
const std::vector<Setting>& settings_table();

/// The setting of that name, or null.
const Setting* find_setting(std::string_view name);

/// What to do about a name that is no setting of Bezel: a known one of PgBouncer's, or a former spelling, gets its own
/// words; others "unknown setting", perhaps with a near name.
std::string unknown_setting_message(std::string_view name);

/// Parses `text` and stores it. Nothing when it was stored, else what was expected ("a port number ...").
std::optional<std::string> assign(pool::Settings& settings, const Setting& setting, std::string_view text);

/// The same for a YAML list of names; other kinds of settings expect no list.
std::optional<std::string> assign_list(pool::Settings& settings, const Setting& setting,
                                       const std::vector<std::string>& items);

/// What a value of the setting must be: "a port number from 1 to 65535".
std::string expected_value(const Setting& setting);

/// The value as SHOW CONFIG prints it; assign() takes it back, but for what nobody may see.
std::string format_value(const pool::Settings& settings, const Setting& setting);

/// Copies one setting's value.
void copy_value(const pool::Settings& from, pool::Settings& to, const Setting& setting);

/// True if both hold the same value of the setting.
bool equal_value(const pool::Settings& a, const pool::Settings& b, const Setting& setting);

}  // namespace bezel::config
