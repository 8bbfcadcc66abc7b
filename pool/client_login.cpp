#include "pool/client_login.h"

#include <fmt/format.h>

#include <algorithm>

#include "pool/client.h"
#include "pool/pool.h"
#include "pool/printable.h"
#include "pool/server.h"
#include "pool/worker.h"
#include "protocol/messages.h"
#include "protocol/sqlstate.h"
#include "protocol/wipe.h"

namespace bezel::pool {

namespace sqlstate = protocol::sqlstate;

ClientIdentity::~ClientIdentity() {
  if (all_clients != nullptr) all_clients->give_back();
  if (holds_user_slot) user->clients.give_back();
  if (holds_database_slot) database->clients.give_back();
}

ClientLogin::~ClientLogin() {
  stop();
  *alive_ = false;
  protocol::wipe(input_);
  if (secret_) protocol::wipe(secret_->text);
}

void ClientLogin::stop() {
  stage_ = Stage::ended;
  if (question_) question_->given_up = true;
}

void ClientLogin::start(Client& client, Worker& worker) {
  client_ = &client;
  worker_ = &worker;
  if (stage_ == Stage::moved) on_right_worker();
}

void ClientLogin::send(std::string_view message) {
  client_->write_copy(message);
}

void ClientLogin::fail(const protocol::ProtocolError& error) {
  stop();
  worker_->statistics().failed_logins.add(1);
  client_->fail(error);
}

void ClientLogin::on_bytes(std::string_view bytes) {
  if (stage_ == Stage::first_packet) {
    input_.append(bytes);
  } else {
    // It may be a password.
    client_->stream_->wipe_received();
    protocol::append_wiping(input_, bytes);
  }
  const size_t most = stage_ == Stage::first_packet ? protocol::kFirstPacketBytesMax : kInputBytesMax;
  // Nobody has a reason to send more than the message that is due: what is asked for next depends on our answer.
  if (input_.size() > most)
    return fail({sqlstate::kProtocolViolation, "too much data before the login is complete", "", ""});
  if (stage_ == Stage::first_packet) {
    first_packet();
  } else {
    message();
  }
}

bool ClientLogin::may_use_tls() const {
  return worker_->settings().client_tls != nullptr && !client_->stream_->is_local();
}

void ClientLogin::encryption_requested(protocol::FirstPacketResult::Kind kind) {
  if (client_->stream_->tls_facts() != nullptr) {
    return fail({sqlstate::kProtocolViolation, "encryption was requested in an encrypted connection", "", ""});
  }
  if (kind != protocol::FirstPacketResult::Kind::ssl_request || !may_use_tls()) return send("N");
  send("S");
  start_tls(false);
}

void ClientLogin::start_tls(bool direct) {
  stage_ = Stage::securing;
  const std::string received = std::exchange(input_, {});
  client_->stream_->start_tls(
      {.context = worker_->settings().client_tls, .host = {}, .direct = direct, .received = received});
}

void ClientLogin::secured() {
  stage_ = Stage::first_packet;
}

void ClientLogin::first_packet() {
  // PostgreSQL 17's direct way: TLS from the first byte, the type of a handshake record.
  constexpr char kTlsHandshake = 0x16;
  if (input_.front() == kTlsHandshake && may_use_tls() && client_->stream_->tls_facts() == nullptr) {
    return start_tls(true);
  }
  using Kind = protocol::FirstPacketResult::Kind;
  protocol::FirstPacketResult result = protocol::decode_first_packet(input_);
  switch (result.kind) {
    case Kind::need_more:
      return;
    case Kind::error:
      return fail(result.error);
    case Kind::ssl_request:
    case Kind::gssenc_request:
      // Bytes that came before our answer would be taken for encrypted ones (CVE-2021-3935).
      if (input_.size() > result.bytes_consumed) {
        return fail(
            {sqlstate::kProtocolViolation, "received unencrypted data after SSL or GSSAPI encryption request", "",
             "This could be either a client-software bug or evidence of an attempted man-in-the-middle attack."});
      }
      input_.clear();
      return encryption_requested(result.kind);
    case Kind::cancel_request:
      stage_ = Stage::cancel;
      worker_->statistics().cancel_requests.add(1);
      return worker_->route_cancel(static_cast<uint32_t>(result.cancel.process_id), std::string(result.cancel.secret),
                                   client_->id());
    case Kind::startup:
      if (input_.size() > result.bytes_consumed) {
        return fail({sqlstate::kProtocolViolation, "unexpected data after startup packet", "", ""});
      }
      input_.clear();
      input_.shrink_to_fit();
      return startup(std::move(result.startup));
  }
}

bool ClientLogin::is_console() const {
  return packet_.database == "pgbouncer" || packet_.database == "bezel";
}

void ClientLogin::startup(protocol::StartupPacket packet) {
  packet_ = std::move(packet);
  for (const auto& [name, value] : packet_.parameters) {
    if (name == "replication" && value != "false" && value != "off" && value != "no" && value != "0") {
      return fail({sqlstate::kFeatureNotSupported, "replication connections are not supported", "", ""});
    }
  }
  if (worker_->settings().client_tls_sslmode >= TlsMode::require && client_->stream_->tls_facts() == nullptr &&
      !client_->stream_->is_local()) {
    return fail({sqlstate::kInvalidAuthorizationSpecification, "SSL required", "", ""});
  }
  stage_ = Stage::moved;
  const DatabaseSettings* entry = is_console() ? nullptr : worker_->database_entry(packet_.database);
  int home = worker_->index();
  if (entry != nullptr) home = worker_->home_of(packet_.database, entry->user.empty() ? packet_.user : entry->user);
  if (home != worker_->index()) return worker_->hand_over(*client_, home);
  on_right_worker();
}

void ClientLogin::on_right_worker() {
  const protocol::Negotiation negotiation = protocol::negotiate(packet_);
  client_->protocol_3_2_ = negotiation.minor_to_speak >= 2;
  if (negotiation.needs_message) {
    std::string answer;
    protocol::append_negotiate_protocol_version(answer, negotiation.minor_to_speak, negotiation.unsupported);
    send(answer);
  }
  authenticate();
}

void ClientLogin::message() {
  if (stage_ == Stage::cancel || stage_ == Stage::looking_up || stage_ == Stage::deriving ||
      stage_ == Stage::parameters || stage_ == Stage::ended) {
    // A client that sends before it may is only buffered, within the bound.
    return;
  }
  if (input_.size() < protocol::kFrameHeaderBytes) return;
  const protocol::FrameHeader header = protocol::read_frame_header(input_.data());
  if (header.type == 'X') return client_->close_quietly("client left during login");
  if (header.type != 'p') {
    return fail({sqlstate::kProtocolViolation,
                 fmt::format("expected password response, got message type {}",
                             static_cast<int>(static_cast<unsigned char>(header.type))),
                 "", ""});
  }
  if (!header.length_valid(kInputBytesMax - 1)) {
    return fail({sqlstate::kProtocolViolation, "invalid password packet size", "", ""});
  }
  if (input_.size() < header.frame_bytes()) return;
  if (input_.size() > header.frame_bytes()) {
    return fail({sqlstate::kProtocolViolation, "unexpected data after password packet", "", ""});
  }
  if (is_throttled()) return refuse_throttled();
  std::string frame = std::exchange(input_, {});
  check(std::string_view(frame).substr(protocol::kFrameHeaderBytes));
  protocol::wipe(frame);
}

void ClientLogin::check(std::string_view body) {
  switch (stage_) {
    case Stage::cleartext:
      return check_cleartext(body);
    case Stage::md5:
      return check_md5(body);
    case Stage::sasl_initial:
      return sasl_initial(body);
    case Stage::sasl_response:
      return sasl_response(body);
    default:
      return fail({sqlstate::kProtocolViolation, "unexpected password response", "", ""});
  }
}

// ---- After authentication ------------------------------------------------------------------------------------------

void ClientLogin::authenticated() {
  if (is_console()) return open_console();
  const DatabaseSettings* entry = worker_->database_entry(packet_.database);
  if (entry == nullptr) {
    return fail({sqlstate::kInvalidCatalogName, fmt::format("no such database: {}", packet_.database), "",
                 "The name must be listed under databases: in Bezel's configuration."});
  }
  if (method_ == AuthType::any && entry->user.empty()) {
    return fail(
        {sqlstate::kInvalidAuthorizationSpecification, "auth_type any needs a database with a forced user", "", ""});
  }
  if (!take_places(entry)) return;
  pool_ = &worker_->pool_of(*entry, packet_.database, entry->user.empty() ? packet_.user : entry->user);
  if ((auth_source_ || question_) && secret_ && entry->user.empty()) {
    pool_->learn_secret(*secret_, std::move(proved_keys_), auth_source_ != nullptr);
  }
  pool_->add_client();
  client_->pool_ = pool_;
  if (!collect_parameters()) return;
  settle_parameters();
}

bool ClientLogin::take_places(const DatabaseSettings* entry) {
  const Settings& settings = worker_->settings();
  Directory& directory = worker_->shared().directory;
  auto identity = std::make_unique<ClientIdentity>();
  identity->user = directory.user(packet_.user);
  if (entry != nullptr) {
    identity->database = directory.database(packet_.database);
    const auto refuse = [this](std::string message) {
      fail({sqlstate::kTooManyConnections, std::move(message), "", ""});
      return false;
    };
    if (identity->database->disabled.load()) {
      fail({sqlstate::kCannotConnectNow, fmt::format("database \"{}\" is disabled", packet_.database), "", ""});
      return false;
    }
    if (const protocol::ProtocolError* refusal = worker_->refusal()) {
      fail(*refusal);
      return false;
    }
    if (!directory.clients.take(settings.max_client_conn))
      return refuse("no more connections allowed (max_client_conn)");
    identity->all_clients = &directory.clients;
    const UserSettings* user = worker_->user_entry(packet_.user);
    const int user_max = user != nullptr
                             ? user->max_user_client_connections.value_or(settings.max_user_client_connections)
                             : settings.max_user_client_connections;
    identity->holds_user_slot = identity->user->clients.take(user_max);
    if (!identity->holds_user_slot) return refuse("no more connections allowed (max_user_client_connections)");
    identity->holds_database_slot =
        identity->database->clients.take(entry->max_db_client_connections.value_or(settings.max_db_client_connections));
    if (!identity->holds_database_slot) return refuse("no more connections allowed (max_db_client_connections)");
  }
  client_->identity_ = std::move(identity);
  return true;
}

void ClientLogin::open_console() {
  const Settings& settings = worker_->settings();
  const auto listed = [this](const std::vector<std::string>& users) {
    return std::find(users.begin(), users.end(), packet_.user) != users.end();
  };
  ConsoleRole role = ConsoleRole::stats;
  if (settings.auth_type == AuthType::any || listed(settings.admin_users)) {
    role = ConsoleRole::admin;
  } else if (!listed(settings.stats_users)) {
    return fail({sqlstate::kInsufficientPrivilege, "not allowed", "",
                 "The console is for the users listed in admin_users and stats_users."});
  }
  if (!take_places(nullptr)) return;
  stage_ = Stage::ended;
  std::string greeting;
  protocol::append_authentication_ok(greeting);
  greeting += worker_->shared().console->greeting();
  protocol::append_backend_key_data(greeting, static_cast<int32_t>(client_->cancel_pid()), client_->cancel_secret());
  protocol::append_ready_for_query(greeting, 'I');
  send(greeting);
  client_->login_done(worker_->shared().console->open(packet_.user, role, *client_));
}

bool ClientLogin::add_parameter(std::string_view name, std::string_view value) {
  std::string key = parameter_key(name);
  const auto& ignored = worker_->settings().ignore_startup_parameters;
  if (std::any_of(ignored.begin(), ignored.end(), [&](const std::string& one) { return parameter_key(one) == key; })) {
    return true;
  }
  if (!parameter_is_session_state(key)) {
    fail({sqlstate::kCantChangeRuntimeParam, fmt::format("parameter \"{}\" cannot be changed", name), "", ""});
    return false;
  }
  values_.emplace_back(std::move(key), value);
  return true;
}

bool ClientLogin::collect_parameters() {
  // As in PostgreSQL, what is named outright overrides what stands in options, whatever their order.
  for (const auto& [name, value] : packet_.parameters) {
    if (name != "options") continue;
    const auto& ignored = worker_->settings().ignore_startup_parameters;
    if (std::find(ignored.begin(), ignored.end(), "options") != ignored.end()) continue;
    protocol::StartupOptionsResult options = protocol::parse_startup_options(value);
    if (options.error) {
      fail(*options.error);
      return false;
    }
    for (const auto& [option, setting] : options.options) {
      if (!add_parameter(option, setting)) return false;
    }
  }
  for (const auto& [name, value] : packet_.parameters) {
    if (name == "options" || name == "user" || name == "database" || name == "replication") continue;
    if (!add_parameter(name, value)) return false;
  }
  if (worker_->settings().application_name_add_host) client_->add_host_to_application_name(values_);
  return true;
}

namespace {

/// What PostgreSQL 15 says of itself at a login, and somewhat more.
constexpr size_t kGreetingBytes = 512;

/// PostgreSQL takes any application_name; only one that it would alter needs to be asked for.
bool certainly_accepted(std::string_view key, std::string_view value) {
  return key == "application_name" && value.size() < 64 &&
         std::all_of(value.begin(), value.end(), [](char c) { return c >= 32 && c < 127; });
}

}  // namespace

void ClientLogin::settle_parameters() {
  const ReportedParameters& defaults = pool_->defaults();
  bool known = !defaults.entries().empty();
  std::vector<std::pair<std::string, std::string>> accepted;
  for (const auto& [key, value] : values_) {
    const std::string* as_reported = certainly_accepted(key, value) ? &value : pool_->accepted_parameter(key, value);
    known = known && as_reported != nullptr;
    if (!known) break;
    const std::string* by_default = defaults.find(key);
    if (by_default == nullptr || *by_default != *as_reported) accepted.emplace_back(key, *as_reported);
  }
  client_->parameters_ = worker_->parameters().intern(known ? std::move(accepted) : values_);
  if (known) return greet();
  // Whether PostgreSQL takes these values, only PostgreSQL can say: they are set on a server before the login ends.
  stage_ = Stage::parameters;
  client_->await_server_for_login();
}

void ClientLogin::parameters_applied(const protocol::ProtocolError* error) {
  if (error != nullptr) return fail(*error);
  const ReportedParameters& defaults = client_->server_ != nullptr ? client_->server_->defaults() : pool_->defaults();
  for (const auto& [key, value] : values_) {
    const std::string* reported = client_->parameters_->find(key);
    if (reported == nullptr) reported = defaults.find(key);
    pool_->accept_parameter(key, value, reported != nullptr ? *reported : value);
  }
  greet();
}

void ClientLogin::greet() {
  std::string greeting;
  greeting.reserve(kGreetingBytes);
  protocol::append_authentication_ok(greeting);
  // A reload may just have made the pool forget them.
  const ReportedParameters& defaults = client_->server_ != nullptr ? client_->server_->defaults() : pool_->defaults();
  for (const ReportedParameters::Entry& entry : defaults.entries()) {
    const std::string* own = client_->parameters_->find(entry.key);
    protocol::append_parameter_status(greeting, entry.name, own != nullptr ? *own : entry.value);
  }
  protocol::append_backend_key_data(greeting, static_cast<int32_t>(client_->cancel_pid()), client_->cancel_secret());
  protocol::append_ready_for_query(greeting, 'I');
  send(greeting);
  stage_ = Stage::ended;
  client_->login_done(nullptr);
}

}  // namespace bezel::pool
