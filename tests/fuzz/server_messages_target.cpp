// Messages of a server, above all those of a login. What is read and written again is the same.

#include <algorithm>
#include <array>
#include <string>
#include <vector>

#include "pool/role_question.h"
#include "protocol/error_response.h"
#include "protocol/messages.h"
#include "protocol/startup.h"
#include "tests/fuzz/notation.h"
#include "tests/fuzz/target.h"

namespace {

using namespace bezel::protocol;
using bezel::fuzz::body_of;
using bezel::fuzz::must;

void check_authentication(std::string_view body) {
  const auto request = decode_authentication(body);
  if (!request) return;
  std::string written;
  switch (request->code) {
    case authentication::kOk:
      append_authentication_ok(written);
      break;
    case authentication::kCleartextPassword:
      append_authentication_cleartext(written);
      break;
    case authentication::kMd5Password: {
      must(request->payload.size() == 4, "a salt has 4 bytes");
      std::array<unsigned char, 4> salt{};
      std::copy(request->payload.begin(), request->payload.end(), salt.begin());
      append_authentication_md5(written, salt);
      break;
    }
    case authentication::kSasl: {
      const auto mechanisms = decode_sasl_mechanisms(request->payload);
      if (!mechanisms) return;
      must(mechanisms->size() <= 32, "no more mechanisms than 32 are taken");
      if (mechanisms->size() == 32) return;
      append_authentication_sasl(written, *mechanisms);
      break;
    }
    case authentication::kSaslContinue:
      append_authentication_sasl_continue(written, request->payload);
      break;
    case authentication::kSaslFinal:
      append_authentication_sasl_final(written, request->payload);
      break;
    default:
      return;
  }
  must(body_of(written) == body, "an Authentication is written as it was read");
}

void check_parameter(std::string_view body) {
  const auto status = decode_parameter_status(body);
  if (!status) return;
  std::string written;
  append_parameter_status(written, status->name, status->value);
  must(body_of(written) == body, "a ParameterStatus is written as it was read");
}

void check_key(std::string_view body) {
  const auto key = decode_backend_key_data(body);
  if (!key) return;
  must(key->secret.size() >= kCancelSecretBytesMin && key->secret.size() <= kCancelSecretBytesMax,
       "a cancel key's length");
  std::string written;
  append_backend_key_data(written, key->process_id, key->secret);
  must(body_of(written) == body, "a BackendKeyData is written as it was read");
}

void check_error(std::string_view body) {
  const auto fields = decode_error_fields(body);
  if (!fields) return;
  must(SqlState(fields->sqlstate) == fields->sqlstate || fields->sqlstate.size() != 5, "five characters are kept");
  std::string written;
  append_error_response(written, fields->severity, fields->sqlstate, fields->message, fields->detail, fields->hint);
  const auto again = decode_error_fields(body_of(written));
  must(again && again->severity == fields->severity && again->sqlstate == fields->sqlstate &&
           again->message == fields->message && again->detail == fields->detail && again->hint == fields->hint,
       "an error that is passed on says the same");
}

void check_negotiation(std::string_view body) {
  const auto answer = decode_negotiate_protocol_version(body);
  if (!answer) return;
  const bool good = !negotiation_fault(kProtocolMinorMax, *answer);
  must(!good || (answer->newest_minor < kProtocolMinorMax && answer->unsupported.empty()), "only less may be offered");
}

void check_others(std::string_view body) {
  std::string written;
  if (const auto status = decode_ready_for_query(body)) {
    append_ready_for_query(written, *status);
    must(body_of(written) == body, "a ReadyForQuery is written as it was read");
  }
  written.clear();
  if (const auto tag = decode_command_complete(body)) {
    append_command_complete(written, *tag);
    must(body_of(written) == body, "a CommandComplete is written as it was read");
  }
}

/// The input as messages, each a type and a line of text.
void ask_for_role(std::string_view body) {
  bezel::pool::RoleQuestion question;
  bezel::fuzz::Input input(reinterpret_cast<const uint8_t*>(body.data()), body.size());
  while (!input.at_end()) {
    const auto type = static_cast<char>(input.byte());
    question.on_message(type, input.line());
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view body = bezel::fuzz::as_text(data, size);
  check_authentication(body);
  check_parameter(body);
  check_key(body);
  check_error(body);
  check_negotiation(body);
  check_others(body);
  ask_for_role(body);
  return 0;
}
