#include "tests/fuzz/scripted_peers.h"

#include <algorithm>
#include <optional>
#include <utility>
#include <vector>

#include "protocol/error_response.h"
#include "protocol/messages.h"
#include "protocol/secret.h"
#include "protocol/sqlstate.h"
#include "protocol/startup.h"
#include "protocol/writer.h"

namespace bezel::fuzz {

using simulation::Frame;
namespace sqlstate = protocol::sqlstate;

namespace {

constexpr size_t kBigRows = 8;
constexpr size_t kBigRowBytes = 20'000;
/// Where bytes come one by one, so that it does not take seconds.
constexpr size_t kBigRowBytewise = 200;

std::string password_of(const simulation::Scenario& scenario, const std::string& user) {
  const auto found = scenario.passwords.find(user);
  return found == scenario.passwords.end() ? "none" : found->second;
}

std::string_view next_word(std::string_view& text) {
  const size_t begin = std::min(text.find_first_not_of(" ;"), text.size());
  const size_t end = std::min(text.find_first_of(" ;", begin), text.size());
  const std::string_view word = text.substr(begin, end - begin);
  text.remove_prefix(end);
  return word;
}

bool same_word(std::string_view word, std::string_view lower_case) {
  return word.size() == lower_case.size() &&
         std::equal(word.begin(), word.end(), lower_case.begin(),
                    [](char a, char b) { return (a >= 'A' && a <= 'Z' ? static_cast<char>(a - 'A' + 'a') : a) == b; });
}

}  // namespace

// ---- Both ----------------------------------------------------------------------------------------------------------

ScriptedPeer::ScriptedPeer(const simulation::Scenario& scenario, std::shared_ptr<simulation::Connection> connection)
    : scenario_(scenario), connection_(std::move(connection)) {
  connection_->set_peer(this);
}

void ScriptedPeer::on_received(std::string_view bytes) {
  received_ += bytes;
  input_.append(bytes);
  if (!is_silent_) answer();
}

void ScriptedPeer::send_raw(std::string_view bytes) {
  has_sent_raw_ = true;
  send(bytes);
}

void ScriptedPeer::close(bool reset) {
  has_ended_ = true;
  connection_->peer_closes(reset);
}

// ---- The client ----------------------------------------------------------------------------------------------------

void ScriptedClient::start_up(std::string_view words) {
  user_ = next_word(words);
  protocol::Parameters parameters = {{"user", user_}, {"database", std::string(next_word(words))}};
  while (true) {
    const std::string_view word = next_word(words);
    const size_t equals = word.find('=');
    if (equals == std::string_view::npos || equals == 0) break;
    parameters.emplace_back(word.substr(0, equals), word.substr(equals + 1));
  }
  std::string packet;
  protocol::append_startup_message(packet, protocol::kProtocolMinorMax, parameters);
  send(packet);
}

void ScriptedClient::answer() {
  while (const auto frame = input_.next()) {
    if (frame->type == 'R') send(authenticate(frame->body));
    if (frame->type != 'K') continue;
    if (const auto key = protocol::decode_backend_key_data(frame->body)) {
      cancel_request_.clear();
      protocol::append_cancel_request(cancel_request_, key->process_id, key->secret);
    }
  }
}

std::string ScriptedClient::authenticate(std::string_view body) {
  namespace code = protocol::authentication;
  const std::string password = password_of(scenario_, user_);
  std::string answer;
  const auto request = protocol::decode_authentication(body);
  if (!request) return answer;
  switch (request->code) {
    case code::kCleartextPassword:
      protocol::append_password_message(answer, password);
      break;
    case code::kMd5Password: {
      std::array<unsigned char, 4> salt{};
      std::copy(request->payload.begin(), request->payload.end(), salt.begin());
      const auto response = protocol::md5_challenge_response(protocol::parse_secret(password), user_, salt);
      protocol::append_password_message(answer, response.value_or(""));
      break;
    }
    case code::kSasl: {
      protocol::ChannelBinding binding;
      if (scenario_.tls_facts) binding = {scenario_.tls_facts->server_end_point, true};
      const bool plus = binding.plus;
      scram_ = std::make_unique<protocol::ScramClient>("nonce-of-client", "", std::move(binding));
      protocol::append_sasl_initial_response(answer, plus ? protocol::kScramSha256Plus : protocol::kScramSha256,
                                             scram_->first());
      break;
    }
    case code::kSaslContinue: {
      const auto challenge = scram_ ? scram_->server_first(request->payload) : std::nullopt;
      const auto keys =
          challenge ? protocol::derive_keys(password, challenge->salt, challenge->iterations) : std::nullopt;
      const auto proof = keys ? scram_->final_message(*keys) : std::nullopt;
      protocol::append_sasl_response(answer, proof.value_or(""));
      break;
    }
    default:
      break;
  }
  return answer;
}

// ---- The server ----------------------------------------------------------------------------------------------------

void ScriptedServer::answer() {
  if (!has_started_ && !first_packet()) return;
  std::string out;
  while (const auto frame = input_.next()) {
    if (is_in_) {
      message(*frame, out);
    } else {
      check_password(*frame, out);
    }
  }
  send(out);
}

/// Whether it is over, and a session has begun.
bool ScriptedServer::first_packet() {
  const auto packet = protocol::decode_first_packet(input_.bytes());
  if (packet.kind == protocol::FirstPacketResult::Kind::need_more) return false;
  if (packet.kind != protocol::FirstPacketResult::Kind::startup) {
    close(false);
    return false;
  }
  input_.bytes().erase(0, packet.bytes_consumed);
  user_ = packet.startup.user;
  has_started_ = true;
  std::string out;
  ask_for_password(out);
  send(out);
  return true;
}

void ScriptedServer::ask_for_password(std::string& out) {
  switch (scenario_.server_auth) {
    case simulation::ServerAuth::trust:
      return greet(out);
    case simulation::ServerAuth::cleartext:
      return protocol::append_authentication_cleartext(out);
    case simulation::ServerAuth::md5:
      return protocol::append_authentication_md5(out, {1, 2, 3, 4});
    case simulation::ServerAuth::scram: {
      std::vector<std::string_view> mechanisms = {protocol::kScramSha256};
      if (scenario_.tls_facts) mechanisms.insert(mechanisms.begin(), protocol::kScramSha256Plus);
      return protocol::append_authentication_sasl(out, mechanisms);
    }
  }
}

/// A SCRAM exchange is gone through, as the pooler wants the server's proof; other passwords are taken as they are.
void ScriptedServer::check_password(const Frame& frame, std::string& out) {
  if (scenario_.server_auth != simulation::ServerAuth::scram) return greet(out);
  if (!scram_) {
    const auto initial = protocol::decode_sasl_initial_response(frame.body);
    const auto verifier = scenario_.verifiers.find(user_);
    if (!initial || verifier == scenario_.verifiers.end()) return close(false);
    protocol::ChannelBinding binding;
    if (scenario_.tls_facts) binding.server_end_point = scenario_.tls_facts->server_end_point;
    binding.plus = initial->mechanism == protocol::kScramSha256Plus;
    scram_ = std::make_unique<protocol::ScramServer>(verifier->second, "nonce-of-server", std::move(binding));
    const auto first = scram_->client_first(initial->data.value_or(""));
    if (!first) return close(false);
    return protocol::append_authentication_sasl_continue(out, *first);
  }
  const auto last = scram_->client_final(frame.body);
  if (!last) return close(false);
  protocol::append_authentication_sasl_final(out, *last);
  greet(out);
}

void ScriptedServer::greet(std::string& out) {
  is_in_ = true;
  protocol::append_authentication_ok(out);
  protocol::append_parameter_status(out, "server_version", "15.8");
  protocol::append_parameter_status(out, "client_encoding", "UTF8");
  protocol::append_parameter_status(out, "in_hot_standby", "off");
  protocol::append_backend_key_data(out, 7, "abcd");
  protocol::append_ready_for_query(out, status_);
}

void ScriptedServer::message(const Frame& frame, std::string& out) {
  if (skips_ && frame.type != 'S' && frame.type != 'X') return;
  switch (frame.type) {
    case 'Q':
      return query(frame.body.substr(0, frame.body.find('\0')), out);
    case 'P':
      if (const auto parse = protocol::decode_parse(frame.body)) statements_[std::string(parse->name)] = parse->text;
      return protocol::append_parse_complete(out);
    case 'B': {
      const auto bind = protocol::decode_bind_prefix(frame.body, frame.body.size());
      bound_ = statements_[std::string(bind.statement)];
      return protocol::append_bind_complete(out);
    }
    case 'D':
      if (frame.body.starts_with('S')) protocol::append_parameter_description(out, {});
      return protocol::append_no_data(out);
    case 'E':
      return run(bound_, false, out);
    case 'C':
      return protocol::append_close_complete(out);
    case 'S':
      skips_ = false;
      return protocol::append_ready_for_query(out, status_);
    case 'F':
      protocol::MessageWriter(out, 'V').i32(-1).finish();
      return protocol::append_ready_for_query(out, status_);
    case 'c':
    case 'f':
      if (!std::exchange(copies_, false)) return;
      protocol::append_command_complete(out, "COPY 0");
      return protocol::append_ready_for_query(out, status_);
    case 'X':
      return close(false);
    default:
      return;
  }
}

void ScriptedServer::query(std::string_view text, std::string& out) {
  run(text, true, out);
  skips_ = false;
  if (!copies_) protocol::append_ready_for_query(out, status_);
}

void ScriptedServer::run(std::string_view text, bool describes, std::string& out) {
  std::string_view rest = text;
  const std::string_view word = next_word(rest);
  if (word.empty()) return protocol::append_empty_query_response(out);
  if (same_word(word, "fail")) {
    if (status_ == 'T') status_ = 'E';
    skips_ = true;
    return protocol::append_error_response(out, protocol::severity::kError, sqlstate::kSyntaxError, "as was wished");
  }
  if (same_word(word, "begin")) status_ = 'T';
  if (same_word(word, "commit") || same_word(word, "rollback")) status_ = 'I';
  if (same_word(word, "copyin")) {
    copies_ = describes;  // by Execute it is over at once
    protocol::MessageWriter(out, 'G').byte('\0').i16(0).finish();
    return;
  }
  if (same_word(word, "copyout")) {
    protocol::MessageWriter(out, 'H').byte('\0').i16(0).finish();
    protocol::MessageWriter(out, 'd').bytes("data").finish();
    protocol::MessageWriter(out, 'c').finish();
  }
  if (same_word(word, "select") || same_word(word, "big")) return rows(text, describes, out);
  protocol::append_command_complete(out, word);
}

void ScriptedServer::rows(std::string_view text, bool describes, std::string& out) {
  std::vector<std::optional<std::string_view>> values = {"1"};
  const std::string secret = password_of(scenario_, "u1");
  if (text.find("rolcanlogin,") != std::string_view::npos) {
    values = {"u1", "t", std::nullopt};
  } else if (text.find("rolname") != std::string_view::npos) {
    values = {"u1", secret};
  } else if (text.find("pg_is_in_recovery") != std::string_view::npos) {
    values = {"f"};
  }
  const std::vector<protocol::ColumnDescription> columns(values.size(), {"column"});
  const bool is_big = !text.starts_with("S") && !text.starts_with("s");
  const std::string big(scenario_.bytewise > 0 ? kBigRowBytewise : kBigRowBytes, 'x');
  if (is_big) values = {big};
  if (describes) protocol::append_row_description(out, columns);
  for (size_t left = is_big ? kBigRows : 1; left > 0; left--) protocol::append_data_row(out, values);
  protocol::append_command_complete(out, "SELECT 1");
}

}  // namespace bezel::fuzz
