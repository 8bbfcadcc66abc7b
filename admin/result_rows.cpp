#include "admin/result_rows.h"

#include <fmt/format.h>

#include <algorithm>
#include <cassert>
#include <limits>

#include "protocol/messages.h"

namespace bezel::admin {

namespace {

void append_u16(std::string& out, uint16_t value) {
  out.push_back(static_cast<char>(value >> 8));
  out.push_back(static_cast<char>(value & 0xff));
}

void append_u32(std::string& out, uint32_t value) {
  append_u16(out, static_cast<uint16_t>(value >> 16));
  append_u16(out, static_cast<uint16_t>(value & 0xffff));
}

void put_u32(std::string& out, size_t at, uint32_t value) {
  for (size_t i = 0; i < 4; i++) out[at + i] = static_cast<char>((value >> (24 - 8 * i)) & 0xff);
}

void append_sized(std::string& out, std::string_view bytes) {
  append_u32(out, static_cast<uint32_t>(bytes.size()));
  out.append(bytes);
}

/// numeric_send: digits of base 10000, the most significant first, with trailing zeros left out.
void append_binary_numeric(std::string& out, int64_t value) {
  constexpr uint16_t kNegative = 0x4000;
  uint64_t rest = value < 0 ? 0 - static_cast<uint64_t>(value) : static_cast<uint64_t>(value);
  std::vector<uint16_t> digits;
  for (; rest != 0; rest /= 10000) digits.push_back(static_cast<uint16_t>(rest % 10000));
  const auto weight = static_cast<uint16_t>(digits.empty() ? 0 : digits.size() - 1);
  std::reverse(digits.begin(), digits.end());
  while (!digits.empty() && digits.back() == 0) digits.pop_back();
  append_u32(out, static_cast<uint32_t>(8 + 2 * digits.size()));
  append_u16(out, static_cast<uint16_t>(digits.size()));
  append_u16(out, weight);
  append_u16(out, value < 0 ? kNegative : uint16_t{0});
  append_u16(out, 0);  // dscale
  for (const uint16_t digit : digits) append_u16(out, digit);
}

protocol::ColumnDescription describe(const Column& column, Format format) {
  protocol::ColumnDescription description;
  description.name = column.name;
  description.format_code = static_cast<int16_t>(format);
  switch (column.type) {
    case ColumnType::text:
      break;
    case ColumnType::int4:
      description.type_oid = protocol::type_oid::kInt4;
      description.type_size = 4;
      break;
    case ColumnType::int8:
      description.type_oid = protocol::type_oid::kInt8;
      description.type_size = 8;
      break;
    case ColumnType::numeric:
      description.type_oid = protocol::type_oid::kNumeric;
      break;
    case ColumnType::boolean:
      description.type_oid = protocol::type_oid::kBool;
      description.type_size = 1;
      break;
  }
  return description;
}

}  // namespace

void append_columns(std::string& out, std::span<const Column> columns, std::span<const Format> formats) {
  std::vector<protocol::ColumnDescription> descriptions;
  descriptions.reserve(columns.size());
  for (size_t i = 0; i < columns.size(); i++)
    descriptions.push_back(describe(columns[i], formats.empty() ? Format::text : formats[i]));
  protocol::append_row_description(out, descriptions);
}

void ResultRows::begin_value() {
  assert(next_column_ < columns_.size());
  if (next_column_ != 0) return;
  row_start_ = messages_.size();
  messages_.push_back('D');
  append_u32(messages_, 0);  // the length, known at the end of the row
  append_u16(messages_, static_cast<uint16_t>(columns_.size()));
}

void ResultRows::end_value() {
  if (++next_column_ < columns_.size()) return;
  next_column_ = 0;
  put_u32(messages_, row_start_ + 1, static_cast<uint32_t>(messages_.size() - row_start_ - 1));
  row_ends_.push_back(messages_.size());
}

ResultRows& ResultRows::text(std::string_view value) {
  begin_value();
  append_sized(messages_, value);
  end_value();
  return *this;
}

ResultRows& ResultRows::number(int64_t value) {
  begin_value();
  const ColumnType type = columns_[next_column_].type;
  const bool binary = !formats_.empty() && formats_[next_column_] == Format::binary && type != ColumnType::text;
  if (binary) {
    append_binary(type, value);
  } else {
    append_sized(messages_, fmt::format_int(value).c_str());
  }
  end_value();
  return *this;
}

void ResultRows::append_binary(ColumnType type, int64_t value) {
  switch (type) {
    case ColumnType::int4:
      if (value < std::numeric_limits<int32_t>::min() || value > std::numeric_limits<int32_t>::max())
        out_of_range_ = true;
      append_u32(messages_, 4);
      append_u32(messages_, static_cast<uint32_t>(value));
      break;
    case ColumnType::numeric:
      append_binary_numeric(messages_, value);
      break;
    default:
      append_u32(messages_, 8);
      append_u32(messages_, static_cast<uint32_t>(static_cast<uint64_t>(value) >> 32));
      append_u32(messages_, static_cast<uint32_t>(value));
      break;
  }
}

ResultRows& ResultRows::boolean(bool value) {
  begin_value();
  const bool binary = !formats_.empty() && formats_[next_column_] == Format::binary;
  append_sized(messages_, binary ? std::string_view(value ? "\1" : "\0", 1) : std::string_view(value ? "t" : "f"));
  end_value();
  return *this;
}

ResultRows& ResultRows::null() {
  begin_value();
  append_u32(messages_, 0xffffffff);
  end_value();
  return *this;
}

size_t ResultRows::append_to(std::string& out, size_t first, size_t count) const {
  if (first >= size()) return 0;
  const size_t taken = std::min(count, size() - first);
  const size_t from = first == 0 ? 0 : row_ends_[first - 1];
  out.append(messages_, from, row_ends_[first + taken - 1] - from);
  return taken;
}

}  // namespace bezel::admin
