// What a client sees when its server is lost, byte by byte: docs/failover.md.

#include <doctest/doctest.h>

#include <atomic>
#include <csignal>
#include <functional>
#include <string>
#include <thread>
#include <vector>

#include "integration/bezel_process.h"
#include "integration/fake_server.h"
#include "integration/loopback.h"
#include "integration/messages.h"
#include "integration/postgres_server.h"
#include "integration/raw_client.h"
#include "integration/temporary_folder.h"
#include "integration/waiting.h"
#include "protocol/error_response.h"
#include "protocol/messages.h"

using namespace bezel::integration;
namespace protocol = bezel::protocol;

namespace {

/// Frames as their types, with what matters of them: "E(57P01) ZE".
std::string brief(const std::vector<Frame>& frames) {
  std::string text;
  for (const Frame& frame : frames) {
    if (!text.empty()) text += ' ';
    text += frame.type;
    if (frame.type == 'Z') text += frame.body;
    if (frame.type == 'E') text += "(" + sqlstate_of(frame) + ")";
    if (frame.type == 'C') text += "(" + std::string(frame.body.c_str()) + ")";
  }
  return text;
}

std::string error_message(std::string_view severity, std::string_view state) {
  std::string bytes;
  protocol::append_error_response(bytes, severity, state, "the fake server says so");
  return bytes;
}

std::string notice() {
  std::string bytes;
  protocol::append_notice_response(bytes, protocol::severity::kWarning, "01000", "careful");
  return bytes;
}

std::string complete(std::string_view tag, char status) {
  std::string bytes;
  protocol::append_command_complete(bytes, tag);
  protocol::append_ready_for_query(bytes, status);
  return bytes;
}

std::string one_row(const std::string& value) {
  std::string bytes;
  const protocol::ColumnDescription column{"value"};
  const std::optional<std::string_view> row = value;
  protocol::append_row_description(bytes, {&column, 1});
  protocol::append_data_row(bytes, {&row, 1});
  return bytes + complete("SELECT 1", 'I');
}

/// A fake server whose first connection follows the script after its login, and whose others answer every query with
/// the row "again"; and Bezel before it.
class Scene {
 public:
  explicit Scene(FakeServer::Script first, std::string greeting = FakeServer::greeting(), std::string further = "")
      : first_(std::move(first)),
        server_([this, greeting](RawClient& peer) {
          if (!FakeServer::read_startup(peer)) return;
          const bool is_first = logins_++ == 0;
          peer.send(is_first ? greeting : FakeServer::greeting());
          if (is_first) return first_(peer);
          while (const auto frame = peer.read_frame()) {
            if (frame->type == 'Q') queries_++;
            if (frame->type == 'Q') peer.send(one_row("again"));
            if (frame->type == 'S') peer.send(complete("SELECT 0", 'I'));
          }
        }),
        bezel_({.settings = {{"server_tls_sslmode", "disable"},
                             {"server_login_retry", "50ms"},
                             {"default_pool_size", "1"},
                             {"workers", "1"}},
                .databases = {{"app", server_.database("user=app password=app-secret " + further)}}}),
        client_(own_address(), bezel_.port()) {
    REQUIRE(client_.log_in("app", "app-secret", "app").back().type == 'Z');
  }

  RawClient& client() { return client_; }
  BezelProcess& bezel() { return bezel_; }
  /// Sends, and reads that many answers up to ReadyForQuery.
  std::string ask(const Messages& messages, int answers = 1) {
    client_.send(messages.bytes());
    return read(answers);
  }
  std::string read(int answers = 1) {
    std::string text;
    for (int i = 0; i < answers; i++) text += (i > 0 ? " " : "") + brief(client_.read_until('Z'));
    return text;
  }
  int queries_of_others() const { return queries_; }
  int logins() const { return logins_; }
  std::string metric(const std::string& what) { return bezel_.show("STATS", what, "database", "app"); }

 private:
  FakeServer::Script first_;
  std::atomic<int> logins_{0}, queries_{0};
  FakeServer server_;
  BezelProcess bezel_;
  RawClient client_;
};

constexpr const char* kAgain = "T D C(SELECT 1) ZI";

/// Reads frames until one of that type.
bool read_to(RawClient& peer, char type) {
  while (const auto frame = peer.read_frame()) {
    if (frame->type == type) return true;
  }
  return false;
}

FakeServer::Script answers_first_query_with(std::string bytes, bool reset = false) {
  return [bytes, reset](RawClient& peer) {
    if (!read_to(peer, 'Q')) return;
    peer.send(bytes);
    if (reset) peer.reset();
  };
}

const std::string kGoodbye = error_message("FATAL", "57P01");

}  // namespace

TEST_CASE("lost servers: FATAL 57P01 alone sends the request to another server") {
  Scene scene(answers_first_query_with(kGoodbye));
  CHECK(scene.ask(Messages().query("INSERT INTO t VALUES (1)")) == kAgain);
  CHECK(scene.queries_of_others() == 1);
  CHECK(scene.ask(Messages().query("SELECT 1")) == kAgain);
}

TEST_CASE("lost servers: by the extended protocol too, with pipelines and parts of messages") {
  const Messages batch = Messages().parse("", "INSERT INTO t VALUES ($1)").bind("", "", {"1"}).execute().sync();
  Scene scene([](RawClient& peer) {
    if (read_to(peer, 'S')) peer.send(kGoodbye);
  });
  CHECK(scene.ask(batch) == "C(SELECT 0) ZI");
  Scene partial([](RawClient& peer) {
    if (read_to(peer, 'Q')) peer.send(kGoodbye);
  });
  const std::string second = Messages().query("SELECT 2").bytes();
  partial.client().send(Messages().query("SELECT 1").bytes() + second.substr(0, 7));
  CHECK(partial.read() == kAgain);
  partial.client().send(second.substr(7));
  CHECK(partial.read() == kAgain);
  CHECK(partial.queries_of_others() == 2);
}

TEST_CASE("lost servers: anything else leaves a request in doubt") {
  struct Case {
    const char* name;
    std::string bytes;
    bool reset;
    std::string text;
    std::string before;  // what the client has got until then
  };
  const std::vector<Case> cases = {
      {"a warning first", notice() + kGoodbye, false, "INSERT INTO t VALUES (1)", "N "},
      {"57P02", error_message("FATAL", "57P02"), false, "INSERT INTO t VALUES (1)", ""},
      {"a plain end", "", false, "INSERT INTO t VALUES (1)", ""},
      {"a reset", "", true, "INSERT INTO t VALUES (1)", ""},
      {"what commits midway", kGoodbye, false, "CALL p()", ""},
      {"a DO", kGoodbye, false, "DO $$ BEGIN COMMIT; END $$", ""},
      {"garbage", std::string("D\0\0\0\0", 5), false, "INSERT INTO t VALUES (1)", ""},
  };
  for (const Case& one : cases) {
    INFO(std::string(one.name));
    Scene scene(answers_first_query_with(one.bytes, one.reset));
    CHECK(scene.ask(Messages().query(one.text)) == one.before + "E(08007) ZI");
    CHECK(scene.queries_of_others() == 0);
    CHECK(scene.ask(Messages().query("SELECT 1")) == kAgain);
  }
}

TEST_CASE("lost servers: a BEGIN alone begins anew, whatever has become of the server") {
  Scene scene(answers_first_query_with("", true));
  CHECK(scene.ask(Messages().query("begin")) == kAgain);
}

TEST_CASE("lost servers: what has not been written is not lost") {
  // The end of the server and the client's request come in the same turn.
  std::atomic<bool> end{false};
  Scene scene([&](RawClient& peer) {
    if (read_to(peer, 'Q')) peer.send(complete("BEGIN", 'T'));
    if (read_to(peer, 'Q')) peer.send(complete("COMMIT", 'I'));
    while (!end) std::this_thread::sleep_for(std::chrono::milliseconds(1));
  });
  for (int i = 0; i < 2; i++) CHECK(scene.ask(Messages().query("x")).back() == (i == 0 ? 'T' : 'I'));
  scene.bezel().process().signal(SIGSTOP);
  const std::string status = "/proc/" + std::to_string(scene.bezel().process().pid()) + "/status";
  wait_until("all of it has stopped", [&] { return read_file(status).find("State:\tT") != std::string::npos; });
  std::this_thread::sleep_for(std::chrono::milliseconds(50));  // its threads too
  scene.client().send(Messages().query("INSERT INTO t VALUES (1)").bytes());
  end = true;
  std::this_thread::sleep_for(std::chrono::milliseconds(100));
  scene.bezel().process().signal(SIGCONT);
  CHECK(scene.read() == kAgain);
  CHECK(scene.queries_of_others() == 1);
}

TEST_CASE("lost servers: 25006 by a standby where any server will do") {
  std::string greeting = FakeServer::greeting();
  std::string standby;
  protocol::append_parameter_status(standby, "in_hot_standby", "on");
  greeting.insert(greeting.size() - 6, standby);
  const std::string refused = error_message("ERROR", "25006") + frame_bytes('Z', "I");
  // Where any server is as good, the error is the client's.
  Scene scene(answers_first_query_with(refused), greeting);
  CHECK(scene.ask(Messages().query("INSERT INTO t VALUES (1)")) == "E(25006) ZI");
}

TEST_CASE("lost servers: in the middle of a message the client has to go") {
  Scene scene(answers_first_query_with("D" + int32_bytes(1000) + "half a row"));
  scene.client().send(Messages().query("SELECT 1").bytes());
  std::string got;
  while (const auto byte = scene.client().read_byte()) got += *byte;
  CHECK(got == "D" + int32_bytes(1000) + "half a row");
}

TEST_CASE("lost servers: an error that was told is not told again") {
  Scene scene(answers_first_query_with(error_message("ERROR", "22012")));
  CHECK(scene.ask(Messages().query("SELECT 1/0")) == "E(22012) ZI");
  Scene batch([](RawClient& peer) {
    if (read_to(peer, 'E')) peer.send(error_message("ERROR", "22012"));
  });
  batch.client().send(Messages().parse("", "SELECT 1/0").bind("", "").execute().flush().bytes());
  CHECK(brief(batch.client().read_until('E')) == "E(22012)");
  wait_until("the server is gone", [&] { return batch.bezel().log().find("server was lost") != std::string::npos; });
  CHECK(batch.ask(Messages().execute().sync()) == "ZI");
}

TEST_CASE("lost servers: an error that was told says what has become of the transaction") {
  const auto run = [](std::string_view text) { return Messages().parse("", text).bind("", "").execute(); };
  const std::string error = error_message("ERROR", "34000");
  // A portal that nobody knows, in a transaction.
  Scene unknown([&](RawClient& peer) {
    if (read_to(peer, 'Q')) peer.send(complete("BEGIN", 'T'));
    if (read_to(peer, 'S')) peer.send(error);
  });
  CHECK(unknown.ask(Messages().query("BEGIN")) == "C(BEGIN) ZT");
  CHECK(unknown.ask(Messages().describe('P', "").execute().sync()) == "E(34000) ZE");
  CHECK(unknown.ask(Messages().query("ROLLBACK")) == "C(ROLLBACK) ZI");
  // A Query and a BEGIN behind the error in the same batch, which are skipped: on their way already,
  const Messages rest = Messages().query("SELECT 1").append(run("BEGIN")).sync();
  Scene under_way([&](RawClient& peer) {
    if (read_to(peer, 'S')) peer.send(error);
  });
  CHECK(under_way.ask(run("SELECT 1/0").flush().append(rest)) == "E(34000) ZI");
  // or sent when the error was known.
  Scene later([&](RawClient& peer) {
    if (read_to(peer, 'H')) peer.send(error);
    read_to(peer, 'S');
  });
  later.client().send(run("SELECT 1/0").flush().bytes());
  CHECK(brief(later.client().read_until('E')) == "E(34000)");
  CHECK(later.ask(rest) == "ZI");
  CHECK(later.ask(Messages().query("SELECT 1")) == kAgain);
}

TEST_CASE("lost servers: a login that had the server only lent waits for the next one") {
  Scene scene([](RawClient& peer) { read_to(peer, 'Q'); });
  RawClient other(own_address(), scene.bezel().port());
  const auto frames = other.log_in("app", "app-secret", "app", 0, {{"TimeZone", "Asia/Tokyo"}});
  CHECK(frames.back().type == 'Z');
}

TEST_CASE("lost servers: in session mode the client goes with its server") {
  Scene scene(answers_first_query_with(kGoodbye), FakeServer::greeting(), "pool_mode=session");
  scene.client().send(Messages().query("SELECT 1").bytes());
  CHECK(brief(scene.client().read_to_end()) == "E(57P01)");
  Scene silent(answers_first_query_with(""), FakeServer::greeting(), "pool_mode=session");
  silent.client().send(Messages().query("SELECT 1").bytes());
  CHECK(brief(silent.client().read_to_end()) == "E(08006)");
}

// ---- With PostgreSQL itself ----------------------------------------------------------------------------------------

namespace {

/// A client of a real PostgreSQL whose backend can be terminated.
class RealScene {
 public:
  explicit RealScene(std::map<std::string, std::string> settings = {})
      : bezel_({.settings = with_one_server(std::move(settings))}), client_(own_address(), bezel_.port()) {
    PostgresServer::shared().superuser().run(
        "DROP TABLE IF EXISTS work; CREATE TABLE work (a int); GRANT ALL ON work TO app");
    REQUIRE(client_.log_in("app", "app-secret", "app").back().type == 'Z');
  }
  std::string ask(const Messages& messages, int answers = 1) {
    client_.send(messages.bytes());
    return read(answers);
  }
  std::string read(int answers = 1) {
    std::string text;
    for (int i = 0; i < answers; i++) text += (i > 0 ? " " : "") + brief(client_.read_until('Z'));
    return text;
  }
  /// Ends the pool's backend, and waits until Bezel knows.
  void terminate() {
    const size_t before = losses();
    PostgresServer::shared().observer().run(
        "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE usename = 'app'");
    wait_until("the loss is noticed", [&] { return losses() > before; });
  }
  RawClient& client() { return client_; }
  BezelProcess& bezel() { return bezel_; }
  std::string rows() { return PostgresServer::shared().superuser().value("SELECT count(*) FROM work"); }

 private:
  static std::map<std::string, std::string> with_one_server(std::map<std::string, std::string> settings) {
    settings.emplace("default_pool_size", "1");
    settings.emplace("workers", "1");
    return settings;
  }
  size_t losses() const {
    const std::string log = bezel_.log();
    size_t count = 0;
    for (size_t at = log.find("server was lost"); at != std::string::npos; at = log.find("server was lost", at + 1)) {
      count++;
    }
    return count;
  }

  BezelProcess bezel_;
  RawClient client_;
};

const Messages kInTransaction = Messages().query("BEGIN").query("INSERT INTO work VALUES (1)");

}  // namespace

TEST_CASE("lost servers: idle in a transaction, with every way to end it") {
  RealScene scene;
  for (const char* end : {"ROLLBACK", "rollback;", "/* it is over */ ABORT WORK", "END", "COMMIT;"}) {
    CAPTURE(end);
    scene.ask(kInTransaction, 2);
    scene.terminate();
    CHECK_FALSE(scene.client().readable_within(std::chrono::milliseconds(50)));
    CHECK(scene.ask(Messages().query("SELECT 1")) == "E(57P01) ZE");
    CHECK(scene.ask(Messages().query("SELECT 1")) == "E(25P02) ZE");
    CHECK(scene.ask(Messages().query(end)) == "C(ROLLBACK) ZI");
    CHECK(scene.ask(Messages().query("SELECT count(*) FROM work")) == "T D C(SELECT 1) ZI");
  }
  scene.ask(kInTransaction, 2);
  scene.terminate();
  CHECK(scene.ask(Messages().query("ROLLBACK")) == "C(ROLLBACK) ZI");
  scene.ask(kInTransaction, 2);
  scene.terminate();
  CHECK(scene.ask(Messages().query("COMMIT")) == "E(57P01) ZI");
  scene.ask(kInTransaction, 2);
  scene.terminate();
  CHECK(scene.ask(Messages().query("ROLLBACK; INSERT INTO work VALUES (2)")) == "C(ROLLBACK) C(INSERT 0 1) ZI");
  CHECK(scene.rows() == "1");
  // A transaction that had failed already.
  scene.ask(Messages(kInTransaction).query("SELECT 1/0"), 3);
  scene.terminate();
  CHECK(scene.ask(Messages().query("COMMIT")) == "C(ROLLBACK) ZI");
}

TEST_CASE("lost servers: the same by the extended protocol") {
  RealScene scene;
  const auto run = [](std::string_view text, std::string_view name = "") {
    return Messages().parse(name, text).bind("", name).describe('P', "").execute().sync();
  };
  scene.ask(kInTransaction, 2);
  scene.terminate();
  CHECK(scene.ask(run("SELECT 1")) == "E(57P01) ZE");
  CHECK(scene.ask(run("SELECT 1")) == "E(25P02) ZE");
  CHECK(scene.ask(Messages().sync()) == "ZE");
  CHECK(scene.ask(run("ROLLBACK", "S_1")) == "1 2 n C(ROLLBACK) ZI");
  CHECK(scene.ask(run("SELECT 1", "S_2")) == "1 2 T D C(SELECT 1) ZI");
  // By names that were prepared here and there.
  scene.ask(kInTransaction, 2);
  scene.terminate();
  CHECK(scene.ask(Messages().bind("", "S_2").execute().sync()) == "E(57P01) ZE");
  CHECK(scene.ask(Messages().bind("", "S_1").execute().sync()) == "2 C(ROLLBACK) ZI");
  CHECK(scene.ask(Messages().query("BEGIN").append(Messages().bind("", "S_1").execute().sync()), 2) ==
        "C(BEGIN) ZT 2 C(ROLLBACK) ZI");
  CHECK(scene.ask(Messages().bind("", "S_2").execute().sync()) == "2 D C(SELECT 1) ZI");
}

TEST_CASE("lost servers: at work in a transaction, with a pipeline behind it") {
  RealScene scene;
  const Messages sleep = Messages().parse("", "SELECT pg_sleep(60)").bind("", "").execute().sync();
  const Messages insert = Messages().parse("", "INSERT INTO work VALUES (3)").bind("", "").execute().sync();
  const auto wait_for_sleep = [] {
    wait_until("it sleeps", [] {
      return PostgresServer::shared().observer().value(
                 "SELECT count(*) FROM pg_stat_activity WHERE usename = 'app' AND wait_event = 'PgSleep'") == "1";
    });
  };
  scene.ask(kInTransaction, 2);
  scene.client().send(Messages(sleep).append(insert).query("SELECT 1").query("ROLLBACK").bytes());
  wait_for_sleep();
  scene.terminate();
  const std::string told = scene.read(4);
  CHECK(told == "1 2 E(57P01) ZE E(25P02) ZE E(25P02) ZE C(ROLLBACK) ZI");
  // A COMMIT behind it may have been reached, for all that the pooler knows.
  scene.ask(kInTransaction, 2);
  scene.client().send(Messages(sleep).query("COMMIT").bytes());
  wait_for_sleep();
  scene.terminate();
  CHECK(scene.read(2) == "1 2 E(57P01) ZE E(08007) ZI");
  // Flush instead of Sync: the error comes at once, and the rest is skipped.
  scene.ask(kInTransaction, 2);
  scene.client().send(Messages().parse("", "SELECT pg_sleep(60)").bind("", "").execute().flush().bytes());
  wait_for_sleep();
  scene.terminate();
  CHECK(brief(scene.client().read_until('E')) == "1 2 E(57P01)");
  CHECK(scene.ask(Messages(insert)) == "ZE");
  CHECK(scene.ask(Messages().query("ROLLBACK")) == "C(ROLLBACK) ZI");
  CHECK(scene.rows() == "0");
}

TEST_CASE("lost servers: COPY by both protocols") {
  RealScene scene;
  std::string many;  // more than is kept of a request
  for (int i = 0; i < 20'000; i++) many += "1\n";
  for (const bool in_transaction : {false, true}) {
    CAPTURE(in_transaction);
    const std::string status = in_transaction ? "ZE" : "ZI";
    const auto begin = [&] {
      if (in_transaction) scene.ask(Messages().query("BEGIN"));
    };
    const auto end = [&] {
      if (in_transaction) CHECK(scene.ask(Messages().query("ROLLBACK")) == "C(ROLLBACK) ZI");
    };
    begin();
    scene.client().send(Messages().query("COPY work FROM STDIN").bytes());
    CHECK(brief(scene.client().read_until('G')) == "G");
    scene.client().send(Messages().copy_data("1\n").copy_data(many).bytes());
    scene.terminate();
    CHECK(scene.read() == "E(57P01) " + status);
    scene.client().send(Messages().copy_data("2\n").copy_done().bytes());  // too late, and ignored
    end();
    begin();
    scene.client().send(Messages().parse("", "COPY work FROM STDIN").bind("", "").execute().sync().bytes());
    CHECK(brief(scene.client().read_until('G')) == "1 2 G");
    scene.terminate();
    CHECK(brief(scene.client().read_until('E')) == "E(57P01)");
    CHECK(scene.ask(Messages().copy_data("2\n").copy_done().sync()) == status);
    end();
  }
  CHECK(scene.rows() == "0");
  CHECK(scene.ask(Messages().query("COPY work FROM STDIN").copy_data("5\n").copy_done()) == "G C(COPY 1) ZI");
}

TEST_CASE("lost servers: parameters are again what they were before the transaction") {
  RealScene scene;
  CHECK(scene.ask(Messages().query("SET TimeZone = 'Asia/Tokyo'")) == "C(SET) S ZI");
  CHECK(scene.ask(Messages().query("BEGIN").query("SET TimeZone = 'Europe/Rome'"), 2) == "C(BEGIN) ZT C(SET) S ZT");
  scene.terminate();
  CHECK(scene.ask(Messages().query("SELECT 1")) == "E(57P01) S ZE");
  CHECK(scene.ask(Messages().query("ROLLBACK")) == "C(ROLLBACK) ZI");
  scene.client().send(Messages().query("SHOW TimeZone").bytes());
  const auto frames = scene.client().read_until('Z');
  CHECK(frames[1].body.find("Asia/Tokyo") != std::string::npos);
}

TEST_CASE("lost servers: idle_transaction_timeout holds in a transaction that was lost") {
  RealScene scene(std::map<std::string, std::string>{{"idle_transaction_timeout", "500ms"}});
  scene.ask(kInTransaction, 2);
  scene.terminate();
  CHECK(brief(scene.client().read_to_end()) == "E(25P03)");
}

TEST_CASE("lost servers: a crash of PostgreSQL") {
  PostgresServer server;
  BezelProcess bezel({.settings = {{"server_login_retry", "50ms"}}, .databases = {{"app", database_at(server)}}});
  PgConnection in_transaction = bezel.connect(), idle = bezel.connect();
  in_transaction.run("BEGIN");
  const std::string backend = in_transaction.value("SELECT pg_backend_pid()");
  idle.run("SELECT 1");
  kill(static_cast<pid_t>(std::stoi(backend)), SIGKILL);
  // PostgreSQL restarts, and takes all other backends along.
  wait_until("the idle server is gone", [&] { return bezel.show("POOLS", "sv_idle", "database", "app") == "0"; });
  CHECK(in_transaction.exec("SELECT 1").sqlstate() == "08006");
  CHECK(in_transaction.exec("ROLLBACK").command_tag() == "ROLLBACK");
  CHECK_MESSAGE(idle.value("SELECT 'fine'") == "fine", idle.complaints());
  CHECK(in_transaction.value("SELECT 'fine'") == "fine");
}
