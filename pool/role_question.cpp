#include "pool/role_question.h"

#include <charconv>

#include "protocol/messages.h"
#include "protocol/reader.h"

namespace bezel::pool {

namespace {

/// A file of the write-ahead log is named by its timeline, in eight hexadecimal digits, and its place in it.
constexpr size_t kTimelineDigits = 8;

/// The only value of a row; nothing if it is NULL, or the row is another one.
std::optional<std::string_view> only_value(std::string_view row) {
  protocol::Reader reader(row);
  const auto count = reader.i16();
  if (!count || *count != 1) return std::nullopt;
  const auto size = reader.i32();
  if (!size || *size < 0) return std::nullopt;
  return reader.bytes(static_cast<size_t>(*size));
}

std::optional<uint32_t> timeline_of(std::string_view wal_file) {
  if (wal_file.size() < kTimelineDigits) return std::nullopt;
  uint32_t timeline = 0;
  const char* const end = wal_file.data() + kTimelineDigits;
  const auto read = std::from_chars(wal_file.data(), end, timeline, 16);
  if (read.ec != std::errc() || read.ptr != end || timeline == 0) return std::nullopt;
  return timeline;
}

}  // namespace

std::string RoleQuestion::message() {
  std::string query;
  // Two statements: the first is answered even where the second one fails. The control file would tell the timeline
  // too, but only from the first checkpoint after a promotion on.
  protocol::append_query(query,
                         "SELECT pg_catalog.pg_is_in_recovery(); "
                         "SELECT CASE WHEN NOT pg_catalog.pg_is_in_recovery() "
                         "THEN pg_catalog.pg_walfile_name(pg_catalog.pg_current_wal_lsn()) END");
  return query;
}

void RoleQuestion::on_message(char type, std::string_view body) {
  if (type != 'D') return;
  const auto value = only_value(body);
  if (!value) return;
  if (!role_) {
    if (*value == "t" || *value == "f") role_ = ServerRole{*value == "t"};
  } else if (!role_->timeline) {
    role_->timeline = timeline_of(*value);
  }
}

}  // namespace bezel::pool
