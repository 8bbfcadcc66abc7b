#include "tests/simulation/backend.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "protocol/messages.h"
#include "protocol/secret.h"
#include "protocol/sqlstate.h"
#include "protocol/startup.h"
#include "tests/simulation/client.h"
#include "tests/simulation/world.h"

namespace bezel::simulation {

namespace sqlstate = protocol::sqlstate;

namespace {

/// What a backend has written and nobody has taken, when it stops working.
constexpr size_t kOutputBytesMax = 32 * 1024;

}  // namespace

std::string client_of(std::string_view id) {
  if (id.empty() || id.front() != 'c' || id.find('.') == std::string_view::npos) return "";
  return std::string(id.substr(0, id.find('.')));
}

Backend::Backend(World& world, std::shared_ptr<Connection> connection, ClusterMember* member)
    : world_(world), connection_(std::move(connection)), member_(member) {
  connection_->set_peer(this);
  if (member_ != nullptr && member_->frozen) freeze();
}

void Backend::send(const std::string& bytes) {
  if (!silent_) connection_->send(bytes);
}

void Backend::close(bool reset) {
  if (stage_ == Stage::closed) return;
  stage_ = Stage::closed;
  connection_->peer_closes(reset);
}

void Backend::on_end() {
  stage_ = Stage::closed;
}

void Backend::on_received(std::string_view bytes) {
  if (silent_ || stage_ == Stage::closed) return;
  input_.append(bytes);
  if (stage_ == Stage::first_packet) return first_packet();
  while (auto frame = input_.next()) {
    if (stage_ == Stage::ready) {
      if (world_.verbose()) {
        world_.note(fmt::format("backend {} gets {} ({} bytes)", pid_, frame->type, frame->body.size()));
      }
      if (answer_role_question(*frame)) continue;
      session_->feed(std::move(*frame));
    } else if (stage_ != Stage::closed) {
      password(*frame);
    }
  }
  if (stage_ == Stage::ready) advance();
}

// ---- Login ---------------------------------------------------------------------------------------------------------

void Backend::first_packet() {
  const auto packet = protocol::decode_first_packet(input_.bytes());
  using Kind = protocol::FirstPacketResult::Kind;
  switch (packet.kind) {
    case Kind::need_more:
      return;
    case Kind::cancel_request:
      // The signal takes its time; the connection is closed when it has been sent.
      world_.after(world_.random().between(0, world_.random().chance(20) ? 30'000 : 500), World::kNobody,
                   [this, pid = packet.cancel.process_id, secret = std::string(packet.cancel.secret)] {
                     if (Backend* target = world_.backend_of(pid, secret)) target->cancel();
                     close(false);
                   });
      return;
    case Kind::startup:
      break;
    default:
      return world_.fail("a server got a first packet that is none");
  }
  if (member_ != nullptr && member_->starting) {
    return refuse(sqlstate::kCannotConnectNow, "the database system is starting up");
  }
  if (member_ != nullptr && member_->refuses_logins()) {
    return refuse(sqlstate::kTooManyConnections, "too many clients already");
  }
  input_.bytes().erase(0, packet.bytes_consumed);
  database_ = packet.startup.database;
  user_ = packet.startup.user;
  session_ = std::make_unique<Session>(database_, user_, world_.scenario().reports_at_once);
  for (const auto& [name, value] : packet.startup.parameters) {
    if (name == "user" || name == "database") continue;
    if (session_->start_with(name, value)) world_.fail("a server got a wrong startup parameter: " + name);
  }
  const auto open = std::count_if(world_.backends().begin(), world_.backends().end(),
                                  [](const auto& backend) { return backend->open(); });
  if (world_.random().chance(world_.scenario().failing_logins)) {
    return refuse(world_.random().chance(30) ? sqlstate::kInvalidPassword : sqlstate::kCannotConnectNow,
                  "the simulated server refuses this login");
  }
  if (open > world_.scenario().server_slots) return refuse(sqlstate::kTooManyConnections, "too many clients already");
  const int64_t delay = world_.random().between(10, 5000);
  later(delay, [this] {
    if (stage_ == Stage::first_packet) ask_for_password();
  });
}

void Backend::refuse(std::string_view state, std::string_view message) {
  std::string answer;
  protocol::append_error_response(answer, protocol::severity::kFatal, state, message);
  send(answer);
  close(false);
}

void Backend::ask_for_password() {
  std::string request;
  switch (world_.scenario().server_auth) {
    case ServerAuth::trust:
      return greet();
    case ServerAuth::cleartext:
      stage_ = Stage::password;
      protocol::append_authentication_cleartext(request);
      break;
    case ServerAuth::md5:
      stage_ = Stage::password;
      for (unsigned char& byte : salt_) byte = static_cast<unsigned char>(world_.random().below(256));
      protocol::append_authentication_md5(request, salt_);
      break;
    case ServerAuth::scram: {
      stage_ = Stage::sasl_initial;
      std::vector<std::string_view> mechanisms = {protocol::kScramSha256};
      if (!binding_data().empty()) mechanisms.insert(mechanisms.begin(), protocol::kScramSha256Plus);
      protocol::append_authentication_sasl(request, mechanisms);
      break;
    }
  }
  send(request);
}

std::string Backend::binding_data() const {
  const Scenario& scenario = world_.scenario();
  return scenario.tls_facts && scenario.servers_offer_plus ? scenario.tls_facts->server_end_point : "";
}

void Backend::password(const Frame& frame) {
  if (frame.type != 'p') return world_.fail("a server got something else than a password during a login");
  std::string answer;
  switch (stage_) {
    case Stage::password: {
      const std::string sent = frame.body.c_str();
      const std::string& right = world_.scenario().passwords.at(user_);
      const bool matches = world_.scenario().server_auth == ServerAuth::cleartext
                               ? sent == right
                               : protocol::verify_md5_response(protocol::parse_secret(right), user_, salt_, sent);
      if (!matches) return world_.fail("a server got a wrong password");
      return greet();
    }
    case Stage::sasl_initial: {
      const auto initial = protocol::decode_sasl_initial_response(frame.body);
      if (!initial || !initial->data) return world_.fail("a server got an invalid SASL response");
      const bool plus = initial->mechanism == protocol::kScramSha256Plus;
      scram_ = std::make_unique<protocol::ScramServer>(world_.scenario().verifiers.at(user_),
                                                       protocol::scram_nonce(std::to_string(world_.random().next())),
                                                       protocol::ChannelBinding{binding_data(), plus});
      const auto first = scram_->client_first(*initial->data);
      if (!first) return world_.fail("a server got a wrong SCRAM message");
      stage_ = Stage::sasl_response;
      protocol::append_authentication_sasl_continue(answer, *first);
      return send(answer);
    }
    case Stage::sasl_response: {
      const auto last = scram_->client_final(frame.body);
      if (!last) return world_.fail("a server got a wrong SCRAM proof");
      protocol::append_authentication_sasl_final(answer, *last);
      send(answer);
      return greet();
    }
    default:
      return;
  }
}

void Backend::greet() {
  stage_ = Stage::ready;
  pid_ = world_.next_pid();
  for (int i = 0; i < 4; i++) secret_ += static_cast<char>(world_.random().below(256));
  std::string greeting;
  protocol::append_authentication_ok(greeting);
  is_standby_ = world_.scenario().standbys && world_.random().chance(40);
  for (const auto& [name, value] : session_->reported()) {
    if (name == "in_hot_standby" && !world_.scenario().reports_hot_standby) continue;
    protocol::append_parameter_status(greeting, name, in_recovery() && name == "in_hot_standby" ? "on" : value);
  }
  session_->mark_all_reported();
  if (member_ != nullptr) {
    if (member_->read_only) protocol::append_parameter_status(greeting, "default_transaction_read_only", "on");
    world_.cluster()->greeted(*member_, database_, user_);
  }
  protocol::append_backend_key_data(greeting, pid_, secret_);
  protocol::append_ready_for_query(greeting, 'I');
  if (world_.scenario().async_notices && world_.random().chance(30)) {
    protocol::append_notice_response(greeting, protocol::severity::kNotice, "00000", "async");
  }
  send(greeting);
  advance();
}

// ---- Work ----------------------------------------------------------------------------------------------------------

void Backend::advance() {
  while (stage_ == Stage::ready && !busy_ && !silent_ && !frozen_ && session_->has_work()) {
    if (connection_->unsent_by_peer() > kOutputBytesMax) return;  // goes on when it has been taken
    if (session_->executes_next() && world_.random().chance(world_.scenario().slow_queries)) {
      busy_ = true;
      later(world_.random().between(10, world_.random().chance(10) ? 50'000 : 2000), [this] {
        if (!busy_) return;
        busy_ = false;
        if (stage_ != Stage::ready) return;
        run_step();
        advance();
      });
      return;
    }
    run_step();
  }
}

void Backend::run_step() {
  const bool cancelled = std::exchange(cancel_pending_, false);
  const std::string id = session_->next_id();
  if (session_->status() != 'I') check_owner(id);
  if (cancelled) check_cancel(id);
  // Terminated at its work, which is undone.
  if (!cancelled && session_->next_word() == "die" && world_.random().chance(80)) return die();
  const std::string word = session_->next_word();
  const bool writes = member_ != nullptr ? word == "notice" || word == "notify" || word == "copyin"
                                         : session_->in_query() && word == "notice";
  if (in_recovery() && !cancelled && writes) {
    session_->refuse_to_write(output_);
    return send(std::exchange(output_, {}));
  }
  session_->step(output_, cancelled);
  for (const std::string& executed : session_->take_executed()) {
    world_.executed(executed, *this);
    check_owner(executed);
    uncommitted_.push_back(executed);
  }
  if (session_->status() == 'I') owner_.clear();
  if (session_->at_rest()) uncommitted_.clear();
  if (session_->take_flush_due() || world_.random().chance(20)) send(std::exchange(output_, {}));
  if (session_->ended()) close(false);
}

/// All that happens in one transaction comes from one client.
void Backend::check_owner(const std::string& id) {
  const std::string client = client_of(id);
  if (client.empty()) return;
  if (owner_.empty()) owner_ = client;
  if (owner_ != client) world_.fail(fmt::format("{} works in the transaction of {}", client, owner_));
}

void Backend::cancel() {
  if (stage_ != Stage::ready || silent_ || frozen_) return;
  if (busy_) {
    cancel_pending_ = true;
    // Long ones end at once.
    if (world_.random().chance(70)) {
      busy_ = false;
      run_step();
      advance();
    }
    return;
  }
  // A COPY by Execute is left alone: whether the Sync behind it comes before or after the cancel would be a matter of
  // luck.
  if (!session_->copying_in() || session_->copying_for_execute() || session_->queued_frames() > 0) return;
  check_cancel(owner_.empty() ? "" : owner_ + ".");
  session_->step(output_, true);
  send(std::exchange(output_, {}));
  advance();
}

void Backend::check_cancel(const std::string& id) {
  const std::string name = client_of(id);
  world_.cancels_hit++;
  if (name.empty()) return;
  SimulatedClient* client = world_.client(static_cast<size_t>(std::atoi(name.c_str() + 1)));
  if (client != nullptr && !client->has_asked_to_cancel() && !client->gone() &&
      !world_.scenario().connections_may_end() && !world_.scenario().servers_are_lost()) {
    world_.fail(fmt::format("a cancel request hits {}, which has not asked for it", id));
  }
}

// ---- Misfortunes ---------------------------------------------------------------------------------------------------

void Backend::die() {
  if (stage_ == Stage::closed) return;
  if (session_ && session_->status() != 'I') world_.rolled_back(uncommitted_);
  Random& random = world_.random();
  if (random.chance(60) && stage_ == Stage::ready) {
    std::string last = std::exchange(output_, {});
    const bool crash = random.chance(20);
    if (random.chance(5)) {
      protocol::append_notice_response(last, protocol::severity::kWarning, "57P01", "async");
    }
    protocol::append_error_response(last, protocol::severity::kFatal,
                                    crash ? sqlstate::kCrashShutdown : sqlstate::kAdminShutdown,
                                    "terminating connection due to administrator command");
    // A crash may also cut it off in the middle of what it says.
    if (random.chance(10)) last.resize(random.below(last.size()));
    send(last);
    return close(false);
  }
  close(random.chance(50));
}

void Backend::send_notice_if_idle() {
  if (frozen_) return;
  if (stage_ != Stage::ready || busy_ || session_->has_work() || !output_.empty()) return;
  std::string notice;
  protocol::append_notice_response(notice, protocol::severity::kNotice, "00000", "async");
  send(notice);
}

// ---- In a cluster --------------------------------------------------------------------------------------------------

void Backend::later(int64_t delay_us, std::function<void()> what) {
  world_.after(delay_us, World::kNobody, [this, what = std::move(what)] {
    if (frozen_) {
      when_thawed_.push_back(what);
    } else {
      what();
    }
  });
}

void Backend::freeze() {
  frozen_ = true;
  connection_->set_peer_reads(false);
}

void Backend::thaw() {
  if (!std::exchange(frozen_, false)) return;
  connection_->set_peer_reads(true);
  for (const auto& what : std::exchange(when_thawed_, {})) what();
  advance();
}

void Backend::shut_down() {
  if (stage_ == Stage::closed) return;
  if (session_ && session_->status() != 'I') world_.rolled_back(uncommitted_);
  std::string last = std::exchange(output_, {});
  protocol::append_error_response(last, protocol::severity::kFatal, sqlstate::kAdminShutdown,
                                  "terminating connection due to administrator command");
  send(last);
  close(false);
}

void Backend::crash() {
  if (stage_ == Stage::closed) return;
  if (session_ && session_->status() != 'I') world_.rolled_back(uncommitted_);
  close(world_.random().chance(50));
}

/// Whether it was one: only the pooler's own words are, see pool/role_question.h.
bool Backend::answer_role_question(const Frame& frame) {
  if (frame.type != 'Q' || frame.body.rfind("SELECT pg_catalog.pg_is_in_recovery();", 0) != 0) return false;
  const bool primary = !in_recovery();
  const uint32_t timeline = member_ != nullptr ? member_->timeline : 1;
  if (member_ != nullptr && primary) member_->said_timeline = std::max(member_->said_timeline, timeline);
  const std::string file = fmt::format("{:08X}0000000000000003", timeline);
  const protocol::ColumnDescription column{"answer"};
  std::string answer;
  for (const std::optional<std::string_view> value : {std::optional<std::string_view>(primary ? "f" : "t"),
                                                      primary ? std::optional<std::string_view>(file) : std::nullopt}) {
    protocol::append_row_description(answer, {&column, 1});
    protocol::append_data_row(answer, {&value, 1});
    protocol::append_command_complete(answer, "SELECT 1");
  }
  protocol::append_ready_for_query(answer, 'I');
  send(answer);
  return true;
}

}  // namespace bezel::simulation
