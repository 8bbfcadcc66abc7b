#include "pool/learned_secret.h"

#include <utility>

#include "pool/auth_query.h"
#include "pool/pool.h"
#include "pool/worker.h"

namespace bezel::pool {

bool LearnedSecret::learn(const protocol::StoredSecret& secret, std::optional<PassedKeys> keys, bool from_query) {
  const bool has_new_keys = keys && (!keys_ || keys_->salt != keys->salt);
  const bool is_new = has_new_keys || !secret_ || secret_->text != secret.text;
  secret_ = secret;
  if (keys) keys_ = std::move(keys);
  from_query_ = from_query;
  return is_new;
}

void LearnedSecret::ask_again(std::function<void(Change)> done) {
  if (!from_query_ || being_asked_for_) return;
  Worker& worker = pool_.worker();
  const AuthSourceResult found = find_auth_source(worker.settings(), pool_.database_name(), &pool_.database());
  if (!found.source) return;
  being_asked_for_ = true;
  worker.shared().auth_cache.doubt({found.source->id, pool_.user_name()}, worker.now_us());
  AuthReply known;
  const auto waiter = [this, alive = alive_, &runtime = worker.runtime(), index = worker.index(),
                       done = std::move(done)](const AuthReply& reply) {
    runtime.post(index, [this, alive, done, reply] {
      if (*alive) done(replied(reply));
    });
  };
  if (worker.find_secret(*found.source, pool_.user_name(), known, waiter)) waiter(known);
}

LearnedSecret::Change LearnedSecret::replied(const AuthReply& reply) {
  being_asked_for_ = false;
  if (reply.error) return Change::none;
  if (reply.answer.kind != AuthAnswer::Kind::secret) return Change::gone;
  // A verifier alone opens no server: that takes the keys of a client's next login.
  const bool is_verifier = reply.answer.secret.kind == protocol::SecretKind::scram_sha_256;
  return learn(reply.answer.secret, std::nullopt, true) && !is_verifier ? Change::another : Change::none;
}

}  // namespace bezel::pool
