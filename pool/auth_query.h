#pragma once

#include <cstdint>
#include <functional>
#include <list>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "pool/settings.h"
#include "protocol/error_response.h"
#include "protocol/secret.h"

namespace bezel::pool {

/// Where the secrets of users that auth_file does not have are asked for, and how.
struct AuthSource {
  std::string id;          ///< names place and question: what one source has answered, no other one has
  std::string database;    ///< the entry of `databases:` that leads to the server, or a name that "*" stands for
  DatabaseSettings entry;  ///< that entry, but for a connection that is auth_user's and carries nothing of clients
  std::string query;
};

struct AuthSourceResult {
  std::optional<AuthSource> source;  ///< nothing: there is no auth_user, so nobody else is known
  std::string problem;               ///< why there should be one and cannot be, for the log
};

/// The source for clients of `database`; `entry` is what stands for it, nullptr for the console and for names that do
/// not exist: only with auth_dbname there is one then.
AuthSourceResult find_auth_source(const Settings& settings, std::string_view database, const DatabaseSettings* entry);

/// What a server has said about a user.
struct AuthAnswer {
  enum class Kind : uint8_t {
    unknown,      ///< there is no such user
    no_password,  ///< there is, and no password lets it in: it has none, or it has expired
    secret,
  };
  Kind kind = Kind::unknown;
  protocol::StoredSecret secret = {};
  std::optional<int64_t> expires_at_us = {};  ///< by the worker's clock; nothing: never

  bool has_expired(int64_t now_us) const { return expires_at_us && now_us >= *expires_at_us; }
};

/// A source, by its id, and a user.
struct AuthQuestion {
  std::string source, user;
  bool operator==(const AuthQuestion&) const = default;
};

/// What a login gets to know.
struct AuthReply {
  AuthAnswer answer;
  std::optional<protocol::ProtocolError> error;  ///< instead of an answer; for the client
  bool cached = false;                           ///< asked for an earlier login: it may be outdated
  bool stale = false;                            ///< it is, and the server could not be asked again
};

/// What servers have said about users, for all workers. A question is under way only once at a time: whoever has it
/// too waits for the same answer. Thread-safe; its lock is held for moments only, and only logins come here.
///
/// Invariants: a waiter is called exactly once, unless the cache ends first; never with the lock held.
class AuthCache {
 public:
  /// How long answers hold.
  struct Terms {
    int64_t ttl_us;
    int64_t stale_max_us;  ///< on top of it, while the server cannot be asked; 0: not at all
  };
  /// Called on the thread that brings the answer: it must only post to its own worker.
  using Waiter = std::function<void(const AuthReply&)>;
  enum class Lookup : uint8_t {
    known,   ///< `reply` has been filled in; the waiter is not called
    joined,  ///< somebody else has asked already: the waiter will be called
    ask,     ///< the waiter will be called when the caller has had the question answered()
  };

  Lookup look_up(const AuthQuestion& question, const Terms& terms, int64_t now_us, AuthReply& reply, Waiter waiter);
  void answered(const AuthQuestion& question, AuthAnswer answer, int64_t now_us);
  /// No answer was to be had. Where one is known that is not too old, it serves; `error` goes to the others.
  /// `source_is_down`: for a moment, no question for which an old answer serves is put to that source.
  void failed(const AuthQuestion& question, const protocol::ProtocolError& error, bool source_is_down, int64_t now_us);
  /// Whether an old answer would serve those who wait for this one.
  bool can_do_without(const AuthQuestion& question, int64_t now_us) const;
  /// A password was wrong by a cached secret, which may have changed since: the next look_up() asks for it. False if
  /// the server was asked just now.
  bool doubt(const AuthQuestion& question, int64_t now_us);
  /// Forgets all answers; those that are under way are not kept either.
  void forget_all();
  /// Whether users of the source mostly have SCRAM verifiers: what one that does not exist pretends to have.
  bool prefers_scram(const std::string& source) const;
  size_t size() const;

  /// Users and names of nobody, each by itself, that are remembered: the oldest go first.
  static constexpr size_t kUsersMax = 10'000;
  static constexpr size_t kUnknownMax = 1'000;
  /// A name that belongs to nobody may belong to somebody soon; who has no password, or an expired one, may get one.
  static constexpr int64_t kRefusalTtlUs = 3'000'000;
  /// Wrong passwords lead to one question a user in this time.
  static constexpr int64_t kDoubtAfterUs = 1'000'000;
  /// How long a source is left alone where old answers serve.
  static constexpr int64_t kDownUs = 2'000'000;

 private:
  struct Entry {
    std::string key;
    AuthAnswer answer;
    int64_t answered_at_us = 0;
    bool doubted = false;
  };
  using Entries = std::list<Entry>;  // the oldest answer in front
  struct Flight {
    Terms terms;
    std::vector<Waiter> waiters;
    bool outdated = false;  // forget_all() was called meanwhile
  };
  struct SourceState {
    int64_t down_until_us = 0;
    bool scram = true;
  };

  static constexpr size_t kSourcesMax = 1'000;

  static std::string key_of(const AuthQuestion& question);
  static bool is_fresh(const Entry& entry, const Terms& terms, int64_t now_us);
  /// The answer although it is too old, as far as it can still hold.
  static AuthReply stale_reply(const Entry& entry, int64_t now_us);
  const Entry* find(const std::string& key) const;
  /// The entry, if it is not too old to serve without a server.
  const Entry* find_stale(const std::string& key, const Terms& terms, int64_t now_us) const;
  void store(const std::string& key, const AuthAnswer& answer, int64_t now_us);
  void drop(const std::string& key);
  SourceState& source(const std::string& id);

  mutable std::mutex mutex_;
  Entries users_, unknown_;
  std::unordered_map<std::string, Entries::iterator> entries_;
  std::unordered_map<std::string, Flight> flights_;
  std::unordered_map<std::string, SourceState> sources_;
};

}  // namespace bezel::pool
