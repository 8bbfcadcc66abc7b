#include "tests/fuzz/session_script.h"

#include <algorithm>
#include <string_view>
#include <utility>

#include "protocol/frames.h"
#include "protocol/reader.h"
#include "protocol/writer.h"
#include "tests/fuzz/notation.h"
#include "tests/fuzz/target.h"

namespace bezel::fuzz {

using simulation::Scenario;

namespace {

constexpr int64_t kMillisecond = 1000;
constexpr int64_t kSecond = 1'000'000;
/// More connections to servers are refused.
constexpr size_t kServersMax = 26;
constexpr size_t kOthersMax = 20;
/// As long as what is on its way may take.
constexpr int64_t kSettledUs = 2 * kSecond;
/// Longer than any time-out that may hold up what has ended.
constexpr int64_t kEndUs = 100 * kSecond;

bool has(std::string_view letters, char letter) {
  return letters.find(letter) != std::string_view::npos;
}

void choose_authentication(std::string_view letters, Scenario& scenario) {
  using pool::AuthType;
  using simulation::ServerAuth;
  pool::Settings& settings = *scenario.settings;
  settings.auth_type = has(letters, 'p')   ? AuthType::plain
                       : has(letters, 'm') ? AuthType::md5
                       : has(letters, 's') ? AuthType::scram_sha_256
                                           : AuthType::trust;
  scenario.server_auth = has(letters, '1')   ? ServerAuth::cleartext
                         : has(letters, '2') ? ServerAuth::md5
                         : has(letters, '3') ? ServerAuth::scram
                                             : ServerAuth::trust;
  scenario.add_users(has(letters, 'M')   ? protocol::SecretKind::md5
                     : has(letters, 'S') ? protocol::SecretKind::scram_sha_256
                                         : protocol::SecretKind::plain);
  settings.auth_failure_limit = 0;  // all clients come from one address
  if (has(letters, 'b')) scenario.tls_facts.emplace().server_end_point = std::string(32, 'h');
  if (has(letters, 'a')) {
    settings.auth_user = "shared";
    settings.secrets.erase("u1");
  }
}

void choose_pooling(std::string_view letters, pool::Settings& settings) {
  settings.pool_mode = has(letters, 'E')   ? pool::PoolMode::session
                       : has(letters, 'A') ? pool::PoolMode::statement
                                           : pool::PoolMode::transaction;
  settings.default_pool_size = has(letters, 'w') ? 2 : 1;
  settings.max_prepared_statements = has(letters, 'n') ? 0 : 2;
  settings.server_reset_query_always = has(letters, 'r');
  if (has(letters, 'c')) settings.server_check_delay_us = 0;
  if (has(letters, 'x')) settings.max_packet_size_bytes = 1000;
  settings.server_login_retry_us = 100 * kMillisecond;
  settings.admin_users = {"u2"};
  if (!has(letters, 'q')) return;
  settings.query_wait_timeout_us = 2 * kSecond;
  settings.query_wait_notify_us = kSecond;
  settings.query_timeout_us = 3 * kSecond;
  settings.transaction_timeout_us = 5 * kSecond;
  settings.idle_transaction_timeout_us = 2 * kSecond;
  settings.client_idle_timeout_us = 4 * kSecond;
  settings.server_idle_timeout_us = 3 * kSecond;
  settings.server_connect_timeout_us = 2 * kSecond;
}

void choose_databases(std::string_view letters, pool::Settings& settings) {
  for (const char* const name : {"db1", "db2"}) {
    pool::DatabaseSettings& database = settings.databases[name];
    database.name = name;
    database.hosts = {{"primary", 5432}};
    if (has(letters, 'k')) database.connect_query = "select connect";
    if (has(letters, 'R')) database.target_session_attrs = pool::TargetSessionAttrs::read_write;
  }
  settings.databases["db2"].user = "shared";
  settings.databases["db2"].password = "pw_shared";
}

/// What is left of messages when the whole ones are taken off. None may have a length that is none: whoever passes one
/// on has lost count.
std::string_view after_messages(std::string_view bytes, size_t message_bytes_max) {
  while (bytes.size() >= protocol::kFrameHeaderBytes) {
    const protocol::FrameHeader header = protocol::read_frame_header(bytes.data());
    must(header.length_valid(static_cast<uint32_t>(message_bytes_max)), "messages of a valid length");
    if (bytes.size() < header.frame_bytes()) break;
    bytes.remove_prefix(header.frame_bytes());
  }
  return bytes;
}

/// What a client has got, but for the answers to requests for encryption, which have no length.
std::string_view without_encryption(std::string_view received) {
  while (received.starts_with('N')) received.remove_prefix(1);
  return received;
}

Scenario scenario_of(std::string_view letters) {
  Scenario scenario;
  choose_authentication(letters, scenario);
  choose_pooling(letters, *scenario.settings);
  choose_databases(letters, *scenario.settings);
  scenario.bytewise = has(letters, 'B') ? 100 : 0;
  scenario.timeouts = true;  // anybody may fall silent
  return scenario;
}

}  // namespace

SessionScript::SessionScript(std::string_view letters, uint64_t seed) {
  world_ = std::make_unique<simulation::World>(
      seed, scenario_of(letters),
      [this](std::shared_ptr<simulation::Connection> connection) { dialled(std::move(connection)); });
  console_ = std::make_unique<admin::Console>(world_->fleet(), program_, [] { return int64_t{0}; });
  world_->shared().console = console_.get();
}

SessionScript::~SessionScript() {
  world_.reset();  // its sessions of the console end with it
}

void SessionScript::dialled(std::shared_ptr<simulation::Connection> connection) {
  if (is_over_ || servers_.size() >= kServersMax) return connection->peer_closes(true);
  connection->set_bytewise(is_bytewise());
  servers_.push_back(std::make_unique<ScriptedServer>(world_->scenario(), std::move(connection)));
}

void SessionScript::connect(size_t index) {
  if (clients_[index]) {
    if (!clients_[index]->has_ended() || others_.size() >= kOthersMax) return;
    others_.push_back(std::move(clients_[index]));
  }
  clients_[index] = std::make_unique<ScriptedClient>(world_->scenario(), world_->connect());
  clients_[index]->connection().set_bytewise(is_bytewise());
}

void SessionScript::cancel(size_t index) {
  if (!clients_[index] || clients_[index]->cancel_request().empty() || others_.size() >= kOthersMax) return;
  others_.push_back(std::make_unique<ScriptedClient>(world_->scenario(), world_->connect()));
  others_.back()->send(clients_[index]->cancel_request());
}

void SessionScript::run_client(size_t index, std::string_view what) {
  if (what.front() == '(') return connect(index);
  if (what.front() == 'k') return cancel(index);
  if (!clients_[index]) return;
  if (what.front() == 'u') return clients_[index]->start_up(what.substr(1));
  run_peer(*clients_[index], what);
}

void SessionScript::run_peer(ScriptedPeer& peer, std::string_view what) {
  const std::string_view rest = what.substr(1);
  switch (what.front()) {
    case 'm':
      return peer.send(message_of(rest));
    case '>':
      return peer.send_raw(bytes_of(rest));
    case ')':
      return peer.close(false);
    case '!':
      return peer.close(true);
    case '-':
      return peer.connection().set_peer_reads(false);
    case '+':
      return peer.connection().set_peer_reads(true);
    case 'h':
      return peer.fall_silent();
    default:
      return;
  }
}

void SessionScript::run(std::string_view line) {
  const bool pauses = !line.starts_with('&');
  if (!pauses) line.remove_prefix(1);
  if (line.size() < 2) return;
  const char who = line.front();
  const std::string_view what = line.substr(1);
  if (who >= '0' && who <= '9') {
    run_client(static_cast<size_t>(who - '0'), what);
  } else if (who >= 'a' && who <= 'd') {
    const auto index = static_cast<size_t>(who - 'a');
    if (index < servers_.size()) run_peer(*servers_[index], what);
  } else if (who == 't' && what.front() >= '0' && what.front() <= '5') {
    int64_t time_us = kMillisecond;
    for (char digit = '0'; digit < what.front(); digit++) time_us *= 10;
    pass(time_us);
  }
  if (pauses) pass(pause_us_);
}

void SessionScript::pass(int64_t time_us) {
  if (!world_->pass(time_us)) must(false, world_->failure());
}

void SessionScript::check_messages() {
  for (const auto& client : clients_) {
    if (client) client->connection().set_peer_reads(true);
  }
  pass(kSettledUs);
  const auto message_bytes_max = static_cast<size_t>(world_->scenario().settings->max_packet_size_bytes);
  bool half_a_message = false;
  for (const auto& server : servers_) {
    std::string_view received = server->received();
    protocol::Reader first_packet(received);
    received.remove_prefix(std::min<size_t>(first_packet.u32().value_or(0), received.size()));
    after_messages(received, message_bytes_max);
    half_a_message = half_a_message || (server->has_sent_raw() && !server->has_ended());
  }
  for (const auto& client : clients_) {
    if (!client) continue;
    const std::string_view rest = after_messages(without_encryption(client->received()), protocol::kMessageLengthMax);
    // What streams through a pooler is cut off when its server is lost; then the client must go too. Unless that server
    // is there, and may go on with half a message.
    if (!client->has_ended() && !half_a_message) must(rest.empty(), "a client that is there has got whole messages");
  }
}

void SessionScript::end() {
  check_messages();
  is_over_ = true;
  for (const auto& client : clients_) {
    if (client) client->close(true);
  }
  for (const auto& other : others_) other->close(true);
  for (const auto& server : servers_) server->close(true);
  pass(kEndUs);
  if (!world_->check_end()) must(false, world_->failure());
}

}  // namespace bezel::fuzz
