// Messages of a client: a type, then the body. What is read and written again is the same.

#include <string>
#include <vector>

#include "protocol/messages.h"
#include "tests/fuzz/notation.h"
#include "tests/fuzz/target.h"

namespace {

using namespace bezel::protocol;
using bezel::fuzz::body_of;
using bezel::fuzz::must;

void check_parse(std::string_view body) {
  const auto parse = decode_parse(body);
  if (!parse) return;
  std::vector<uint32_t> oids;
  for (size_t i = 0; i < parse->type_count(); i++) oids.push_back(parse->type_oid_at(i));
  std::string written;
  append_parse(written, parse->name, parse->text, oids);
  must(body_of(written) == body, "a Parse is written as it was read");
}

/// Byte by byte the answer becomes what it is for the whole, and then stays that.
void check_bind(std::string_view body) {
  using Status = BindPrefix::Status;
  const BindPrefix whole = decode_bind_prefix(body, body.size());
  must(whole.status != Status::need_more, "nothing more comes");
  must(whole.bytes <= body.size(), "names within the body");
  for (size_t available = 0; available < body.size(); available++) {
    const BindPrefix part = decode_bind_prefix(body.substr(0, available), body.size());
    if (part.status == Status::need_more) continue;
    must(part.status == whole.status, "in pieces a Bind is the same");
    if (part.status != Status::ok) continue;
    must(part.portal == whole.portal && part.statement == whole.statement && part.bytes == whole.bytes,
         "in pieces its names are the same");
  }
}

void check_targets(std::string_view body) {
  for (const auto& target : {decode_describe(body), decode_close(body)}) {
    if (!target) continue;
    std::string written;
    append_describe(written, target->kind, target->name);
    must(body_of(written) == body, "a Describe is written as it was read");
  }
}

void check_texts(std::string_view body) {
  std::string written;
  if (const auto query = decode_query(body)) {
    append_query(written, *query);
    must(body_of(written) == body, "a Query is written as it was read");
  }
  written.clear();
  if (const auto password = decode_password(body)) {
    append_password_message(written, *password);
    must(body_of(written) == body, "a PasswordMessage is written as it was read");
  }
}

void check_execute(std::string_view body) {
  const auto execute = decode_execute(body);
  if (!execute) return;
  std::string written;
  append_execute(written, execute->portal, execute->rows_max);
  must(body_of(written) == body, "an Execute is written as it was read");
}

void check_sasl(std::string_view body) {
  const auto sasl = decode_sasl_initial_response(body);
  if (!sasl) return;
  std::string written;
  append_sasl_initial_response(written, sasl->mechanism, sasl->data);
  must(body_of(written) == body, "a SASLInitialResponse is written as it was read");
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view body = bezel::fuzz::as_text(data, size);
  check_parse(body);
  check_bind(body);
  check_targets(body);
  check_texts(body);
  check_execute(body);
  check_sasl(body);
  return 0;
}
