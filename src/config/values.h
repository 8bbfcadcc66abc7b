#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

// How the values of settings are written. All functions are pure; a value that is not well-formed gives nothing.
namespace bezel::config {

constexpr int64_t kMillisecondUs = 1000;
constexpr int64_t kSecondUs = 1'000'000;

/// `text` without white space around it.
std::string_view trimmed(std::string_view text);

/// 0/1, yes/no, true/false, on/off, in any case.
std::optional<bool> parse_boolean(std::string_view text);

/// Decimal digits, perhaps after a '-'.
std::optional<int64_t> parse_integer(std::string_view text);

/// A number with up to six decimals, and a unit: us, ms, s, m or min, h, d. Without a unit the number counts
/// `plain_unit_us`. Nothing too for what is not a whole number of microseconds.
std::optional<int64_t> parse_duration_us(std::string_view text, int64_t plain_unit_us);

/// A whole number of bytes, or of units: B, kB (KB, KiB), MB (MiB), GB (GiB). As in PostgreSQL all are powers of 1024.
std::optional<int64_t> parse_size_bytes(std::string_view text);

/// Octal digits, with or without 0 or 0o before them, up to 0777.
std::optional<uint32_t> parse_file_mode(std::string_view text);

/// The names between commas, without white space around them. Empty names are left out.
std::vector<std::string> split_names(std::string_view text);

/// `duration_us` counted in `unit_us`, with as many decimals as it needs: "3600", "0.25".
std::string format_duration(int64_t duration_us, int64_t unit_us);

/// "0777".
std::string format_file_mode(uint32_t mode);

}  // namespace bezel::config
