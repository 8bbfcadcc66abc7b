#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace bezel::admin {

enum class ColumnType : uint8_t { text, int4, int8, numeric, boolean };

/// A column of a result. The name must outlive everything: it is a literal.
struct Column {
  std::string_view name;
  ColumnType type = ColumnType::text;
};

/// How a value travels: the format codes of the protocol.
enum class Format : uint8_t { text = 0, binary = 1 };

/// Appends the RowDescription of these columns. `formats` has one entry a column, or is empty: all text.
void append_columns(std::string& out, std::span<const Column> columns, std::span<const Format> formats);

/// The rows of a result, kept as the DataRow messages that they become. Values are given column after column; the last
/// one of a row ends it.
class ResultRows {
 public:
  /// `formats` has one entry a column, or is empty: all text. The columns must outlive the rows.
  explicit ResultRows(std::span<const Column> columns = {}, std::vector<Format> formats = {})
      : columns_(columns), formats_(std::move(formats)) {}

  ResultRows& text(std::string_view value);
  /// For columns of any type but boolean; in a text column the decimal digits.
  ResultRows& number(int64_t value);
  ResultRows& boolean(bool value);
  ResultRows& null();
  ResultRows& text_or_null(const std::optional<std::string>& value) { return value ? text(*value) : null(); }

  std::span<const Column> columns() const { return columns_; }
  size_t size() const { return row_ends_.size(); }
  /// Whether a number did not fit the binary form of its column's type. Such a result must not be sent.
  bool out_of_range() const { return out_of_range_; }
  /// Appends the rows from `first` on, at most `count` of them, and says how many these were.
  size_t append_to(std::string& out, size_t first, size_t count) const;

 private:
  void begin_value();
  void end_value();
  void append_binary(ColumnType type, int64_t value);

  std::span<const Column> columns_;
  std::vector<Format> formats_;
  std::string messages_;
  std::vector<size_t> row_ends_;
  size_t row_start_ = 0;
  size_t next_column_ = 0;
  bool out_of_range_ = false;
};

}  // namespace bezel::admin
