// `bezel hash`: verifiers for auth_file, from passwords that nobody sees.

#include <doctest/doctest.h>
#include <pty.h>
#include <termios.h>
#include <unistd.h>

#include <csignal>
#include <memory>
#include <string>
#include <vector>

#include "integration/bezel_process.h"
#include "integration/child_process.h"
#include "integration/fake_server.h"
#include "integration/temporary_folder.h"
#include "integration/waiting.h"
#include "protocol/secret.h"

using namespace bezel::integration;
namespace protocol = bezel::protocol;

namespace {

struct Outcome {
  int status = -1;
  std::string output;
};

ChildProcess::Program hash_program(const TemporaryFolder& folder, std::vector<std::string> arguments, int input) {
  std::vector<std::string> command = {BEZEL_PROGRAM, "hash"};
  command.insert(command.end(), arguments.begin(), arguments.end());
  return {.command = command, .log_path = folder.path_of("output"), .standard_input = input};
}

/// What it makes of an input that is no terminal.
Outcome hash(const std::string& input, const std::vector<std::string>& arguments = {}) {
  const TemporaryFolder folder;
  folder.write("input", input);
  const std::unique_ptr<FILE, int (*)(FILE*)> file(std::fopen(folder.path_of("input").c_str(), "r"), &std::fclose);
  ChildProcess process(hash_program(folder, arguments, fileno(file.get())));
  const int status = process.wait_for_end().value_or(-1);
  return {status, process.log()};
}

/// The verifier that it printed.
protocol::StoredSecret secret_of(const Outcome& outcome) {
  INFO(outcome.output);
  CHECK(outcome.status == 0);
  REQUIRE(outcome.output.ends_with('\n'));
  const protocol::StoredSecret secret = protocol::parse_secret(outcome.output.substr(0, outcome.output.size() - 1));
  CHECK(secret.kind == protocol::SecretKind::scram_sha_256);
  return secret;
}

/// It runs at a terminal, of which the test has the other end.
class AtTerminal {
 public:
  AtTerminal() {
    REQUIRE(openpty(&ours_, &its_, nullptr, nullptr, nullptr) == 0);
    process_ = std::make_unique<ChildProcess>(hash_program(folder_, {}, its_));
  }
  ~AtTerminal() {
    close(ours_);
    close(its_);
  }
  void await(const std::string& text) {
    wait_until("it says " + text, [&] { return process_->log().find(text) != std::string::npos; });
  }
  void type(const std::string& text) const {
    CHECK(write(ours_, text.data(), text.size()) == static_cast<ssize_t>(text.size()));
  }
  bool echoes() const {
    termios state{};
    REQUIRE(tcgetattr(its_, &state) == 0);
    return (state.c_lflag & ECHO) != 0;
  }
  /// What the terminal has shown by itself.
  std::string shown() const {
    char buffer[1000];
    const ssize_t got = read(ours_, buffer, sizeof buffer);
    return got > 0 ? std::string(buffer, static_cast<size_t>(got)) : "";
  }
  ChildProcess& process() { return *process_; }

 private:
  TemporaryFolder folder_;
  int ours_ = -1, its_ = -1;
  std::unique_ptr<ChildProcess> process_;
};

}  // namespace

TEST_CASE("bezel hash: the verifier is a secret of auth_file") {
  const Outcome made = hash("open sesame\nand a second line\n");
  CHECK(protocol::verify_password(secret_of(made), "app", "open sesame"));
  CHECK(secret_of(made).verifier.iterations == 4096);
  CHECK(made.output != hash("open sesame\n").output);  // another salt

  FakeServer server([](RawClient& peer) {
    if (FakeServer::log_in(peer)) FakeServer::answer_queries(peer);
  });
  BezelProcess bezel(
      {.settings = {{"server_tls_sslmode", "disable"}},
       .databases = {{"app", server.database("user=app")}},
       .userlist = "\"admin\" \"admin-secret\"\n\"app\" \"" + made.output.substr(0, made.output.size() - 1) + "\"\n"});
  CHECK(PgConnection(bezel.conninfo("", "app", "'open sesame'")).value("SELECT 1") == "1");
  CHECK_FALSE(PgConnection(bezel.conninfo("", "app", "'open sesami'")).connected());
}

TEST_CASE("bezel hash: what is read is one line, as it is") {
  for (const std::string& password :
       {std::string("no end of line"), std::string(" spaces "), std::string("\"quotes\"\\"), std::string("p\xc3\xa4ss"),
        std::string("\xff\xfe"), std::string(65536, 'p')}) {
    CAPTURE(password.substr(0, 20));
    CHECK(protocol::verify_password(secret_of(hash(password)), "app", password));
    CHECK(protocol::verify_password(secret_of(hash(password + "\r\nmore")), "app", password));
  }
}

TEST_CASE("bezel hash: what is no password") {
  for (const std::string& input : {std::string(), std::string("\n"), std::string("\r\n"), std::string("\nsecond"),
                                   std::string("a\0b\n", 4), std::string(65537, 'p'), std::string(200000, 'p')}) {
    const Outcome outcome = hash(input);
    CHECK(outcome.status == 1);
    CHECK(outcome.output.find("bezel hash: the password ") == 0);
  }
}

TEST_CASE("bezel hash: iterations") {
  for (const char* count : {"1", "10000"}) {
    const protocol::StoredSecret secret = secret_of(hash("pencil", {"--iterations", count}));
    CHECK(secret.verifier.iterations == std::stoi(count));
    CHECK(protocol::verify_password(secret, "app", "pencil"));
  }
  for (const char* count : {"0", "-1", "1000001", "many", ""})
    CHECK(hash("pencil", {"--iterations", count}).status > 0);
}

TEST_CASE("bezel hash: a password is no argument, and not repeated when it is") {
  for (const std::vector<std::string>& arguments :
       {std::vector<std::string>{"s3cret"}, std::vector<std::string>{"--iterations", "5", "s3cret"},
        std::vector<std::string>{"--password", "s3cret"}, std::vector<std::string>{"--password=s3cret"}}) {
    const Outcome outcome = hash("pencil\n", arguments);
    CHECK(outcome.status == 1);
    CHECK(outcome.output.find("not given as an argument") != std::string::npos);
    CHECK(outcome.output.find("s3cret") == std::string::npos);
    CHECK(outcome.output.find("SCRAM-SHA-256$") == std::string::npos);
  }
}

TEST_CASE("bezel hash: at a terminal nothing is shown of the password") {
  AtTerminal terminal;
  terminal.await("Password: ");
  CHECK_FALSE(terminal.echoes());
  terminal.type("open sesame\n");
  terminal.await("Once more: ");
  CHECK_FALSE(terminal.echoes());
  terminal.type("open sesame\n");
  CHECK(terminal.process().wait_for_end() == 0);
  CHECK(terminal.echoes());
  const std::string output = terminal.process().log();
  const std::string prompts = "Password: Once more: ";
  REQUIRE(output.find(prompts) == 0);
  CHECK(protocol::verify_password(secret_of({0, output.substr(prompts.size())}), "app", "open sesame"));
  CHECK(terminal.shown().find_first_not_of("\r\n") == std::string::npos);
}

TEST_CASE("bezel hash: two passwords that differ") {
  AtTerminal terminal;
  terminal.await("Password: ");
  terminal.type("open sesame\n");
  terminal.await("Once more: ");
  terminal.type("open sesami\n");
  CHECK(terminal.process().wait_for_end() == 1);
  CHECK(terminal.process().log().find("the two passwords are not the same") != std::string::npos);
  CHECK(terminal.process().log().find("SCRAM-SHA-256$") == std::string::npos);
  CHECK(terminal.echoes());
}

TEST_CASE("bezel hash: interrupted, it gives the terminal its echo back") {
  for (const int number : {SIGINT, SIGTERM, SIGHUP}) {
    AtTerminal terminal;
    terminal.await("Password: ");
    CHECK_FALSE(terminal.echoes());
    terminal.type("open ses");
    terminal.process().signal(number);
    CHECK(terminal.process().wait_for_end() == 128 + number);
    CHECK(terminal.echoes());
  }
}
