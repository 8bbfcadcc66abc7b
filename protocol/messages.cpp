#include "protocol/messages.h"

#include "protocol/reader.h"
#include "protocol/startup.h"
#include "protocol/writer.h"

namespace bezel::protocol {

namespace {

void append_empty(std::string& out, char type) {
  MessageWriter(out, type).finish();
}

void append_authentication(std::string& out, int32_t code, std::string_view payload = {}) {
  MessageWriter(out, 'R').i32(code).bytes(payload).finish();
}

void append_values(MessageWriter& writer, std::span<const std::optional<std::string_view>> values) {
  writer.count16(values.size());
  for (const auto& value : values) {
    if (value) {
      writer.sized_bytes(*value);
    } else {
      writer.i32(-1);
    }
  }
}

/// A body that is exactly one text.
std::optional<std::string_view> decode_text(std::string_view body) {
  Reader reader(body);
  const auto text = reader.cstring();
  if (!text || !reader.at_end()) return std::nullopt;
  return text;
}

std::optional<TargetMessage> decode_target(std::string_view body) {
  if (body.empty() || (body.front() != 'S' && body.front() != 'P')) return std::nullopt;
  const auto name = decode_text(body.substr(1));
  if (!name) return std::nullopt;
  return TargetMessage{body.front(), *name};
}

}  // namespace

// ---- From the server: builders -----------------------------------------------------------------------------------

void append_authentication_ok(std::string& out) {
  append_authentication(out, authentication::kOk);
}

void append_authentication_cleartext(std::string& out) {
  append_authentication(out, authentication::kCleartextPassword);
}

void append_authentication_md5(std::string& out, const std::array<unsigned char, 4>& salt) {
  append_authentication(out, authentication::kMd5Password,
                        std::string_view(reinterpret_cast<const char*>(salt.data()), salt.size()));
}

void append_authentication_sasl(std::string& out, std::span<const std::string_view> mechanisms) {
  MessageWriter writer(out, 'R');
  writer.i32(authentication::kSasl);
  for (const std::string_view mechanism : mechanisms) writer.cstring(mechanism);
  writer.byte('\0').finish();
}

void append_authentication_sasl_continue(std::string& out, std::string_view data) {
  append_authentication(out, authentication::kSaslContinue, data);
}

void append_authentication_sasl_final(std::string& out, std::string_view data) {
  append_authentication(out, authentication::kSaslFinal, data);
}

void append_parameter_status(std::string& out, std::string_view name, std::string_view value) {
  MessageWriter(out, 'S').cstring(name).cstring(value).finish();
}

void append_backend_key_data(std::string& out, int32_t process_id, std::string_view secret) {
  MessageWriter(out, 'K').i32(process_id).bytes(secret).finish();
}

void append_ready_for_query(std::string& out, char status) {
  MessageWriter(out, 'Z').byte(status).finish();
}

void append_row_description(std::string& out, std::span<const ColumnDescription> columns) {
  MessageWriter writer(out, 'T');
  writer.count16(columns.size());
  for (const ColumnDescription& column : columns) {
    writer.cstring(column.name).u32(0).i16(0);  // of no table
    writer.u32(column.type_oid).i16(column.type_size).i32(-1).i16(column.format_code);
  }
  writer.finish();
}

void append_data_row(std::string& out, std::span<const std::optional<std::string_view>> values) {
  MessageWriter writer(out, 'D');
  append_values(writer, values);
  writer.finish();
}

void append_command_complete(std::string& out, std::string_view tag) {
  MessageWriter(out, 'C').cstring(tag).finish();
}
void append_empty_query_response(std::string& out) {
  append_empty(out, 'I');
}
void append_parse_complete(std::string& out) {
  append_empty(out, '1');
}
void append_bind_complete(std::string& out) {
  append_empty(out, '2');
}
void append_close_complete(std::string& out) {
  append_empty(out, '3');
}
void append_no_data(std::string& out) {
  append_empty(out, 'n');
}

void append_parameter_description(std::string& out, std::span<const uint32_t> type_oids) {
  MessageWriter writer(out, 't');
  writer.count16(type_oids.size());
  for (const uint32_t oid : type_oids) writer.u32(oid);
  writer.finish();
}

void append_portal_suspended(std::string& out) {
  append_empty(out, 's');
}

// ---- From the client: builders -----------------------------------------------------------------------------------

void append_query(std::string& out, std::string_view text) {
  MessageWriter(out, 'Q').cstring(text).finish();
}

void append_parse(std::string& out, std::string_view name, std::string_view text, std::span<const uint32_t> type_oids) {
  MessageWriter writer(out, 'P');
  writer.cstring(name).cstring(text).count16(type_oids.size());
  for (const uint32_t oid : type_oids) writer.u32(oid);
  writer.finish();
}

void append_bind(std::string& out, std::string_view portal, std::string_view statement,
                 std::span<const std::optional<std::string_view>> parameters) {
  MessageWriter writer(out, 'B');
  writer.cstring(portal).cstring(statement).i16(0);  // no format codes: all parameters are text
  append_values(writer, parameters);
  writer.i16(0).finish();  // nor result format codes
}

void append_describe(std::string& out, char kind, std::string_view name) {
  MessageWriter(out, 'D').byte(kind).cstring(name).finish();
}

void append_close(std::string& out, char kind, std::string_view name) {
  MessageWriter(out, 'C').byte(kind).cstring(name).finish();
}

void append_execute(std::string& out, std::string_view portal, int32_t rows_max) {
  MessageWriter(out, 'E').cstring(portal).i32(rows_max).finish();
}

void append_sync(std::string& out) {
  append_empty(out, 'S');
}
void append_flush(std::string& out) {
  append_empty(out, 'H');
}

void append_copy_fail(std::string& out, std::string_view reason) {
  MessageWriter(out, 'f').cstring(reason).finish();
}

void append_terminate(std::string& out) {
  append_empty(out, 'X');
}

void append_password_message(std::string& out, std::string_view password) {
  MessageWriter(out, 'p').cstring(password).finish();
}

void append_sasl_initial_response(std::string& out, std::string_view mechanism, std::optional<std::string_view> data) {
  MessageWriter writer(out, 'p');
  writer.cstring(mechanism);
  if (data) {
    writer.sized_bytes(*data);
  } else {
    writer.i32(-1);
  }
  writer.finish();
}

void append_sasl_response(std::string& out, std::string_view data) {
  MessageWriter(out, 'p').bytes(data).finish();
}

// ---- From the server: decoders -----------------------------------------------------------------------------------

std::optional<AuthenticationRequest> decode_authentication(std::string_view body) {
  Reader reader(body);
  const auto code = reader.i32();
  if (!code) return std::nullopt;
  const std::string_view payload = reader.rest();
  const bool without_payload = *code == authentication::kOk || *code == authentication::kCleartextPassword;
  if (without_payload && !payload.empty()) return std::nullopt;
  if (*code == authentication::kMd5Password && payload.size() != 4) return std::nullopt;
  return AuthenticationRequest{*code, payload};
}

std::optional<std::vector<std::string_view>> decode_sasl_mechanisms(std::string_view payload) {
  constexpr size_t kMechanismsMax = 32;
  Reader reader(payload);
  std::vector<std::string_view> mechanisms;
  while (true) {
    const auto name = reader.cstring();
    if (!name) return std::nullopt;
    if (name->empty()) break;
    if (mechanisms.size() < kMechanismsMax) mechanisms.push_back(*name);
  }
  if (!reader.at_end()) return std::nullopt;
  return mechanisms;
}

std::optional<ParameterStatus> decode_parameter_status(std::string_view body) {
  Reader reader(body);
  const auto name = reader.cstring();
  const auto value = reader.cstring();
  if (!name || !value || !reader.at_end()) return std::nullopt;
  return ParameterStatus{*name, *value};
}

std::optional<BackendKeyData> decode_backend_key_data(std::string_view body) {
  Reader reader(body);
  const auto process_id = reader.i32();
  if (!process_id) return std::nullopt;
  const std::string_view secret = reader.rest();
  if (secret.size() < kCancelSecretBytesMin || secret.size() > kCancelSecretBytesMax) return std::nullopt;
  return BackendKeyData{*process_id, secret};
}

std::optional<char> decode_ready_for_query(std::string_view body) {
  if (body != "I" && body != "T" && body != "E") return std::nullopt;
  return body.front();
}

std::optional<std::string_view> decode_command_complete(std::string_view body) {
  return decode_text(body);
}

// ---- From the client: decoders -----------------------------------------------------------------------------------

uint32_t ParseMessage::type_oid_at(size_t index) const {
  return Reader(type_oids_raw.substr(index * 4, 4)).u32().value_or(0);
}

std::optional<ParseMessage> decode_parse(std::string_view body) {
  Reader reader(body);
  const auto name = reader.cstring();
  const auto text = reader.cstring();
  const auto count = reader.u16();
  if (!name || !text || !count) return std::nullopt;
  const auto oids = reader.bytes(size_t{*count} * 4);
  if (!oids || !reader.at_end()) return std::nullopt;
  return ParseMessage{*name, *text, *oids};
}

BindPrefix decode_bind_prefix(std::string_view available, size_t body_bytes) {
  BindPrefix prefix;
  Reader reader(available.substr(0, body_bytes));
  for (std::string_view* name : {&prefix.portal, &prefix.statement}) {
    const size_t searched = reader.remaining();
    const auto text = reader.cstring();
    if ((text ? text->size() : searched) > kBindNameBytesMax) {
      prefix.status = BindPrefix::Status::too_long;
      return prefix;
    }
    if (!text) {
      prefix.status = available.size() < body_bytes ? BindPrefix::Status::need_more : BindPrefix::Status::malformed;
      return prefix;
    }
    *name = *text;
    prefix.bytes += text->size() + 1;
  }
  prefix.status = BindPrefix::Status::ok;
  return prefix;
}

std::optional<TargetMessage> decode_describe(std::string_view body) {
  return decode_target(body);
}
std::optional<TargetMessage> decode_close(std::string_view body) {
  return decode_target(body);
}

std::optional<ExecuteMessage> decode_execute(std::string_view body) {
  Reader reader(body);
  const auto portal = reader.cstring();
  if (!portal) return std::nullopt;
  const auto rows_max = reader.i32();
  if (!rows_max || !reader.at_end()) return std::nullopt;
  return ExecuteMessage{*portal, *rows_max};
}

std::optional<std::string_view> decode_query(std::string_view body) {
  return decode_text(body);
}
std::optional<std::string_view> decode_password(std::string_view body) {
  return decode_text(body);
}

std::optional<SaslInitialResponse> decode_sasl_initial_response(std::string_view body) {
  Reader reader(body);
  const auto mechanism = reader.cstring();
  if (!mechanism) return std::nullopt;
  const auto length = reader.i32();
  if (!length) return std::nullopt;
  if (*length == -1) {
    if (!reader.at_end()) return std::nullopt;
    return SaslInitialResponse{*mechanism, std::nullopt};
  }
  if (*length < 0 || static_cast<size_t>(*length) != reader.remaining()) return std::nullopt;
  return SaslInitialResponse{*mechanism, reader.rest()};
}

}  // namespace bezel::protocol
