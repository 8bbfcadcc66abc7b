#include <doctest/doctest.h>

#include <cstring>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "pool/hba.h"
#include "pool/worker.h"
#include "protocol/error_response.h"
#include "protocol/messages.h"
#include "protocol/scram.h"

// Clients on a worker without a network: certificates and system users can be what a test likes.

using namespace bezel;
using namespace bezel::pool;

namespace {

class FakeStream final : public ByteStream {
 public:
  void write(std::string_view bytes) override { written += bytes; }
  void write_copy(std::string_view bytes) override { written += bytes; }
  size_t unsent_bytes() const override { return 0; }
  uint64_t taken_bytes() const override { return written.size(); }
  bool peer_owes_acknowledgements() const override { return false; }
  void drop_unsent() override {}
  void pause_reading() override {}
  void resume_reading() override {}
  void set_events(Events& to) override { events = &to; }
  std::unique_ptr<DetachedStream> detach() override { return nullptr; }
  StreamEnds ends() const override { return its_ends; }
  void start_tls(const TlsStart&) override {}
  bool is_local() const override { return its_ends.peer_address == "unix"; }
  const TlsFacts* tls_facts() const override { return facts ? &*facts : nullptr; }
  std::optional<IpAddress> peer_ip() const override { return IpAddress::parse(its_ends.peer_address); }
  void peer_has_ended() override {}
  void release() override {}

  std::string written;
  StreamEnds its_ends;
  std::optional<TlsFacts> facts;
  Events* events = nullptr;
};

/// Nothing happens by itself: time stands still, and what was offloaded waits for run().
class FakeRuntime final : public Runtime {
 public:
  int64_t now_us() const override { return now; }
  int64_t wall_clock_us() const override { return now; }
  StreamPtr dial(const HostAddress&, const Settings&, ByteStream::Events&) override { return nullptr; }
  StreamPtr attach(std::unique_ptr<DetachedStream>, ByteStream::Events&) override { return nullptr; }
  void offload(std::function<void()> work, std::function<void()> done) override {
    tasks.push_back(std::move(work));
    tasks.push_back(std::move(done));
  }
  void post(int, std::function<void()> task) override { tasks.push_back(std::move(task)); }
  void find_system_user(uint32_t user_id, std::function<void(std::string)> done) override {
    tasks.push_back([this, user_id, done = std::move(done)] { done(system_users[user_id]); });
  }
  void random_bytes(void* to, size_t size) override { std::memset(to, 7, size); }
  void log(LogLevel, std::string_view) override {}
  bool log_enabled(LogLevel) const override { return false; }

  void run() {
    while (!tasks.empty()) {
      const auto task = std::move(tasks.front());
      tasks.erase(tasks.begin());
      task();
    }
  }

  int64_t now = 1'000'000;
  std::map<uint32_t, std::string> system_users;
  std::vector<std::function<void()>> tasks;
};

/// Keeps what it is asked until a test answers.
class FakeChecker final : public PasswordChecker {
 public:
  bool check(std::shared_ptr<PasswordQuestion> question, Done done) override {
    if (full) return false;
    asked.push_back(std::move(question));
    waiting.push_back(std::move(done));
    return true;
  }

  bool full = false;
  std::vector<std::shared_ptr<PasswordQuestion>> asked;
  std::vector<Done> waiting;
};

struct Pooler {
  explicit Pooler(AuthType type) {
    settings->auth_type = type;
    for (const char* user : {"alice", "bob"}) settings->secrets[user] = protocol::parse_secret("secret");
    shared.secret = std::string(32, 's');
  }
  void rule(HbaTransport transport, AuthType method, std::shared_ptr<const IdentMap> map = nullptr) {
    HbaRule one;
    one.transport = transport;
    one.databases.all = one.users.all = true;
    one.method = method;
    one.map = std::move(map);
    rules.push_back(one);
  }
  /// A client's startup packet.
  static std::string startup(const std::string& user) {
    using namespace std::string_literals;
    const std::string body = "\0\3\0\0user\0"s + user + "\0database\0none\0\0"s;
    return "\0\0\0"s + static_cast<char>(body.size() + 4) + body;
  }
  /// What an error says; nothing if the stream does not end with one.
  static std::string error_of(const FakeStream& stream) {
    const size_t fields = stream.written.find("SFATAL");
    if (fields == std::string::npos) return "";
    const auto error = protocol::decode_error_fields(std::string_view(stream.written).substr(fields));
    REQUIRE(error);
    const std::string text = std::string(error->sqlstate) + " " + std::string(error->message);
    return text == "3D000 no such database: none" ? "in" : text;
  }
  /// Who has got in learns that there is no such database; "in" stands for that. Nothing: it is asked for a proof.
  std::string outcome(FakeStream& stream, const std::string& user) {
    settings->hba_rules = std::make_shared<HbaRules>(rules);
    Worker worker(0, runtime, shared, settings);
    ByteStream::Events* events = worker.accept(StreamPtr(&stream));
    REQUIRE(events != nullptr);
    events->on_bytes(startup(user));
    runtime.run();
    worker.end_turn();
    return error_of(stream);
  }
  std::string by_certificate(const std::string& user, const std::string& common_name) {
    FakeStream stream;
    stream.its_ends.peer_address = "192.0.2.1";
    stream.facts = TlsFacts{};
    stream.facts->peer_common_name = common_name;
    stream.facts->peer_distinguished_name = "CN=" + common_name + ",O=x";
    return outcome(stream, user);
  }
  std::string as_system_user(const std::string& user, uint32_t user_id) {
    FakeStream stream;
    stream.its_ends.peer_address = "unix";
    stream.its_ends.peer_user_id = user_id;
    return outcome(stream, user);
  }

  FakeRuntime runtime;
  Shared shared{1};
  std::shared_ptr<Settings> settings = std::make_shared<Settings>();
  std::vector<HbaRule> rules;
};

std::shared_ptr<const IdentMap> people() {
  auto map = std::make_shared<IdentMap>();
  CHECK(map->add("/^(.*)@example\\.org$", "\\1").empty());
  return map;
}

std::string refused(const std::string& kind, const std::string& user) {
  return "28000 " + kind + " authentication failed for user \"" + user + "\"";
}

constexpr const char* kNoCertificate = "28000 connection requires a valid client certificate";

}  // namespace

TEST_CASE("cert: the certificate's common name is the user's") {
  Pooler pooler(AuthType::cert);
  CHECK(pooler.by_certificate("alice", "alice") == "in");
  CHECK(pooler.by_certificate("bob", "alice") == refused("certificate", "bob"));
  CHECK(pooler.by_certificate("alice", "Alice") == refused("certificate", "alice"));
  CHECK(pooler.by_certificate("alice", "") == refused("certificate", "alice"));
  CHECK(pooler.by_certificate("alice", std::string("alice\0x", 7)) == refused("certificate", "alice"));
  CHECK(pooler.by_certificate("absent", "absent") == refused("certificate", "absent"));
}

TEST_CASE("cert: without encryption, or without a certificate") {
  Pooler pooler(AuthType::cert);
  FakeStream plain, bare, local;
  plain.its_ends.peer_address = bare.its_ends.peer_address = "192.0.2.1";
  local.its_ends.peer_address = "unix";
  bare.facts = TlsFacts{};
  CHECK(pooler.outcome(plain, "alice") == kNoCertificate);
  CHECK(pooler.outcome(bare, "alice") == kNoCertificate);
  CHECK(pooler.outcome(local, "alice") == kNoCertificate);
}

TEST_CASE("cert: by a map") {
  Pooler pooler(AuthType::hba);
  pooler.rule(HbaTransport::hostssl, AuthType::cert, people());
  CHECK(pooler.by_certificate("alice", "alice@example.org") == "in");
  CHECK(pooler.by_certificate("alice", "alice") == refused("certificate", "alice"));
  CHECK(pooler.by_certificate("bob", "alice@example.org") == refused("certificate", "bob"));
  CHECK(pooler.by_certificate("absent", "absent@example.org") == refused("certificate", "absent"));
}

TEST_CASE("hba: the error says whether the connection is encrypted") {
  Pooler pooler(AuthType::hba);
  pooler.rule(HbaTransport::hostnossl, AuthType::trust);
  CHECK(pooler.by_certificate("alice", "alice") ==
        "28000 no pg_hba.conf entry for host \"192.0.2.1\", user \"alice\", database \"none\", SSL encryption");
  pooler.rule(HbaTransport::hostssl, AuthType::reject);
  CHECK(pooler.by_certificate("alice", "alice") ==
        "28000 pg_hba.conf rejects connection for host \"192.0.2.1\", user \"alice\", database \"none\", SSL "
        "encryption");
}

TEST_CASE("peer: the system user's name is the user's, by a map or not") {
  Pooler pooler(AuthType::hba);
  pooler.runtime.system_users = {{1, "alice"}, {2, "alice@example.org"}, {4, "absent"}};
  pooler.rule(HbaTransport::local, AuthType::peer);
  CHECK(pooler.as_system_user("alice", 1) == "in");
  CHECK(pooler.as_system_user("bob", 1) == refused("Peer", "bob"));
  CHECK(pooler.as_system_user("alice", 3) == refused("Peer", "alice"));
  CHECK(pooler.as_system_user("absent", 4) == refused("Peer", "absent"));
  pooler.rules[0].map = people();
  CHECK(pooler.as_system_user("alice", 1) == refused("Peer", "alice"));
  CHECK(pooler.as_system_user("alice", 2) == "in");
  FakeStream unknown;
  unknown.its_ends.peer_address = "unix";
  CHECK(pooler.outcome(unknown, "alice") == refused("Peer", "alice"));
}

TEST_CASE("wrong certificates count as failed logins; missing ones and rejections do not") {
  Pooler pooler(AuthType::cert);
  pooler.settings->auth_failure_limit = 2;
  FakeStream plain;
  plain.its_ends.peer_address = "192.0.2.1";
  for (int i = 0; i < 5; i++) {
    plain.written.clear();
    CHECK(pooler.outcome(plain, "alice") == kNoCertificate);
  }
  CHECK(pooler.by_certificate("alice", "bob") == refused("certificate", "alice"));
  CHECK(pooler.by_certificate("alice", "alice") == "in");
  CHECK(pooler.by_certificate("alice", "bob") == refused("certificate", "alice"));
  const std::string throttled = "28000 too many failed logins from this address";
  CHECK(pooler.by_certificate("alice", "alice") == throttled);
  CHECK(pooler.shared.statistics.worker(0).throttled_logins.get() == 1);
  CHECK(pooler.shared.statistics.worker(0).failed_logins.get() == 5 + 2 + 1 + 1);
  pooler.runtime.now += 30'000'000;
  CHECK(pooler.by_certificate("alice", "alice") == "in");
}

TEST_CASE("passwords that are being checked when the limit is reached are not answered") {
  Pooler pooler(AuthType::plain);
  pooler.settings->auth_failure_limit = 1;
  const auto keys = protocol::derive_keys("secret", "salt", 2);
  REQUIRE(keys);
  protocol::StoredSecret& secret = pooler.settings->secrets["alice"];
  secret.kind = protocol::SecretKind::scram_sha_256;
  secret.verifier = protocol::make_verifier(*keys, "salt", 2);
  Worker worker(0, pooler.runtime, pooler.shared, pooler.settings);
  std::vector<FakeStream> streams(3);
  const auto check = [&](const std::vector<std::string>& passwords) {
    std::vector<std::string> outcomes;
    for (size_t i = 0; i < passwords.size(); i++) {
      streams[i] = FakeStream();
      streams[i].its_ends.peer_address = "192.0.2.1";
      worker.accept(StreamPtr(&streams[i]))->on_bytes(Pooler::startup("alice"));
    }
    for (size_t i = 0; i < passwords.size(); i++) {
      std::string message;
      protocol::append_password_message(message, passwords[i]);
      streams[i].events->on_bytes(message);
    }
    pooler.runtime.run();
    for (size_t i = 0; i < passwords.size(); i++) outcomes.push_back(Pooler::error_of(streams[i]));
    worker.end_turn();
    return outcomes;
  };
  const std::string throttled = "28000 too many failed logins from this address";
  CHECK(check({"secret", "wrong!", "secret"}) ==
        std::vector<std::string>{"in", "28P01 password authentication failed for user \"alice\"", throttled});
  pooler.runtime.now += 60'000'000;
  CHECK(check({"wrong!", "wrong!", "secret"}) ==
        std::vector<std::string>{"28P01 password authentication failed for user \"alice\"", throttled, throttled});
}

namespace {

/// A client that has sent a password for PAM or LDAP to judge.
struct ElsewhereLogin {
  ElsewhereLogin(Pooler& its_pooler, const std::string& user) : pooler(its_pooler) {
    pooler.shared.passwords = &checker;
    stream.its_ends.peer_address = "192.0.2.1";
    worker.accept(StreamPtr(&stream))->on_bytes(Pooler::startup(user));
    CHECK(stream.written == std::string("R\0\0\0\x08\0\0\0\x03", 9));
    std::string message;
    protocol::append_password_message(message, "word");
    stream.events->on_bytes(message);
  }
  std::string answered(PasswordVerdict::Kind kind) {
    checker.waiting.at(0)({kind, "because"});
    pooler.runtime.run();
    worker.end_turn();
    return Pooler::error_of(stream);
  }

  Pooler& pooler;
  FakeChecker checker;
  FakeStream stream;
  Worker worker{0, pooler.runtime, pooler.shared, pooler.settings};
};

}  // namespace

TEST_CASE("pam, ldap: who is asked what, and what comes of it") {
  using Kind = PasswordVerdict::Kind;
  Pooler pooler(AuthType::pam);
  pooler.settings->auth_failure_limit = 0;
  pooler.settings->auth_pam_service = "people";
  {
    ElsewhereLogin login(pooler, "somebody");
    REQUIRE(login.checker.asked.size() == 1);
    const PasswordQuestion& question = *login.checker.asked[0];
    CHECK(question.method == AuthType::pam);
    CHECK(question.pam_service == "people");
    CHECK(question.user == "somebody");
    CHECK(question.password == "word");
    CHECK(question.client_address == "192.0.2.1");
    CHECK(Pooler::error_of(login.stream).empty());
    CHECK(login.answered(Kind::right) == "in");
  }
  CHECK(ElsewhereLogin(pooler, "alice").answered(Kind::wrong) ==
        "28P01 password authentication failed for user \"alice\"");
  CHECK(ElsewhereLogin(pooler, "alice").answered(Kind::unknown) == "57P03 the password could not be checked");
  pooler.settings->auth_type = AuthType::ldap;
  pooler.settings->ldap = std::make_shared<LdapSettings>();
  ElsewhereLogin login(pooler, "alice");
  CHECK(login.checker.asked.at(0)->method == AuthType::ldap);
  CHECK(login.checker.asked.at(0)->ldap == pooler.settings->ldap);
}

TEST_CASE("pam: a client that leaves while it is judged, and one too many") {
  Pooler pooler(AuthType::pam);
  ElsewhereLogin login(pooler, "alice");
  CHECK_FALSE(login.checker.asked.at(0)->given_up);
  login.stream.events->on_closed("gone");
  CHECK(login.checker.asked.at(0)->given_up);
  CHECK(login.answered(PasswordVerdict::Kind::right).empty());
  login.checker.full = true;
  FakeStream late;
  login.worker.accept(StreamPtr(&late))->on_bytes(Pooler::startup("alice"));
  std::string message;
  protocol::append_password_message(message, "word");
  late.events->on_bytes(message);
  CHECK(Pooler::error_of(late) == "53300 too many logins are waiting for their passwords to be checked");
  login.worker.end_turn();
}

TEST_CASE("pam: only wrong passwords count as failed logins") {
  using Kind = PasswordVerdict::Kind;
  Pooler pooler(AuthType::pam);
  pooler.settings->auth_failure_limit = 1;
  CHECK(ElsewhereLogin(pooler, "alice").answered(Kind::unknown) == "57P03 the password could not be checked");
  CHECK(ElsewhereLogin(pooler, "alice").answered(Kind::right) == "in");
  ElsewhereLogin slow(pooler, "alice");
  CHECK(ElsewhereLogin(pooler, "alice").answered(Kind::wrong) ==
        "28P01 password authentication failed for user \"alice\"");
  CHECK(slow.answered(Kind::right) == "28000 too many failed logins from this address");
}

TEST_CASE("a database's own auth_type") {
  Pooler pooler(AuthType::trust);
  DatabaseSettings& database = pooler.settings->databases["none"];
  FakeStream by_certificate, by_any;
  by_certificate.its_ends.peer_address = by_any.its_ends.peer_address = "192.0.2.1";
  database.auth_type = AuthType::cert;
  CHECK(pooler.outcome(by_certificate, "alice") == kNoCertificate);
  database.auth_type = AuthType::any;
  CHECK(pooler.outcome(by_any, "absent") == "28000 auth_type any needs a database with a forced user");
}

namespace {

/// Begins a SCRAM login with that password on a stream of its own.
class ScramLogin {
 public:
  ScramLogin(Pooler& pooler, Worker& worker, const std::string& user, std::string password)
      : runtime_(pooler.runtime), password_(std::move(password)) {
    stream_.its_ends.peer_address = "192.0.2.1";
    worker.accept(StreamPtr(&stream_))->on_bytes(Pooler::startup(user));
    std::string message;
    protocol::append_sasl_initial_response(message, protocol::kScramSha256, client_.first());
    stream_.events->on_bytes(message);
  }
  /// Goes on by the challenge, which needs no derivation; how many the proof takes. `spoilt`: the message is malformed.
  size_t derivations(bool spoilt = false) {
    CHECK(runtime_.tasks.empty());
    const auto challenge = client_.server_first(std::string_view(stream_.written).substr(stream_.written.rfind("r=")));
    REQUIRE(challenge);
    const auto keys = protocol::derive_keys(password_, challenge->salt, challenge->iterations);
    const std::string body = client_.final_message(*keys).value() + (spoilt ? ",x=y" : "");
    std::string message = "p";
    for (int shift = 24; shift >= 0; shift -= 8) message += static_cast<char>((body.size() + 4) >> shift);
    stream_.events->on_bytes(message + body);
    const size_t offloaded = runtime_.tasks.size() / 2;
    CHECK((offloaded == 0 || Pooler::error_of(stream_).empty()));  // nothing is said before it is done
    runtime_.run();
    return offloaded;
  }
  std::string outcome() const { return Pooler::error_of(stream_); }

 private:
  FakeRuntime& runtime_;
  std::string password_;
  FakeStream stream_;
  protocol::ScramClient client_{"client-nonce"};
};

protocol::StoredSecret verifier_of(const std::string& password) {
  const auto keys = protocol::derive_keys(password, "salt", protocol::kScramIterationsDefault);
  return protocol::parse_secret(
      protocol::build_verifier(protocol::make_verifier(*keys, "salt", protocol::kScramIterationsDefault)));
}

}  // namespace

TEST_CASE("SCRAM: a refusal costs the same derivations for every user, known or not, at the first login or later") {
  for (const bool plain_ones : {false, true}) {
    CAPTURE(plain_ones);
    Pooler pooler(AuthType::scram_sha_256);
    pooler.settings->auth_failure_limit = 0;
    pooler.settings->secrets = {{"verified", verifier_of("secret")},
                                {"hashed", protocol::parse_secret("md5" + std::string(32, 'a'))}};
    if (plain_ones) pooler.settings->secrets["kept"] = protocol::parse_secret("secret");
    Worker worker(0, pooler.runtime, pooler.shared, pooler.settings);
    for (int attempt = 0; attempt < 3; attempt++) {
      for (const char* user : {"verified", "kept", "hashed", "nobody"}) {
        CAPTURE(user);
        for (const bool spoilt : {false, true}) {
          ScramLogin login(pooler, worker, user, "wrong");
          CHECK(login.derivations(spoilt) == (plain_ones ? 1 : 0));
          CHECK(login.outcome() ==
                (spoilt ? "08P01 malformed SCRAM message"
                        : "28P01 password authentication failed for user \"" + std::string(user) + "\""));
          worker.end_turn();
        }
      }
    }
  }
}

TEST_CASE("SCRAM: a login by a plain password derives once, and by a verifier never") {
  Pooler pooler(AuthType::scram_sha_256);
  pooler.settings->secrets = {{"verified", verifier_of("secret")}, {"kept", protocol::parse_secret("secret")}};
  Worker worker(0, pooler.runtime, pooler.shared, pooler.settings);
  for (const auto& [user, derivations] : {std::pair("kept", 1), {"kept", 0}, {"verified", 0}, {"kept", 0}}) {
    ScramLogin login(pooler, worker, user, "secret");
    CHECK(login.derivations() == static_cast<size_t>(derivations));
    CHECK(login.outcome() == "in");
    worker.end_turn();
  }
}

TEST_CASE("md5: a refusal takes no derivation, for nobody") {
  Pooler pooler(AuthType::md5);
  Worker worker(0, pooler.runtime, pooler.shared, pooler.settings);
  for (const char* user : {"alice", "nobody"}) {
    FakeStream stream;
    stream.its_ends.peer_address = "192.0.2.1";
    worker.accept(StreamPtr(&stream))->on_bytes(Pooler::startup(user));
    std::string message;
    protocol::append_password_message(message, "md5" + std::string(32, '0'));
    stream.events->on_bytes(message);
    CHECK(pooler.runtime.tasks.empty());
    CHECK(Pooler::error_of(stream) == "28P01 password authentication failed for user \"" + std::string(user) + "\"");
    worker.end_turn();
  }
}
