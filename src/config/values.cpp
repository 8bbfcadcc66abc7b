#include "src/config/values.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <limits>
#include <utility>

namespace bezel::config {

namespace {

constexpr int64_t kInt64Max = std::numeric_limits<int64_t>::max();

bool is_digit(char c) {
  return c >= '0' && c <= '9';
}

bool is_space(char c) {
  return c == ' ' || (c >= '\t' && c <= '\r');
}

std::string lower(std::string_view text) {
  std::string result(text);
  for (char& c : result) {
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  }
  return result;
}

/// A decimal number as written: 12.50 is {12, 50, 2}.
struct Decimal {
  int64_t whole = 0;
  int64_t fraction = 0;
  int fraction_digits = 0;
};

/// Takes a number off the front of `text`.
std::optional<Decimal> take_decimal(std::string_view& text) {
  Decimal number;
  const auto whole = std::from_chars(text.data(), text.data() + text.size(), number.whole);
  if (text.empty() || !is_digit(text.front()) || whole.ec != std::errc()) return std::nullopt;
  text.remove_prefix(static_cast<size_t>(whole.ptr - text.data()));
  if (text.empty() || text.front() != '.') return number;
  text.remove_prefix(1);
  while (!text.empty() && is_digit(text.front())) {
    if (++number.fraction_digits > 6) return std::nullopt;
    number.fraction = number.fraction * 10 + (text.front() - '0');
    text.remove_prefix(1);
  }
  if (number.fraction_digits == 0) return std::nullopt;
  return number;
}

/// number * factor, if that is a whole number that fits.
std::optional<int64_t> times(const Decimal& number, int64_t factor) {
  int64_t denominator = 1;
  for (int i = 0; i < number.fraction_digits; ++i) denominator *= 10;
  const int64_t fraction = number.fraction * factor;  // < 10^6 * one day in microseconds: fits
  if (fraction % denominator != 0) return std::nullopt;
  if (number.whole > (kInt64Max - factor) / factor) return std::nullopt;
  return number.whole * factor + fraction / denominator;
}

template <size_t N>
std::optional<int64_t> unit_factor(std::string_view unit,
                                   const std::array<std::pair<std::string_view, int64_t>, N>& units) {
  for (const auto& [name, factor] : units) {
    if (name == unit) return factor;
  }
  return std::nullopt;
}

}  // namespace

std::string_view trimmed(std::string_view text) {
  while (!text.empty() && is_space(text.front())) text.remove_prefix(1);
  while (!text.empty() && is_space(text.back())) text.remove_suffix(1);
  return text;
}

std::optional<bool> parse_boolean(std::string_view text) {
  const std::string word = lower(trimmed(text));
  if (word == "1" || word == "yes" || word == "true" || word == "on") return true;
  if (word == "0" || word == "no" || word == "false" || word == "off") return false;
  return std::nullopt;
}

std::optional<int64_t> parse_integer(std::string_view text) {
  text = trimmed(text);
  int64_t number = 0;
  const auto end = std::from_chars(text.data(), text.data() + text.size(), number);
  if (text.empty() || end.ec != std::errc() || end.ptr != text.data() + text.size()) return std::nullopt;
  return number;
}

std::optional<int64_t> parse_duration_us(std::string_view text, int64_t plain_unit_us) {
  static constexpr std::array<std::pair<std::string_view, int64_t>, 7> kUnits = {{{"us", 1},
                                                                                  {"ms", kMillisecondUs},
                                                                                  {"s", kSecondUs},
                                                                                  {"m", 60 * kSecondUs},
                                                                                  {"min", 60 * kSecondUs},
                                                                                  {"h", 3600 * kSecondUs},
                                                                                  {"d", 86400 * kSecondUs}}};
  text = trimmed(text);
  const std::optional<Decimal> number = take_decimal(text);
  if (!number) return std::nullopt;
  if (text.empty()) return times(*number, plain_unit_us);
  const std::optional<int64_t> factor = unit_factor(trimmed(text), kUnits);
  return factor ? times(*number, *factor) : std::nullopt;
}

std::optional<int64_t> parse_size_bytes(std::string_view text) {
  static constexpr int64_t kKibibyte = 1024;
  static constexpr std::array<std::pair<std::string_view, int64_t>, 9> kUnits = {
      {{"", 1},
       {"B", 1},
       {"kB", kKibibyte},
       {"KB", kKibibyte},
       {"KiB", kKibibyte},
       {"MB", kKibibyte * kKibibyte},
       {"MiB", kKibibyte * kKibibyte},
       {"GB", kKibibyte * kKibibyte * kKibibyte},
       {"GiB", kKibibyte * kKibibyte * kKibibyte}}};
  text = trimmed(text);
  const std::optional<Decimal> number = take_decimal(text);
  if (!number || number->fraction_digits > 0) return std::nullopt;
  const std::optional<int64_t> factor = unit_factor(trimmed(text), kUnits);
  return factor ? times(*number, *factor) : std::nullopt;
}

std::optional<uint32_t> parse_file_mode(std::string_view text) {
  text = trimmed(text);
  if (text.substr(0, 2) == "0o") text.remove_prefix(2);
  if (text.empty() || !is_digit(text.front())) return std::nullopt;
  uint32_t mode = 0;
  const auto end = std::from_chars(text.data(), text.data() + text.size(), mode, 8);
  if (end.ec != std::errc() || end.ptr != text.data() + text.size() || mode > 0777) return std::nullopt;
  return mode;
}

std::vector<std::string> split_names(std::string_view text) {
  std::vector<std::string> names;
  while (true) {
    const size_t comma = text.find(',');
    const std::string_view name = trimmed(text.substr(0, comma));
    if (!name.empty()) names.emplace_back(name);
    if (comma == std::string_view::npos) return names;
    text.remove_prefix(comma + 1);
  }
}

std::string format_duration(int64_t duration_us, int64_t unit_us) {
  std::string text = fmt::format("{}", duration_us / unit_us);
  int64_t rest = duration_us % unit_us;
  if (rest == 0) return text;
  text += '.';
  while (rest > 0) {
    rest *= 10;
    text += static_cast<char>('0' + rest / unit_us);
    rest %= unit_us;
  }
  return text;
}

std::string format_file_mode(uint32_t mode) {
  return fmt::format("0{:o}", mode);
}

}  // namespace bezel::config
