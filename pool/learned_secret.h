#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "pool/limits.h"
#include "protocol/secret.h"

namespace bezel::pool {

class Pool;
struct AuthReply;

/// What clients' logins have found out about the user of a pool's servers, where auth_file does not have it: the
/// secret, and the keys that a client has proved to have. When a server does not take it any more, it is asked for
/// again, if that is where it came from. Keys cannot be asked for: they come with a client's next login.
class LearnedSecret {
 public:
  explicit LearnedSecret(Pool& pool) : pool_(pool) {}
  ~LearnedSecret() { *alive_ = false; }
  LearnedSecret(const LearnedSecret&) = delete;
  LearnedSecret& operator=(const LearnedSecret&) = delete;

  /// `from_query`: it is auth_query's answer. Returns whether it is another one than before.
  bool learn(const protocol::StoredSecret& secret, std::optional<PassedKeys> keys, bool from_query);
  const std::optional<protocol::StoredSecret>& secret() const { return secret_; }
  const std::optional<PassedKeys>& keys() const { return keys_; }

  enum class Change : uint8_t {
    none,  ///< or none that can be tried at once
    another,
    gone,  ///< the user has no secret any more
  };
  /// A server has refused it: has auth_query asked, once a second at most, if that is where it came from. `done`
  /// follows in a later turn, unless the pool has gone by then, or an earlier question is under way.
  void ask_again(std::function<void(Change)> done);
  bool is_being_asked_for() const { return being_asked_for_; }

 private:
  Change replied(const AuthReply& reply);

  Pool& pool_;
  std::optional<protocol::StoredSecret> secret_;
  std::optional<PassedKeys> keys_;
  bool from_query_ = false;
  bool being_asked_for_ = false;
  std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);
};

}  // namespace bezel::pool
