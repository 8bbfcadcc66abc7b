// How a client logs in.

#include <fmt/format.h>

#include <algorithm>

#include "protocol/messages.h"
#include "protocol/secret.h"
#include "protocol/startup.h"
#include "tests/simulation/client.h"
#include "tests/simulation/world.h"

namespace bezel::simulation {

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

}  // namespace bezel::simulation
