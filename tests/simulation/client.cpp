#include "tests/simulation/client.h"

#include <fmt/format.h>

#include "protocol/messages.h"
#include "protocol/startup.h"
#include "tests/simulation/world.h"

namespace bezel::simulation {

namespace {

constexpr int64_t kSecond = 1'000'000;

/// How long a client bears that nothing happens. Longer than anything that the scenarios do to it.
constexpr int64_t kPatienceUs = 15 * kSecond;
constexpr int64_t kPatienceWithSilentServersUs = 5 * kSecond;

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
    // What is asked in the meantime is still to be answered if the step at hand turns out to have gone otherwise.
    if (model_before_) model_before_->feed(*frame);
    model_->feed(std::move(*frame));
  }
}

bool SimulatedClient::wants_primary() const {
  return pool::wants_primary(world_.scenario().target_of(database_));
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
