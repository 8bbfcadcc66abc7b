#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "integration/raw_client.h"
#include "protocol/messages.h"

namespace bezel::integration {

/// A sequence of a client's messages, written down as it goes over the wire:
///
///     Messages().parse("s", "SELECT $1").bind("", "s", {"1"}).execute().sync()
class Messages {
 public:
  using Values = std::vector<std::string_view>;

  Messages& query(std::string_view text) {
    return add([&] { protocol::append_query(bytes_, text); });
  }
  Messages& parse(std::string_view name, std::string_view text) {
    return add([&] { protocol::append_parse(bytes_, name, text); });
  }
  Messages& bind(std::string_view portal, std::string_view statement, const Values& values = {}) {
    const std::vector<std::optional<std::string_view>> parameters(values.begin(), values.end());
    return add([&] { protocol::append_bind(bytes_, portal, statement, parameters); });
  }
  Messages& describe(char kind, std::string_view name) {
    return add([&] { protocol::append_describe(bytes_, kind, name); });
  }
  Messages& close(char kind, std::string_view name) {
    return add([&] { protocol::append_close(bytes_, kind, name); });
  }
  Messages& execute(std::string_view portal = "", int rows_max = 0) {
    return add([&] { protocol::append_execute(bytes_, portal, rows_max); });
  }
  Messages& sync() {
    return add([&] { protocol::append_sync(bytes_); });
  }
  Messages& flush() {
    return add([&] { protocol::append_flush(bytes_); });
  }
  Messages& copy_data(std::string_view data) { return raw('d', data); }
  Messages& copy_done() { return raw('c', ""); }
  Messages& copy_fail(std::string_view reason) {
    return add([&] { protocol::append_copy_fail(bytes_, reason); });
  }
  /// Calls a function by its OID with arguments and result in text format.
  Messages& function_call(uint32_t oid, const Values& arguments) {
    std::string body = int32_bytes(oid) + std::string(2, '\0') + int16(arguments.size());
    for (const std::string_view argument : arguments) {
      body += int32_bytes(static_cast<uint32_t>(argument.size()));
      body += argument;
    }
    return raw('F', body + std::string(2, '\0'));
  }
  /// Any message.
  Messages& raw(char type, std::string_view body) {
    return add([&] { bytes_ += frame_bytes(type, body); });
  }
  Messages& append(const Messages& other) {
    bytes_ += other.bytes_;
    return *this;
  }

  const std::string& bytes() const { return bytes_; }

 private:
  static std::string int16(size_t value) { return int32_bytes(static_cast<uint32_t>(value)).substr(2); }

  template <typename Append>
  Messages& add(Append append) {
    append();
    return *this;
  }

  std::string bytes_;
};

}  // namespace bezel::integration
