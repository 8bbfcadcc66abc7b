#pragma once

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "pool/settings.h"
#include "protocol/scram.h"
#include "protocol/secret.h"
#include "tests/simulation/random.h"

namespace bezel::simulation {

/// How simulated servers ask for the password.
enum class ServerAuth { trust, cleartext, md5, scram };

/// What one seed is about: the pooler's settings, how the servers behave, and which misfortunes happen.
struct Scenario {
  explicit Scenario(Random& random);
  /// One without databases and users, in which nothing happens by chance.
  Scenario();

  std::shared_ptr<pool::Settings> settings;
  /// What both ends of all connections say of TLS, for SCRAM-SHA-256-PLUS; no certificate hash: TLS without it;
  /// nothing: no TLS.
  std::optional<pool::TlsFacts> tls_facts;
  bool servers_offer_plus = true;                            ///< where there is such a hash
  std::map<std::string, std::string> passwords;              ///< of the users
  std::map<std::string, protocol::ScramVerifier> verifiers;  ///< of the users, as the servers have them
  int workers = 1;
  int clients = 1;
  int actions = 5;               ///< of each client
  bool reports_at_once = false;  ///< as servers before version 14
  ServerAuth server_auth = ServerAuth::trust;
  int server_slots = 1000;  ///< max_connections of the servers

  // In per cent.
  int refused_dials = 0, failing_logins = 0;
  int slow_queries = 10, big_results = 2;
  int bytewise = 2;

  bool server_faults = false;  ///< servers die
  bool standbys = false;       ///< some servers are standbys, and refuse to write where primaries are wanted
  /// Databases lead to a cluster of these members, and not to plain hosts.
  std::optional<pool::UpstreamSettings> cluster;
  bool reports_hot_standby = true;     ///< as PostgreSQL 14 and later
  bool source_tells_timelines = true;  ///< where it tells roles
  bool source_falls_silent = false;
  bool replicas_lag = false;    ///< replicas fall behind, and catch up
  bool replicas_fill = false;   ///< all replicas refuse logins for longer than anybody waits, connections there live on
  bool replicas_leave = false;  ///< all replicas are away for longer than anybody waits for a server
  bool read_only = false;       ///< for a while sessions on the primary are read-only by default, where that matters
  bool switchovers = false;     ///< by the console, where the source can be asked for them
  bool half_dead = false;       ///< servers fall silent
  bool async_notices = false;   ///< servers send notices out of the blue
  bool client_faults = false;   ///< clients vanish
  bool cancels = false;
  bool operations = false;  ///< PAUSE, RESUME, KILL, RECONNECT, SUSPEND
  bool reloads = false;
  bool timeouts = false;     ///< limits on time that may hit
  bool odd_clients = false;  ///< wrong passwords, unknown databases, refused parameters

  /// Whether a client's connection may end without its doing. The loss of a server ends none, but for session mode.
  bool connections_may_end() const {
    return half_dead || operations || reloads || timeouts || refused_dials > 0 || failing_logins > 0 ||
           server_slots < 1000;
  }
  /// Whether servers are lost while clients have them.
  bool servers_are_lost() const { return server_faults || cluster; }
  /// The users, with secrets of that kind in the pooler's settings.
  void add_users(protocol::SecretKind kind);
  pool::TargetSessionAttrs target_of(const std::string& database) const;
  pool::PoolMode mode_of(const std::string& database, const std::string& user) const;

 private:
  void choose_authentication(Random& random);
  void choose_databases(Random& random);
  void choose_limits(Random& random);
  void choose_misfortunes(Random& random);
  void choose_cluster(Random& random);
};

/// Other limits in the same settings, as a reload brings them.
std::shared_ptr<pool::Settings> with_other_limits(const pool::Settings& settings, Random& random);

}  // namespace bezel::simulation
