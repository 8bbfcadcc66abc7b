#include "tests/simulation/client.h"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>

#include "protocol/messages.h"
#include "protocol/secret.h"
#include "protocol/sqlstate.h"
#include "protocol/startup.h"
#include "protocol/writer.h"
#include "tests/simulation/world.h"

namespace bezel::simulation {

namespace sqlstate = protocol::sqlstate;

namespace {

constexpr int64_t kSecond = 1'000'000;

/// How long a client bears that nothing happens. Longer than anything that the scenarios do to it.
constexpr int64_t kPatienceUs = 15 * kSecond;
constexpr int64_t kPatienceWithSilentServersUs = 5 * kSecond;

constexpr std::string_view kRollback{"ROLLBACK\0", 9};

std::string shown(const Frame& frame) {
  std::string text = fmt::format("{}[{}] ", frame.type, frame.body.size());
  for (const char c : frame.body.substr(0, 200)) text += c >= 32 && c < 127 ? c : '.';
  return text;
}

}  // namespace

SimulatedClient::SimulatedClient(World& world, size_t index) : world_(world), index_(index) {
  actions_left_ = world.scenario().actions;
}

std::string SimulatedClient::new_id() {
  return fmt::format("c{}.{}", index_, ids_++);
}

std::string SimulatedClient::describe() const {
  return fmt::format("{} ({}/{}, stage {}, expects {} messages, model has {} frames, status {})", name(), user_,
                     database_, static_cast<int>(stage_), expected_.size(), model_ ? model_->queued_frames() : 0,
                     model_ ? model_->status() : '-');
}

// ---- Login ---------------------------------------------------------------------------------------------------------

void SimulatedClient::choose_identity() {
  Random& random = world_.random();
  const Scenario& scenario = world_.scenario();
  user_ = random.chance(60) ? "u1" : "u2";
  std::vector<std::string> names;
  for (const auto& [name, entry] : scenario.settings->databases) names.push_back(name == "*" ? "auto" : name);
  database_ = random.pick(names);
  password_ = scenario.passwords.at(user_);
  const auto add = [&](std::string name, std::string value) {
    startup_.emplace_back(std::move(name), std::move(value));
  };
  if (random.chance(40))
    add("application_name", random.chance(30) ? "it's \\ odd" : "app" + std::to_string(index_ % 3));
  if (random.chance(20)) add("TimeZone", random.chance(50) ? "Europe/Rome" : "Asia/Tokyo");
  if (random.chance(20)) add("DateStyle", random.chance(50) ? "ISO" : "German");
  if (random.chance(20)) add("client_encoding", "UTF8");
  if (random.chance(20)) add("options", "-c search_path=s" + std::to_string(index_ % 2) + " --statement-timeout=77");
  if (random.chance(5)) add("my.setting", "a;b'c");
  if (!scenario.odd_clients || !random.chance(40)) return;
  switch (random.below(5)) {
    case 0:
      wrong_password_ = scenario.settings->auth_type != pool::AuthType::trust;
      must_be_refused_ = wrong_password_;
      if (wrong_password_) password_ = "wrong";
      break;
    case 1:
      add("TimeZone", "Nowhere");
      must_be_refused_ = true;
      break;
    case 2:
      add("options", "-c no_such_parameter=1");
      must_be_refused_ = true;
      break;
    case 3:
      if (!scenario.settings->databases.contains("*")) {
        database_ = "nowhere";
        must_be_refused_ = true;
      }
      break;
    default:
      add("replication", "database");
      must_be_refused_ = true;
  }
}

void SimulatedClient::start() {
  Random& random = world_.random();
  choose_identity();
  connection_ = world_.connect();
  connection_->set_peer(this);
  const bool bytewise = random.chance(world_.scenario().bytewise);
  connection_->set_bytewise(bytewise);
  slow_reader_ = !bytewise && random.chance(15);
  if (slow_reader_) connection_->set_window(static_cast<size_t>(random.between(500, 8000)));
  world_.after(kPatienceUs, World::kNobody, [this] { patience(); });
  // Whose stream has TLS facts is encrypted already.
  if (random.chance(20) && !world_.scenario().tls_facts) {
    stage_ = Stage::ssl;
    std::string request;
    protocol::append_ssl_request(request);
    connection_->send(request);
  } else {
    send_startup();
  }
  if (world_.scenario().client_faults && random.chance(50)) {
    world_.after(random.between(1, 100'000), World::kNobody, [this] {
      if (stage_ != Stage::done && stage_ != Stage::unborn) vanish();
    });
  }
  if (random.chance(60)) world_.after(random.between(100, 20'000), World::kNobody, [this] { impulse(); });
}

void SimulatedClient::send_startup() {
  stage_ = Stage::login;
  protocol::Parameters parameters = {{"user", user_}, {"database", database_}};
  parameters.insert(parameters.end(), startup_.begin(), startup_.end());
  minor_ = world_.random().chance(30) ? 2 : 0;
  const uint16_t asked = minor_ == 2 && world_.random().chance(30) ? 5 : minor_;
  std::string packet;
  protocol::append_startup_message(packet, asked, parameters);
  connection_->send(packet);
}

void SimulatedClient::authenticate(const Frame& frame) {
  namespace code = protocol::authentication;
  const auto request = protocol::decode_authentication(frame.body);
  if (!request) return world_.fail(name() + " got an invalid authentication request");
  std::string answer;
  switch (request->code) {
    case code::kOk:
      if (wrong_password_) world_.fail(name() + " got in with a wrong password");
      return;
    case code::kCleartextPassword:
      protocol::append_password_message(answer, password_);
      break;
    case code::kMd5Password: {
      std::array<unsigned char, 4> salt;
      std::copy(request->payload.begin(), request->payload.end(), salt.begin());
      protocol::append_password_message(
          answer, *protocol::md5_challenge_response(protocol::parse_secret(password_), user_, salt));
      break;
    }
    case code::kSasl: {
      const auto offered = protocol::decode_sasl_mechanisms(request->payload);
      const std::optional<pool::TlsFacts>& facts = world_.scenario().tls_facts;
      const bool can_bind = facts && !facts->server_end_point.empty();
      if (!offered || (offered->front() == protocol::kScramSha256Plus) != can_bind) {
        return world_.fail(name() + " was offered the wrong SASL mechanisms");
      }
      protocol::ChannelBinding binding;
      if (can_bind && world_.random().chance(70)) binding = {facts->server_end_point, true};
      const std::string_view mechanism = binding.plus ? protocol::kScramSha256Plus : protocol::kScramSha256;
      scram_ = std::make_unique<protocol::ScramClient>(protocol::scram_nonce(std::to_string(world_.random().next())),
                                                       "", std::move(binding));
      protocol::append_sasl_initial_response(answer, mechanism, scram_->first());
      break;
    }
    case code::kSaslContinue: {
      const auto challenge = scram_->server_first(request->payload);
      if (!challenge) return world_.fail(name() + " got a wrong SCRAM challenge");
      protocol::append_sasl_response(
          answer, *scram_->final_message(*protocol::derive_keys(password_, challenge->salt, challenge->iterations)));
      break;
    }
    case code::kSaslFinal:
      if (!scram_->verify_server_final(request->payload)) world_.fail(name() + " got a wrong SCRAM signature");
      return;
    default:
      return world_.fail(name() + " got an unknown authentication request");
  }
  connection_->send(answer);
}

void SimulatedClient::login_message(const Frame& frame) {
  switch (frame.type) {
    case 'R':
      return authenticate(frame);
    case 'S': {
      const auto parameter = protocol::decode_parameter_status(frame.body);
      greeted_with_.emplace(parameter->name, parameter->value);
      return;
    }
    case 'K': {
      const auto key = protocol::decode_backend_key_data(frame.body);
      cancel_pid_ = key->process_id;
      cancel_secret_ = key->secret;
      if (cancel_secret_.size() != (minor_ == 2 ? 32 : 4)) world_.fail(name() + " got a cancel key of a wrong size");
      return;
    }
    case 'v':
      return;
    case 'E':
      return connection_error(frame);
    case 'Z':
      return check_greeting();
    default:
      world_.fail(fmt::format("{} got {} during its login", name(), shown(frame)));
  }
}

/// The login is complete: the parameters must be its own, over the database's.
void SimulatedClient::check_greeting() {
  if (must_be_refused_) return world_.fail(name() + " got in although it had to be refused");
  const pool::Settings& settings = *world_.scenario().settings;
  auto entry = settings.databases.find(database_);
  if (entry == settings.databases.end()) entry = settings.databases.find("*");
  const std::string dbname = entry->second.dbname.empty() ? database_ : entry->second.dbname;
  const std::string server_user = entry->second.user.empty() ? user_ : entry->second.user;
  model_ = std::make_unique<Session>(dbname, server_user, world_.scenario().reports_at_once);
  for (const auto& [key, value] : entry->second.server_parameters) model_->start_with(key, value);
  const auto& ignored = settings.ignore_startup_parameters;
  const bool ignores_path = std::find(ignored.begin(), ignored.end(), "search_path") != ignored.end();
  for (const auto& [key, value] : startup_) {
    has_startup_parameters_ = true;
    if (key != "options") {
      model_->set(key, value);
      continue;
    }
    for (const auto& [option, setting] : protocol::parse_startup_options(value).options) {
      if (option != "search_path" || !ignores_path) model_->set(option, setting);
    }
  }
  if (settings.application_name_add_host) {
    has_startup_parameters_ = true;
    const std::string& own = *model_->value("application_name");
    const std::string host = fmt::format("{}:{}", connection_->ends.peer_address, connection_->ends.peer_port);
    const bool given =
        std::any_of(startup_.begin(), startup_.end(), [](const auto& one) { return one.first == "application_name"; });
    model_->set("application_name", given ? own + " - " + host : host);
  }
  model_->mark_all_reported();
  for (const auto& parameter : model_->reported()) {
    if (greeted_with_.contains(parameter)) continue;
    if (parameter.first == "in_hot_standby" && (world_.scenario().standbys || world_.cluster() != nullptr)) continue;
    return world_.fail(fmt::format("{} was not greeted with {}={}", name(), parameter.first, parameter.second));
  }
  stage_ = Stage::running;
  world_.logins++;
  act_later();
}

// ---- Answers -------------------------------------------------------------------------------------------------------

void SimulatedClient::on_received(std::string_view bytes) {
  if (stage_ == Stage::done) return;
  progress_++;
  if (stage_ == Stage::ssl) {
    if (bytes != "N") return world_.fail(name() + " got no plain refusal of encryption");
    return send_startup();
  }
  input_.append(bytes);
  while (auto frame = input_.next()) {
    if (stage_ == Stage::done || world_.failed()) return;
    if (error_seen_) return world_.fail(name() + " got something behind a fatal error");
    if (stage_ == Stage::login) {
      login_message(*frame);
    } else {
      answer(*frame);
    }
  }
  if (slow_reader_ && world_.random().chance(20)) {
    connection_->set_peer_reads(false);
    world_.after(world_.random().between(100, 50'000), World::kNobody, [this] { connection_->set_peer_reads(true); });
  }
  if (stage_ == Stage::running) act_later();
}

bool SimulatedClient::is_stray_notice(const Frame& frame) const {
  if (frame.type != 'N') return false;
  const auto fields = protocol::decode_error_fields(frame.body);
  return fields && (fields->message == "async" || fields->message.substr(0, 30) == "No server connection available");
}

bool SimulatedClient::matches(const Frame& frame, const Frame& expected) const {
  return frame.type == expected.type && frame.body == expected.body;
}

/// Lets the model go on until it has said something. False if it has nothing to say.
bool SimulatedClient::expect_more() {
  while (expected_.empty() && model_->has_work()) {
    if (has_asked_to_cancel_ || servers_may_be_lost()) model_before_ = std::make_unique<Session>(*model_);
    std::string out;
    model_->step(out);
    ids_of_step_ = model_->take_executed();
    reported_in_step_.clear();
    FrameCutter cutter;
    cutter.append(out);
    while (auto frame = cutter.next()) expected_.push_back(std::move(*frame));
    at_first_of_step_ = true;
  }
  return !expected_.empty();
}

/// Whether the message is the error of a cancelled statement at this place.
bool SimulatedClient::try_as_cancelled(const Frame& frame) {
  if (!has_asked_to_cancel_ || frame.type != 'E') return false;
  const auto fields = protocol::decode_error_fields(frame.body);
  if (!fields || fields->sqlstate != sqlstate::kQueryCanceled) return false;
  if (!expected_.empty()) {
    if (!at_first_of_step_ || !model_before_) return false;
    *model_ = *model_before_;
    expected_.clear();
  } else if (!model_->copying_in()) {
    return false;
  }
  ids_of_step_.clear();
  std::string out;
  model_->step(out, true);
  FrameCutter cutter;
  cutter.append(out);
  while (auto one = cutter.next()) expected_.push_back(std::move(*one));
  return !expected_.empty();
}

bool SimulatedClient::servers_may_be_lost() const {
  const Scenario& scenario = world_.scenario();
  if (scenario.standbys) return true;
  // A standby refuses some things; that is no loss, but the client's model takes it for one.
  if (scenario.cluster && !wants_primary()) return true;
  return (scenario.servers_are_lost() || scenario.half_dead) &&
         scenario.mode_of(database_, user_) != pool::PoolMode::session;
}

/// Whether the message is the error of a request whose server was lost before it answered.
bool SimulatedClient::try_as_lost(const Frame& frame) {
  if (!servers_may_be_lost() || frame.type != 'E') return false;
  const auto fields = protocol::decode_error_fields(frame.body);
  if (!fields || fields->severity != protocol::severity::kError) return false;
  const bool doubt = fields->sqlstate == sqlstate::kTransactionResolutionUnknown;
  const bool lost =
      fields->sqlstate == sqlstate::kAdminShutdown || fields->sqlstate == sqlstate::kCrashShutdown ||
      fields->sqlstate == sqlstate::kConnectionFailure ||
      (fields->sqlstate == sqlstate::kReadOnlySqlTransaction && !(world_.cluster() != nullptr && wants_primary()));
  const bool aborted = fields->sqlstate == sqlstate::kInFailedSqlTransaction;
  if (!doubt && !lost && !aborted) return false;
  if (!expected_.empty() && model_before_) {
    // What was not answered whole has not happened, for all that the client knows.
    *model_ = *model_before_;
    for (const auto& [name, value] : reported_in_step_) model_->note_reported(name, value);
  }
  const char before = model_->status();
  if (aborted && before != 'E') return false;
  expected_.clear();
  ids_of_step_.clear();
  std::string out;
  model_->lose(out);
  FrameCutter cutter;
  cutter.append(out);
  while (auto one = cutter.next()) expected_.push_back(std::move(*one));
  if (doubt && before == 'T' && !model_->request_holds("commit") && !model_->request_holds("rollback")) {
    world_.fail(name() + " is in doubt about a transaction that it has not ended");
  }
  world_.losses_seen++;
  in_doubt_ = doubt;
  lost_ = true;
  reported_in_step_.clear();
  return true;
}

/// As matches(), where the pooler answers in the place of a server that was lost.
bool SimulatedClient::matches_after_loss(const Frame& frame, const Frame& expected) {
  if (frame.type == 'Z' && expected.type == 'Z' && lost_) {
    const char told = frame.body.empty() ? '?' : frame.body[0];
    const bool ended = model_->request_holds("commit") || model_->request_holds("rollback");
    const bool as_expected = frame.body == expected.body && !(in_doubt_ && told != 'I');
    const bool over = told == 'I' && (in_doubt_ || ended);
    const bool begun = told == 'E' && !in_doubt_ && model_->request_holds("begin");
    if (!as_expected && !over && !begun) return false;
    model_->force_status(told);
    return true;
  }
  if (!servers_may_be_lost() || model_->status() != 'E') return false;
  // Texts are not parsed there, and nobody knows what parameters a ROLLBACK has.
  if (frame.type == 'E' && expected.type == 'E') {
    const auto fields = protocol::decode_error_fields(frame.body);
    const auto instead = protocol::decode_error_fields(expected.body);
    return fields && instead && fields->sqlstate == sqlstate::kInFailedSqlTransaction &&
           instead->sqlstate == sqlstate::kSyntaxError;
  }
  return frame.type == 't' && expected.type == 't';
}

/// In a batch without its Sync yet, and with a text of several statements, the pooler tells at once what a server would
/// tell with ReadyForQuery.
bool SimulatedClient::is_undone_parameter(const Frame& frame) {
  if (!servers_may_be_lost() || frame.type != 'S' || !(rolled_back_ || (lost_ && expected_.empty()))) return false;
  if (!expected_.empty() && !(at_first_of_step_ && model_before_)) return false;
  const Session& now = expected_.empty() ? *model_ : *model_before_;
  const auto parameter = protocol::decode_parameter_status(frame.body);
  std::string key(parameter->name);
  std::transform(key.begin(), key.end(), key.begin(), [](unsigned char c) { return std::tolower(c); });
  const std::string* value = now.value(key);
  if (value == nullptr || *value != parameter->value) return false;
  model_->note_reported(std::string(parameter->name), std::string(parameter->value));
  return true;
}

/// What was acknowledged has run, and what was committed has not been undone.
void SimulatedClient::check_ledger(const Frame& frame) {
  if (!expected_.empty()) return;
  for (const std::string& id : std::exchange(ids_of_step_, {})) {
    if (id.find('.') == std::string::npos || id.substr(0, id.find('.')) != name()) continue;
    if (!world_.was_executed(id)) world_.fail(fmt::format("{} was acknowledged and has not run", id));
    if (Cluster* cluster = world_.cluster()) cluster->acknowledged(id);
    if (model_->status() != 'I') ids_of_transaction_.push_back(id);
  }
  if (frame.type == 'C' && std::string_view(frame.body.c_str()) == "COMMIT") {
    for (const std::string& id : ids_of_transaction_) {
      if (world_.was_rolled_back(id)) world_.fail(fmt::format("{} is said to be committed, and was rolled back", id));
    }
  }
  if (model_->status() == 'I') ids_of_transaction_.clear();
}

void SimulatedClient::take_expected(const Frame& frame) {
  if (frame.type == 'Z') {
    world_.checked_answers++;
    lost_ = in_doubt_ = false;
  }
  if (frame.type == 'S') {
    const auto parameter = protocol::decode_parameter_status(frame.body);
    reported_in_step_.emplace_back(parameter->name, parameter->value);
  }
  if (frame.type != 'S') rolled_back_ = frame.type == 'C' && frame.body == kRollback;
  expected_.pop_front();
  at_first_of_step_ = false;
  check_ledger(frame);
}

/// A text that begins with COMMIT or ROLLBACK ends a transaction whose server is lost, whatever comes behind it: the
/// pooler does not parse it. A server then says what is wrong with the rest.
bool SimulatedClient::is_rollback_of_lost(const Frame& frame) {
  if (!servers_may_be_lost() || model_->status() != 'E' || frame.type != 'C' || expected_.empty()) return false;
  if (frame.body != kRollback || expected_.front().type != 'E') return false;
  if (!model_before_ || !model_before_->ends_transaction_next()) return false;
  const auto instead = protocol::decode_error_fields(expected_.front().body);
  if (!instead || instead->sqlstate != sqlstate::kSyntaxError) return false;
  *model_ = *model_before_;
  model_->end_transaction_before_rest();
  expected_.clear();
  rolled_back_ = true;
  return true;
}

/// The pooler tells of the parameters that the end of a lost transaction has changed as servers from version 14 on do:
/// behind the end, whatever the version of the server that it stands in for.
bool SimulatedClient::is_ahead_of_its_parameters(const Frame& frame) {
  if (!servers_may_be_lost() || !world_.scenario().reports_at_once || frame.type != 'C') return false;
  const auto end = std::find_if(expected_.begin(), expected_.end(), [](const Frame& one) { return one.type != 'S'; });
  if (end == expected_.end() || !matches(frame, *end) || frame.body != kRollback) return false;
  std::rotate(expected_.begin(), end, end + 1);
  return true;
}

void SimulatedClient::answer(const Frame& frame) {
  if (world_.verbose()) world_.note(fmt::format("{} gets {}", name(), shown(frame)));
  if (is_stray_notice(frame)) return;
  world_.checked_messages++;
  if (frame.type == 'E') {
    const auto fields = protocol::decode_error_fields(frame.body);
    const bool fatal = fields && fields->severity == protocol::severity::kFatal;
    const bool expects = expect_more() && matches(frame, expected_.front());
    if (fatal && !expects) return connection_error(frame);
  }
  if (!expect_more() || !matches(frame, expected_.front())) {
    if (is_undone_parameter(frame) || is_rollback_of_lost(frame)) return;
    if (is_ahead_of_its_parameters(frame)) return take_expected(frame);
    if (!expected_.empty() && matches_after_loss(frame, expected_.front())) return take_expected(frame);
    if (try_as_lost(frame)) return;
    if (!try_as_cancelled(frame) || !matches(frame, expected_.front())) {
      return world_.fail(fmt::format("{} expected {} but got {}", name(),
                                     expected_.empty() ? "nothing" : shown(expected_.front()), shown(frame)));
    }
  }
  take_expected(frame);
}

/// An error that ends the connection.
void SimulatedClient::connection_error(const Frame& frame) {
  error_seen_ = true;
  const auto fields = protocol::decode_error_fields(frame.body);
  if (!fields) return world_.fail(name() + " got an unreadable error");
  if (world_.verbose()) world_.note(fmt::format("{} is told: {}", name(), fields->message));
  if (must_be_refused_ || world_.scenario().connections_may_end()) return;
  if (world_.scenario().servers_are_lost() && world_.scenario().mode_of(database_, user_) == pool::PoolMode::session) {
    return;
  }
  if (fields->message == "query_wait_timeout" && world_.cluster() != nullptr &&
      !world_.cluster()->has_to_serve(*this)) {
    return;
  }
  const pool::Settings& settings = *world_.scenario().settings;
  const bool crowded = stage_ == Stage::login && fields->sqlstate == sqlstate::kTooManyConnections &&
                       fields->message.substr(0, 19) == "no more connections";
  const bool limited = settings.max_client_conn < 1000 || settings.max_user_client_connections > 0 ||
                       settings.max_db_client_connections > 0;
  if (crowded && limited) return;
  const bool statement_mode = world_.scenario().mode_of(database_, user_) == pool::PoolMode::statement;
  if (statement_mode && fields->message == "transaction blocks not allowed in statement pooling mode") return;
  if (has_asked_to_cancel_ && fields->sqlstate == sqlstate::kQueryCanceled) return;
  // A simulated server that is full refuses logins; a client whose login needs one may be told so.
  world_.fail(
      fmt::format("{} was refused or thrown out without need: {} ({})", name(), fields->message, fields->sqlstate));
}

void SimulatedClient::on_end() {
  if (stage_ == Stage::done) return;
  const bool announced = error_seen_ || (model_ && model_->ended());
  const bool in_session =
      world_.scenario().servers_are_lost() && world_.scenario().mode_of(database_, user_) == pool::PoolMode::session;
  const bool in_message = world_.scenario().servers_are_lost() && !input_.bytes().empty();
  const bool may_end =
      announced || world_.scenario().connections_may_end() || must_be_refused_ || in_session || in_message;
  if (!may_end) world_.fail(name() + ": the connection was closed without a word");
  if (!announced) world_.lost_connections++;
  stage_ = Stage::done;
}

/// Whether all that was asked has been answered. Looks ahead with a copy of the model.
bool SimulatedClient::nothing_due() {
  if (!expected_.empty()) return false;
  if (!model_->has_work()) return true;
  Session ahead = *model_;
  std::string out;
  while (ahead.has_work() && out.empty()) ahead.step(out);
  if (!out.empty()) return false;
  *model_ = std::move(ahead);
  return true;
}

// ---- The program ---------------------------------------------------------------------------------------------------

void SimulatedClient::act_later() {
  if (act_scheduled_) return;
  act_scheduled_ = true;
  Random& random = world_.random();
  const bool rests = world_.cluster() != nullptr && random.chance(5);
  const int64_t pause_us = rests               ? random.between(0, 500'000)
                           : random.chance(80) ? random.between(0, 200)
                                               : random.between(0, 20'000);
  world_.after(pause_us, World::kNobody, [this] {
    act_scheduled_ = false;
    if (stage_ == Stage::running && !error_seen_) act();
  });
}

void SimulatedClient::act() {
  if (world_.failed() || leaving_) return;
  Random& random = world_.random();
  if (nothing_due()) {
    if (model_->ended()) return;
    may_pipeline_ = true;
    if (model_->copying_in()) return copy_more();
    if (actions_left_ <= 0) return finish();
    actions_left_--;
    next_batch();
  } else if (may_pipeline_ && actions_left_ > 0 && random.chance(15)) {
    actions_left_--;
    next_batch();
  }
  // What has no answer (messages that are skipped after an error) must not stop the program.
  if (stage_ == Stage::running && nothing_due()) act_later();
}

/// Something that is not in the program's course.
void SimulatedClient::impulse() {
  if (stage_ != Stage::running || error_seen_ || world_.failed()) return;
  Random& random = world_.random();
  if (world_.scenario().cancels && random.chance(60)) cancel(random.chance(85));
  if (may_pipeline_ && random.chance(40)) act();
  if (random.chance(70)) world_.after(random.between(100, 10'000), World::kNobody, [this] { impulse(); });
}

void SimulatedClient::patience() {
  if (stage_ == Stage::done || world_.failed()) return;
  if (progress_ == progress_seen_) {
    if (world_.scenario().half_dead) return vanish();
    return world_.fail(fmt::format("{} has waited in vain", describe()));
  }
  progress_seen_ = progress_;
  world_.after(world_.scenario().half_dead ? kPatienceWithSilentServersUs : kPatienceUs, World::kNobody,
               [this] { patience(); });
}

void SimulatedClient::send(const std::string& messages) {
  if (leaving_) return;
  feed_model(messages);
  if (world_.verbose()) {
    FrameCutter cutter;
    cutter.append(messages);
    while (auto frame = cutter.next()) world_.note(fmt::format("{} sends {}", name(), shown(*frame)));
  }
  if (world_.scenario().client_faults && world_.random().chance(2)) {
    connection_->send(std::string_view(messages).substr(0, world_.random().below(messages.size())));
    leaving_ = true;
    world_.after(world_.random().between(0, 5000), World::kNobody, [this] { vanish(); });
    return;
  }
  connection_->send(messages);
  if (world_.scenario().cancels && world_.random().chance(15)) {
    world_.after(world_.random().between(50, 3000), World::kNobody, [this] {
      if (stage_ == Stage::running && !error_seen_) cancel(world_.random().chance(85));
    });
  }
}

void SimulatedClient::feed_model(const std::string& messages) {
  sent_.append(messages);
  while (auto frame = sent_.next()) {
    if (frame->type == 'S') batch_open_ = false;
    if (std::string_view("PBDCE").find(frame->type) != std::string_view::npos) batch_open_ = true;
    model_->feed(std::move(*frame));
  }
}

bool SimulatedClient::wants_primary() const {
  return pool::wants_primary(world_.scenario().target_of(database_));
}

bool SimulatedClient::transactions_allowed() const {
  return world_.scenario().mode_of(database_, user_) != pool::PoolMode::statement;
}

/// A Query may follow a batch without its Sync. But if the server is lost then, one cannot tell by the error whether
/// the Query was under way already, and has an answer of its own, or came later, and is skipped with the batch.
bool SimulatedClient::may_query() const {
  return !batch_open_ || !servers_may_be_lost() || model_->skips_what_comes();
}

std::string SimulatedClient::random_setting() {
  Random& random = world_.random();
  switch (random.below(5)) {
    case 0:
      return "set application_name new" + std::to_string(random.below(3));
    case 1:
      return random.chance(80) ? "set TimeZone Asia/Tokyo" : "set TimeZone Nowhere";
    case 2:
      return random.chance(50) ? "set datestyle German" : "set datestyle ISO";
    case 3:
      return "set local application_name local" + std::to_string(random.below(3));
    default:
      return "reset application_name";
  }
}

std::string SimulatedClient::statement(bool may_fail) {
  Random& random = world_.random();
  const std::string id = new_id();
  if (may_fail && random.chance(12)) return "fail " + id;
  if (may_fail && random.chance(4)) return "syntax";
  if (random.chance(5)) return "notice " + id;
  if (random.chance(3)) return "notify " + id;
  if (random.chance(5)) return fmt::format("copyout {} {} {}", id, random.below(5), random.below(300));
  if (random.chance(12)) return random_setting();
  if (world_.scenario().server_faults && random.chance(2)) return "die " + id;
  const bool big = random.chance(world_.scenario().big_results);
  return big ? fmt::format("select {} {} {}", id, random.below(200), random.below(3000))
             : fmt::format("select {} {} {}", id, random.below(4), random.below(100));
}

void SimulatedClient::next_batch() {
  if (!may_query()) return extended_batch();
  Random& random = world_.random();
  const size_t what = random.below(100);
  if (what < 35) return simple_batch();
  if (what < 75) return extended_batch();
  if (what < 90 && transactions_allowed()) return transaction_batch();
  if (what < 95 && nothing_due()) return copy_in_batch();
  std::string batch;
  if (what < 97) {
    protocol::append_sync(batch);
  } else {
    protocol::MessageWriter(batch, 'F').bytes(new_id()).finish();
  }
  send(batch);
}

void SimulatedClient::simple_batch() {
  Random& random = world_.random();
  std::string text;
  if (random.chance(5) && nothing_due() && !has_startup_parameters_ && model_->status() == 'I') {
    text = random.chance(50) ? "DISCARD ALL" : "DEALLOCATE ALL";
    may_pipeline_ = false;
  } else if (!random.chance(5)) {
    text = statement(true);
    while (random.chance(20)) text += ";" + statement(true);
  }
  std::string batch;
  protocol::append_query(batch, text);
  if (random.chance(10)) protocol::append_query(batch, statement(true));
  send(batch);
}

void SimulatedClient::transaction_batch() {
  Random& random = world_.random();
  std::string batch;
  const char* word = model_->status() == 'I' ? (random.chance(90) ? "begin" : "commit")
                                             : (random.chance(60)   ? "commit"
                                                : random.chance(80) ? "rollback"
                                                                    : "begin");
  if (random.chance(50)) {
    protocol::append_query(batch, random.chance(40) ? std::string(word) + ";" + statement(true) : word);
  } else {
    protocol::append_parse(batch, "", word);
    protocol::append_bind(batch, "", "");
    protocol::append_execute(batch, "");
    protocol::append_sync(batch);
  }
  send(batch);
}

/// One use of a statement by the extended protocol, in various shapes.
void SimulatedClient::add_extended(std::string& batch, bool may_fail) {
  Random& random = world_.random();
  const bool names = world_.scenario().settings->max_prepared_statements > 0 ||
                     world_.scenario().mode_of(database_, user_) == pool::PoolMode::session;
  const std::string name = names && random.chance(65) ? "s" + std::to_string(random.below(4)) : "";
  const std::string portal = random.chance(15) ? "p" + std::to_string(random.below(2)) : "";
  // Named ones have texts that several clients use; the id comes by the parameter.
  static constexpr const char* kTexts[] = {"select shared1 1 0", "select shared2 3 50", "select shared3 0 0"};
  const bool parses = name.empty() || random.chance(40);
  const std::string text = !name.empty() && random.chance(90) ? kTexts[random.below(3)]
                           : may_fail && random.chance(10) && (name.empty() || model_->status() != 'E')
                               ? "syntax"
                               : statement(may_fail);
  if (parses) {
    if (!name.empty() && random.chance(60)) protocol::append_close(batch, 'S', name);
    protocol::append_parse(batch, name, text);
  }
  if (parses && random.chance(15)) return;  // prepares only
  if (random.chance(30)) protocol::append_describe(batch, 'S', name);
  if (random.chance(5)) return;
  const std::string id = new_id();
  const std::optional<std::string_view> parameter = id;
  if (random.chance(90)) protocol::append_bind(batch, portal, name, {&parameter, 1});
  if (random.chance(40)) protocol::append_describe(batch, 'P', portal);
  protocol::append_execute(batch, portal, random.chance(20) ? 1 : 0);
  if (random.chance(10)) protocol::append_execute(batch, portal, 2);
  if (random.chance(10)) protocol::append_close(batch, 'P', portal);
  if (!name.empty() && random.chance(10)) protocol::append_close(batch, 'S', name);
}

void SimulatedClient::extended_batch() {
  Random& random = world_.random();
  std::string batch;
  const bool may_fail = random.chance(50);
  if (random.chance(10)) {
    protocol::append_close(batch, 'S', "s" + std::to_string(random.below(4)));
    protocol::append_sync(batch);
    return send(batch);
  }
  for (int syncs = random.chance(15) ? static_cast<int>(random.between(2, 6)) : 1; syncs > 0; syncs--) {
    do {
      add_extended(batch, may_fail);
      if (random.chance(10)) protocol::append_flush(batch);
    } while (random.chance(25));
    if (syncs == 1 && random.chance(10)) {
      // Flush, and the Sync only later.
      protocol::append_flush(batch);
      actions_left_++;
      std::string sync;
      protocol::append_sync(sync);
      send(batch);
      may_pipeline_ = false;
      world_.after(random.between(0, 3000), World::kNobody, [this, sync] {
        if (stage_ == Stage::running && !error_seen_ && !model_->ended()) send(sync);
      });
      return;
    }
    protocol::append_sync(batch);
  }
  send(batch);
}

void SimulatedClient::copy_in_batch() {
  Random& random = world_.random();
  std::string batch;
  const std::string text = "copyin " + new_id();
  const bool extended = random.chance(40);
  if (extended) {
    protocol::append_parse(batch, "", random.chance(90) ? text : "syntax");
    protocol::append_bind(batch, "", "");
    protocol::append_execute(batch, "");
    // As libpq does: ignored while data are copied.
    if (random.chance(60))
      protocol::append_sync(batch);
    else
      protocol::append_flush(batch);
  } else {
    protocol::append_query(batch, random.chance(70)   ? text
                                  : random.chance(50) ? text + ";" + statement(true)
                                                      : "fail x;" + text);
  }
  may_pipeline_ = false;
  if (random.chance(30)) {
    // Does not wait for the server to ask.
    for (size_t rows = random.below(4); rows > 0; rows--) protocol::MessageWriter(batch, 'd').bytes("row").finish();
    if (random.chance(10)) protocol::MessageWriter(batch, 'd').bytes("bad").finish();
    if (random.chance(80)) {
      protocol::MessageWriter(batch, 'c').finish();
    } else {
      protocol::append_copy_fail(batch, "no more");
    }
    if (extended) protocol::append_sync(batch);
  }
  send(batch);
}

/// The server waits for data.
void SimulatedClient::copy_more() {
  Random& random = world_.random();
  std::string batch;
  for (size_t rows = random.below(5); rows > 0; rows--) {
    protocol::MessageWriter(batch, 'd').bytes(std::string(random.below(random.chance(10) ? 5000 : 50), 'x')).finish();
  }
  if (random.chance(8)) protocol::MessageWriter(batch, 'd').bytes("bad data").finish();
  const bool extended = model_->copying_for_execute();
  may_pipeline_ = false;
  if (random.chance(60)) {
    if (random.chance(80)) {
      protocol::MessageWriter(batch, 'c').finish();
    } else {
      protocol::append_copy_fail(batch, "changed my mind");
    }
    if (extended) protocol::append_sync(batch);
  }
  if (!batch.empty()) send(batch);
  act_later();
}

void SimulatedClient::finish() {
  if (world_.random().chance(70)) {
    std::string message;
    protocol::append_terminate(message);
    connection_->send(message);
  }
  connection_->peer_closes(false);
  stage_ = Stage::done;
}

void SimulatedClient::vanish() {
  if (stage_ == Stage::done) return;
  if (world_.verbose()) world_.note(name() + " vanishes");
  stage_ = Stage::done;
  connection_->peer_closes(world_.random().chance(50));
}

void SimulatedClient::leave_now() {
  if (stage_ != Stage::done && stage_ != Stage::unborn) vanish();
  stage_ = Stage::done;
}

namespace {

/// Sends a cancel request and waits for the connection to be closed.
class CancelRequest final : public Peer {
 public:
  void on_received(std::string_view) override {}
  void on_end() override {}
};

}  // namespace

void SimulatedClient::cancel(bool right_key) {
  static CancelRequest nobody;
  if (right_key) has_asked_to_cancel_ = true;
  std::string secret = cancel_secret_;
  if (!right_key) secret[0] = static_cast<char>(secret[0] ^ 1);
  std::string packet;
  protocol::append_cancel_request(packet, cancel_pid_, secret);
  const auto connection = world_.connect();
  connection->set_peer(&nobody);
  connection->send(packet);
  if (world_.random().chance(20)) {
    world_.after(world_.random().between(0, 1000), World::kNobody, [connection] { connection->peer_closes(true); });
  }
}

}  // namespace bezel::simulation
