#include "pool/server_login.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <utility>

#include "pool/pool.h"
#include "pool/server.h"
#include "pool/worker.h"
#include "protocol/frames.h"
#include "protocol/messages.h"
#include "protocol/sqlstate.h"
#include "protocol/startup.h"

namespace bezel::pool {

namespace sqlstate = protocol::sqlstate;

namespace {

bool is_fatal(std::string_view body) {
  const auto fields = protocol::decode_error_fields(body);
  return !fields || fields->is_fatal();
}

}  // namespace

ServerLogin::ServerLogin(Server& server, Worker& worker)
    : server_(server),
      worker_(worker),
      encryption_(worker.settings(), server.pool_.database().direct_tls, server.host_) {}

ServerLogin::~ServerLogin() {
  *alive_ = false;
}

void ServerLogin::write(const std::string& message) {
  server_.stream_->write_copy(message);
}

void ServerLogin::fail(std::string_view reason) {
  if (done_) return;
  done_ = true;
  server_.login_failed(sqlstate::kConnectionFailure, reason);
}

void ServerLogin::fail_for_secret(std::string_view reason) {
  if (done_) return;
  done_ = true;
  server_.login_failed(sqlstate::kConnectionFailure, reason, is_by_learned_secret());
}

void ServerLogin::connected() {
  go_on(encryption_.connected(*server_.stream_));
}

void ServerLogin::secured() {
  go_on(encryption_.on_secured());
}

void ServerLogin::go_on(ServerEncryption::Step step) {
  switch (step) {
    case ServerEncryption::Step::wait:
      return;
    case ServerEncryption::Step::failed:
      return fail(encryption_.failure());
    case ServerEncryption::Step::ready:
      return send_startup();
  }
}

void ServerLogin::send_startup() {
  started_ = true;
  Pool& pool = server_.pool_;
  const DatabaseSettings& database = pool.database();
  protocol::Parameters parameters = {{"user", pool.user_name()},
                                     {"database", database.dbname.empty() ? pool.database_name() : database.dbname}};
  for (const auto& parameter : database.server_parameters) parameters.push_back(parameter);
  std::string packet;
  protocol::append_startup_message(packet, 0, parameters);
  write(packet);
}

void ServerLogin::on_bytes(std::string_view bytes) {
  if (!started_) return go_on(encryption_.on_bytes(*server_.stream_, bytes));
  input_.append(bytes);
  size_t position = 0;
  while (!done_ && input_.size() - position >= protocol::kFrameHeaderBytes) {
    const protocol::FrameHeader header = protocol::read_frame_header(input_.data() + position);
    if (!header.length_valid(kFrameBytesMax)) return fail("server sent a message of invalid length");
    if (input_.size() - position < header.frame_bytes()) break;
    const std::string body = input_.substr(position + protocol::kFrameHeaderBytes, header.body_bytes());
    position += header.frame_bytes();
    message(header.type, body);
  }
  input_.erase(0, position);
  // What came behind the login is for the session; after a failure there is none.
  if (done_ && !input_.empty()) server_.on_bytes(worker_.keep_until_end_of_turn(std::exchange(input_, {})));
}

void ServerLogin::message(char type, std::string_view body) {
  if (role_question_ && type != 'Z' && type != 'S' && !(type == 'E' && is_fatal(body))) {
    return role_question_->on_message(type, body);
  }
  switch (type) {
    case 'R':
      return authentication(body);
    case 'E':
      return error(body);
    case 'N':
      return;
    case 'S':
      if (const auto parameter = protocol::decode_parameter_status(body)) {
        return server_.defaults_.set(parameter->name, parameter->value);
      }
      return fail("server sent an invalid ParameterStatus");
    case 'K':
      if (const auto key = protocol::decode_backend_key_data(body)) {
        server_.backend_pid_ = key->process_id;
        server_.cancel_secret_ = key->secret;
        return;
      }
      return fail("server sent an invalid BackendKeyData");
    case 'Z':
      if (!authenticated_) return fail("server skipped authentication");
      if (protocol::decode_ready_for_query(body) != 'I') return fail("server sent an invalid ReadyForQuery");
      return ready();
    default:
      return fail(fmt::format("server sent an unexpected message of type {} during login",
                              static_cast<int>(static_cast<unsigned char>(type))));
  }
}

/// The server takes queries: the login is complete, unless it is not known yet whether this is a server that is wanted.
void ServerLogin::ready() {
  Upstream* const upstream = server_.upstream();
  if (upstream == nullptr) {
    done_ = true;
    return server_.logged_in();
  }
  if (role_question_) {
    const std::optional<ServerRole>& role = role_question_->role();
    if (!role) return fail("server does not say whether it is a primary");
    return role_known({role->in_recovery, reported_role().read_only, role->timeline});
  }
  const ServerRole reported = reported_role();
  const bool doubtful = !reported.in_recovery && upstream->doubts_timeline_of(server_.host());
  if (server_.defaults().find("in_hot_standby") != nullptr && !doubtful) return role_known(reported);
  role_question_.emplace();
  write(RoleQuestion::message());
}

/// By what PostgreSQL 14 and later report at login.
ServerRole ServerLogin::reported_role() const {
  const auto is_on = [this](std::string_view parameter) {
    const std::string* value = server_.defaults().find(parameter);
    return value != nullptr && *value == "on";
  };
  return ServerRole{is_on("in_hot_standby"), is_on("default_transaction_read_only")};
}

void ServerLogin::role_known(ServerRole role) {
  done_ = true;
  const std::string refusal = server_.upstream()->logged_in(server_.host(), role, server_.pool_.wanted(),
                                                            worker_.now_us(), worker_.runtime().wall_clock_us());
  if (!refusal.empty()) return server_.login_refused(refusal);
  server_.logged_in();
}

void ServerLogin::error(std::string_view body) {
  if (done_) return;
  done_ = true;
  const auto fields = protocol::decode_error_fields(body);
  const bool readable = fields && !fields->message.empty();
  server_.login_failed(readable && fields->sqlstate.size() == 5 ? fields->sqlstate : sqlstate::kConnectionFailure,
                       readable ? fields->message : "server sent an error without a message",
                       readable && fields->sqlstate == sqlstate::kInvalidPassword && is_by_learned_secret());
}

bool ServerLogin::is_by_learned_secret() const {
  const auto known = secret();
  const auto& learned = server_.pool_.learned_secret().secret();
  return known && learned && known->text == learned->text;
}

std::optional<protocol::StoredSecret> ServerLogin::secret() const {
  const DatabaseSettings& database = server_.pool_.database();
  if (!database.password.empty()) return protocol::parse_secret(database.password);
  const auto& secrets = worker_.settings().secrets;
  const auto at = secrets.find(server_.pool_.user_name());
  const auto& learned = server_.pool_.learned_secret().secret();
  if (at == secrets.end()) return learned;
  // A password that the client has proved to PAM or LDAP is of more use than what is none.
  const bool is_password = at->second.kind != protocol::SecretKind::scram_sha_256 && !at->second.text.empty();
  return is_password || !learned || learned->kind != protocol::SecretKind::plain ? at->second : learned;
}

void ServerLogin::authentication(std::string_view body) {
  namespace code = protocol::authentication;
  const auto request = protocol::decode_authentication(body);
  if (!request) return fail("server sent an invalid authentication request");
  if (const auto fault = fault_of_order(request->code)) return fail(*fault);
  switch (request->code) {
    case code::kOk:
      return authentication_ok();
    case code::kCleartextPassword:
      return answer_cleartext();
    case code::kMd5Password:
      return answer_md5(request->payload);
    case code::kSasl:
      return begin_scram(request->payload);
    case code::kSaslContinue:
      return continue_scram(request->payload);
    case code::kSaslFinal:
      if (!scram_) return fail("server ends SASL that was not begun");
      if (!scram_->verify_server_final(request->payload)) return fail(scram_->failure());
      scram_verified_ = true;
      return;
    default:
      return fail(fmt::format("server asks for unsupported authentication {}", request->code));
  }
}

std::optional<std::string_view> ServerLogin::fault_of_order(int32_t asked) const {
  namespace code = protocol::authentication;
  if (authenticated_ || (password_sent_ && asked != code::kOk)) return "server asks for authentication once more";
  const bool part_of_sasl =
      asked == code::kSasl || asked == code::kSaslContinue || asked == code::kSaslFinal || asked == code::kOk;
  // A server that can check a proof has no use for the password itself.
  if (scram_ && !part_of_sasl) return "server asks for a password in the middle of SCRAM";
  const bool bound = server_.pool_.database().channel_binding == ChannelBindingMode::require;
  if (bound && !part_of_sasl) {
    return "channel binding is required, but the server asks for a password in a way that cannot be bound";
  }
  return std::nullopt;
}

void ServerLogin::authentication_ok() {
  if (scram_ && !scram_verified_) return fail("server skipped its part of SCRAM");
  const bool bound = scram_ && scram_->channel_bound();
  if (!bound && server_.pool_.database().channel_binding == ChannelBindingMode::require) {
    return fail("channel binding is required, but the server did without it");
  }
  authenticated_ = true;
}

void ServerLogin::answer_cleartext() {
  const auto known = secret();
  if (!known || known->kind != protocol::SecretKind::plain) {
    return fail_for_secret(
        fmt::format("server asks for a password, and none is known for user \"{}\"", server_.pool_.user_name()));
  }
  password_sent_ = true;
  std::string answer;
  protocol::append_password_message(answer, known->text);
  write(answer);
}

void ServerLogin::answer_md5(std::string_view salt) {
  std::array<unsigned char, 4> bytes;
  std::memcpy(bytes.data(), salt.data(), bytes.size());
  const auto known = secret();
  const auto response =
      known ? protocol::md5_challenge_response(*known, server_.pool_.user_name(), bytes) : std::nullopt;
  if (!response) {
    return fail_for_secret(
        fmt::format("server asks for an md5 password, and none is known for user \"{}\"", server_.pool_.user_name()));
  }
  password_sent_ = true;
  std::string answer;
  protocol::append_password_message(answer, *response);
  write(answer);
}

void ServerLogin::begin_scram(std::string_view mechanisms) {
  const auto offered = protocol::decode_sasl_mechanisms(mechanisms);
  if (!offered) return fail("server sent an invalid list of SASL mechanisms");
  if (scram_) return fail("server asks for SASL twice");
  auto binding = choose_binding(*offered);
  if (!binding) return;
  const std::string_view mechanism = binding->plus ? protocol::kScramSha256Plus : protocol::kScramSha256;
  if (std::find(offered->begin(), offered->end(), mechanism) == offered->end()) {
    return fail("server offers no SASL mechanism that is supported");
  }
  char random[protocol::kScramRawNonceBytes];
  worker_.runtime().random_bytes(random, sizeof random);
  scram_ =
      std::make_unique<protocol::ScramClient>(protocol::scram_nonce({random, sizeof random}), "", std::move(*binding));
  std::string answer;
  protocol::append_sasl_initial_response(answer, mechanism, scram_->first());
  write(answer);
}

/// As libpq does it. Nothing: the login has failed.
std::optional<protocol::ChannelBinding> ServerLogin::choose_binding(const std::vector<std::string_view>& offered) {
  const ChannelBindingMode mode = server_.pool_.database().channel_binding;
  if (mode == ChannelBindingMode::disable) return protocol::ChannelBinding();
  const auto refuse = [this](std::string_view reason) {
    fail(reason);
    return std::nullopt;
  };
  const bool plus_offered = std::find(offered.begin(), offered.end(), protocol::kScramSha256Plus) != offered.end();
  const TlsFacts* facts = server_.stream_->tls_facts();
  if (facts == nullptr) {
    if (mode == ChannelBindingMode::require) {
      return refuse("channel binding is required, but the connection is not encrypted");
    }
    // It is encrypted where the server sees it: somebody in between has taken TLS away.
    if (plus_offered) return refuse("server offers SCRAM-SHA-256-PLUS on a connection that is not encrypted");
    return protocol::ChannelBinding();
  }
  if (mode == ChannelBindingMode::require) {
    if (facts->server_end_point.empty()) {
      return refuse("channel binding is required, but the server's certificate has no hash to bind to");
    }
    if (!plus_offered) return refuse("channel binding is required, but the server does not offer SCRAM-SHA-256-PLUS");
  }
  return protocol::ChannelBinding{facts->server_end_point, plus_offered && !facts->server_end_point.empty()};
}

void ServerLogin::continue_scram(std::string_view challenge_text) {
  if (!scram_) return fail("server continues SASL that was not begun");
  const auto challenge = scram_->server_first(challenge_text);
  if (!challenge) return fail(scram_->failure());
  const auto known = secret();
  if (known && known->kind == protocol::SecretKind::plain) return derive(known->text, *challenge);
  const auto& learned = server_.pool_.learned_secret().keys();
  if (learned && learned->salt == challenge->salt && learned->iterations == challenge->iterations)
    return prove(learned->keys);
  if (const auto passed = server_.pool_.user_share().passed_keys()) {
    if (passed->salt == challenge->salt && passed->iterations == challenge->iterations) return prove(passed->keys);
    return fail_for_secret(
        fmt::format("the SCRAM secret of user \"{}\" is not the one that the server has", server_.pool_.user_name()));
  }
  fail_for_secret(fmt::format(
      "server asks for SCRAM, and neither a password nor the keys of a client's login are known for user \"{}\"",
      server_.pool_.user_name()));
}

void ServerLogin::derive(const std::string& password, const protocol::ScramClient::Challenge& challenge) {
  DerivedKeys& derived = server_.pool_.user_share().derived_keys;
  if (const auto keys = derived.find(password, challenge.salt, challenge.iterations)) return prove(*keys);
  auto keys = std::make_shared<std::optional<protocol::ScramKeys>>();
  worker_.runtime().offload(
      [keys, password, challenge] { *keys = protocol::derive_keys(password, challenge.salt, challenge.iterations); },
      [this, alive = alive_, keys, password, challenge] {
        if (!*alive || done_) return;
        if (!*keys) return fail("could not derive SCRAM keys");
        server_.pool_.user_share().derived_keys.add(password, challenge.salt, challenge.iterations, **keys);
        prove(**keys);
      });
}

void ServerLogin::prove(const protocol::ScramKeys& keys) {
  const auto proof = scram_->final_message(keys);
  if (!proof) return fail("could not prove the password");
  std::string answer;
  protocol::append_sasl_response(answer, *proof);
  write(answer);
}

}  // namespace bezel::pool
