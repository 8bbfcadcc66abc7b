#include "protocol/error_response.h"

#include "protocol/reader.h"
#include "protocol/writer.h"

namespace bezel::protocol {

namespace {

void append_response(std::string& out, char type, std::string_view severity_name, std::string_view sqlstate_code,
                     std::string_view message, std::string_view detail, std::string_view hint) {
  MessageWriter writer(out, type);
  writer.byte('S').cstring(severity_name).byte('V').cstring(severity_name);
  writer.byte('C').cstring(sqlstate_code).byte('M').cstring(message);
  if (!detail.empty()) writer.byte('D').cstring(detail);
  if (!hint.empty()) writer.byte('H').cstring(hint);
  writer.byte('\0').finish();
}

/// The member for a field's type byte; null for types not known here.
std::string_view* field_of(ErrorFields& fields, uint8_t type) {
  switch (type) {
    case 'S':
      return &fields.severity_localized;
    case 'V':
      return &fields.severity;
    case 'C':
      return &fields.sqlstate;
    case 'M':
      return &fields.message;
    case 'D':
      return &fields.detail;
    case 'H':
      return &fields.hint;
    case 'P':
      return &fields.position;
    case 'p':
      return &fields.internal_position;
    case 'q':
      return &fields.internal_query;
    case 'W':
      return &fields.where;
    case 's':
      return &fields.schema;
    case 't':
      return &fields.table;
    case 'c':
      return &fields.column;
    case 'd':
      return &fields.data_type;
    case 'n':
      return &fields.constraint;
    case 'F':
      return &fields.file;
    case 'L':
      return &fields.line;
    case 'R':
      return &fields.routine;
    default:
      return nullptr;
  }
}

}  // namespace

void append_error_response(std::string& out, std::string_view severity_name, std::string_view sqlstate_code,
                           std::string_view message, std::string_view detail, std::string_view hint) {
  append_response(out, 'E', severity_name, sqlstate_code, message, detail, hint);
}

void append_error_response(std::string& out, std::string_view severity_name, const ProtocolError& error) {
  append_response(out, 'E', severity_name, error.sqlstate, error.message, error.detail, error.hint);
}

void append_notice_response(std::string& out, std::string_view severity_name, std::string_view sqlstate_code,
                            std::string_view message, std::string_view detail, std::string_view hint) {
  append_response(out, 'N', severity_name, sqlstate_code, message, detail, hint);
}

std::optional<ErrorFields> decode_error_fields(std::string_view body) {
  Reader reader(body);
  ErrorFields fields;
  while (true) {
    const auto type = reader.u8();
    if (!type) return std::nullopt;
    if (*type == 0) break;
    const auto value = reader.cstring();
    if (!value) return std::nullopt;
    std::string_view* field = field_of(fields, *type);
    if (field != nullptr && field->data() == nullptr) *field = *value;
  }
  if (!reader.at_end()) return std::nullopt;
  if (fields.severity.empty()) fields.severity = fields.severity_localized;
  return fields;
}

}  // namespace bezel::protocol
