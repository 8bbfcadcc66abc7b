#include "protocol/startup.h"

#include <fmt/format.h>

#include <algorithm>

#include "protocol/reader.h"
#include "protocol/sqlstate.h"
#include "protocol/writer.h"

namespace bezel::protocol {

namespace {

using Kind = FirstPacketResult::Kind;

constexpr size_t kHeaderBytes = 8;  // length and code
constexpr std::string_view kProtocolOptionPrefix = "_pq_.";
constexpr uint16_t kProtocolMinorReserved = 1;  // 3.1: old poolers claimed it and spoke 3.0

FirstPacketResult failed(std::string_view code, std::string message) {
  FirstPacketResult result;
  result.kind = Kind::error;
  result.error = ProtocolError{code, std::move(message), {}, {}};
  return result;
}

FirstPacketResult failed_length() {
  return failed(sqlstate::kProtocolViolation, "invalid length of startup packet");
}

FirstPacketResult need(size_t bytes) {
  FirstPacketResult result;
  result.bytes_needed = bytes;
  return result;
}

FirstPacketResult decoded(Kind kind, size_t bytes) {
  FirstPacketResult result;
  result.kind = kind;
  result.bytes_consumed = bytes;
  return result;
}

/// Whether the declared length suits the request code, told before the rest of the packet has come.
std::optional<FirstPacketResult> refuse_by_header(uint32_t length, uint32_t code) {
  switch (code) {
    case kSslRequestCode:
    case kGssencRequestCode:
      // PostgreSQL reads and drops what such a request carries. Nothing has reason to, and bytes here would be bytes
      // sent before encryption that something later might take for encrypted ones.
      if (length != kHeaderBytes) return failed_length();
      return std::nullopt;
    case kCancelRequestCode:
      if (length < kHeaderBytes + 4)
        return failed(sqlstate::kProtocolViolation, "invalid length of cancel request packet");
      if (length < kHeaderBytes + 4 + kCancelSecretBytesMin || length > kHeaderBytes + 4 + kCancelSecretBytesMax)
        return failed(sqlstate::kProtocolViolation, "invalid length of cancel key in cancel request packet");
      return std::nullopt;
    default:
      if ((code >> 16) != 3) {
        return failed(sqlstate::kFeatureNotSupported,
                      fmt::format("unsupported frontend protocol {}.{}: server supports 3.0 to 3.{}", code >> 16,
                                  code & 0xffff, kProtocolMinorMax));
      }
      return std::nullopt;
  }
}

/// Sorts one startup parameter into the packet.
void take_parameter(StartupPacket& packet, std::string_view name, std::string_view value) {
  if (name.substr(0, kProtocolOptionPrefix.size()) == kProtocolOptionPrefix) {
    packet.protocol_options.emplace_back(name, value);
    return;
  }
  if (name == "user") packet.user = value;
  if (name == "database") packet.database = value;
  packet.parameters.emplace_back(name, value);
}

/// The name/value list of a startup packet; false when its terminator is not exactly its last byte.
bool read_parameters(StartupPacket& packet, std::string_view list) {
  Reader reader(list);
  while (true) {
    const auto name = reader.cstring();
    if (!name) return false;
    if (name->empty()) return reader.at_end();
    const auto value = reader.cstring();
    if (!value) return false;
    take_parameter(packet, *name, *value);
  }
}

FirstPacketResult decode_startup(std::string_view packet_bytes, uint32_t version) {
  FirstPacketResult result = decoded(Kind::startup, packet_bytes.size());
  StartupPacket& packet = result.startup;
  packet.protocol_major = static_cast<uint16_t>(version >> 16);
  packet.protocol_minor = static_cast<uint16_t>(version & 0xffff);
  if (!read_parameters(packet, packet_bytes.substr(kHeaderBytes))) {
    return failed(sqlstate::kProtocolViolation, "invalid startup packet layout: expected terminator as last byte");
  }
  if (packet.user.empty()) {
    return failed(sqlstate::kInvalidAuthorizationSpecification, "no PostgreSQL user name specified in startup packet");
  }
  if (packet.database.empty()) packet.database = packet.user;
  return result;
}

FirstPacketResult decode_cancel(std::string_view packet_bytes) {
  FirstPacketResult result = decoded(Kind::cancel_request, packet_bytes.size());
  Reader reader(packet_bytes.substr(kHeaderBytes));
  result.cancel.process_id = reader.i32().value_or(0);
  result.cancel.secret = reader.rest();
  return result;
}

// ---- The `options` parameter -------------------------------------------------------------------------------------

bool is_space(char c) {
  return c == ' ' || (c >= '\t' && c <= '\r');
}

/// Splits as PostgreSQL does: a backslash takes the next character literally, one at the end is dropped.
std::vector<std::string> split_arguments(std::string_view text) {
  std::vector<std::string> arguments;
  size_t at = 0;
  while (true) {
    while (at < text.size() && is_space(text[at])) ++at;
    if (at == text.size()) return arguments;
    std::string argument;
    while (at < text.size() && !is_space(text[at])) {
      if (text[at] == '\\' && ++at == text.size()) break;
      argument.push_back(text[at++]);
    }
    arguments.push_back(std::move(argument));
  }
}

char fold(char c) {
  return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
}

/// Names of settings are compared as PostgreSQL compares them: without regard to ASCII case.
bool same_setting(std::string_view a, std::string_view b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(), [](char x, char y) { return fold(x) == fold(y); });
}

void set_option(Parameters& options, std::string name, std::string value) {
  const auto same = [&](const auto& option) { return same_setting(option.first, name); };
  const auto found = std::find_if(options.begin(), options.end(), same);
  if (found != options.end()) options.erase(found);
  options.emplace_back(std::move(name), std::move(value));
}

StartupOptionsResult failed_options(std::string message) {
  StartupOptionsResult result;
  result.error = ProtocolError{sqlstate::kSyntaxError, std::move(message), {}, {}};
  return result;
}

/// Takes `name=value`; false when there is no name or no equals sign.
bool take_assignment(Parameters& options, std::string_view assignment) {
  const size_t equals = assignment.find('=');
  if (equals == std::string_view::npos || equals == 0) return false;
  std::string name(assignment.substr(0, equals));
  std::replace(name.begin(), name.end(), '-', '_');
  set_option(options, std::move(name), std::string(assignment.substr(equals + 1)));
  return true;
}

}  // namespace

FirstPacketResult decode_first_packet(std::string_view buffered) {
  Reader reader(buffered);
  const auto length = reader.u32();
  if (!length) return need(kHeaderBytes);
  if (*length < kHeaderBytes || *length > kFirstPacketBytesMax) return failed_length();
  const auto code = reader.u32();
  if (!code) return need(*length);
  if (auto refused = refuse_by_header(*length, *code)) return std::move(*refused);
  if (buffered.size() < *length) return need(*length);

  switch (*code) {
    case kSslRequestCode:
      return decoded(Kind::ssl_request, *length);
    case kGssencRequestCode:
      return decoded(Kind::gssenc_request, *length);
    case kCancelRequestCode:
      return decode_cancel(buffered.substr(0, *length));
    default:
      return decode_startup(buffered.substr(0, *length), *code);
  }
}

StartupOptionsResult parse_startup_options(std::string_view options) {
  StartupOptionsResult result;
  const std::vector<std::string> arguments = split_arguments(options);
  for (size_t i = 0; i < arguments.size(); ++i) {
    std::string_view argument = arguments[i];
    std::string_view assignment;
    if (argument == "-c") {
      if (++i == arguments.size()) return failed_options("invalid command-line argument for server process: -c");
      assignment = argument = arguments[i];
    } else if (argument.starts_with("-c") || (argument.starts_with("--") && argument.size() > 2)) {
      assignment = argument.substr(2);
    } else {
      return failed_options(fmt::format("invalid command-line argument for server process: {}", argument));
    }
    if (!take_assignment(result.options, assignment)) {
      return failed_options(fmt::format("{} requires a value", argument));
    }
  }
  return result;
}

void append_startup_message(std::string& out, uint16_t minor,
                            std::span<const std::pair<std::string, std::string>> parameters) {
  MessageWriter writer(out);
  writer.u16(3).u16(minor);
  for (const auto& [name, value] : parameters) writer.cstring(name).cstring(value);
  writer.byte('\0').finish();
}

void append_cancel_request(std::string& out, int32_t process_id, std::string_view secret) {
  MessageWriter(out).u32(kCancelRequestCode).i32(process_id).bytes(secret).finish();
}

void append_ssl_request(std::string& out) {
  MessageWriter(out).u32(kSslRequestCode).finish();
}

// ---- Negotiation -------------------------------------------------------------------------------------------------

Negotiation negotiate(const StartupPacket& packet) {
  Negotiation result;
  result.minor_to_speak = std::min(packet.protocol_minor, kProtocolMinorMax);
  if (result.minor_to_speak == kProtocolMinorReserved) result.minor_to_speak = 0;
  for (const auto& option : packet.protocol_options) result.unsupported.push_back(option.first);
  result.needs_message = packet.protocol_minor > kProtocolMinorMax || !result.unsupported.empty();
  return result;
}

void append_negotiate_protocol_version(std::string& out, uint16_t newest_minor,
                                       std::span<const std::string> unsupported) {
  MessageWriter writer(out, 'v');
  writer.u16(3).u16(newest_minor).u32(static_cast<uint32_t>(unsupported.size()));
  for (const std::string& name : unsupported) writer.cstring(name);
  writer.finish();
}

std::optional<NegotiateProtocolVersion> decode_negotiate_protocol_version(std::string_view body) {
  Reader reader(body);
  const auto major = reader.u16();
  const auto minor = reader.u16();
  const auto count = reader.u32();
  if (!major || !minor || !count) return std::nullopt;
  if (*major != 3 && *major != 0) return std::nullopt;
  // Each name takes a byte at least, so a count above that is a lie.
  if (*count > reader.remaining()) return std::nullopt;

  NegotiateProtocolVersion result;
  result.newest_minor = *minor;
  for (uint32_t i = 0; i < *count; ++i) {
    const auto name = reader.cstring();
    if (!name) return std::nullopt;
    result.unsupported.push_back(*name);
  }
  if (!reader.at_end()) return std::nullopt;
  return result;
}

std::optional<std::string> negotiation_fault(uint16_t requested_minor, const NegotiateProtocolVersion& answer) {
  if (answer.newest_minor > requested_minor) {
    return fmt::format("the server answered a request for protocol 3.{} with 3.{}", requested_minor,
                       answer.newest_minor);
  }
  if (answer.newest_minor == kProtocolMinorReserved) return "the server answered with protocol 3.1, which is reserved";
  if (!answer.unsupported.empty()) return "the server refused protocol options that were not requested";
  if (answer.newest_minor == requested_minor) return "the server negotiated although nothing had to be";
  return std::nullopt;
}

}  // namespace bezel::protocol
