// What a client asks.

#include <fmt/format.h>

#include "protocol/messages.h"
#include "protocol/writer.h"
#include "tests/simulation/client.h"
#include "tests/simulation/world.h"

namespace bezel::simulation {

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

}  // namespace bezel::simulation
