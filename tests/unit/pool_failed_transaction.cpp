#include <doctest/doctest.h>

#include <string>

#include "pool/failed_transaction.h"
#include "protocol/messages.h"

using namespace bezel::pool;
namespace protocol = bezel::protocol;

namespace {

/// A client in a failed transaction. Answers are written as the types of their messages, with what matters of them.
class Client {
 public:
  explicit Client(FailedTransaction::Start start = {}) : failed_(std::move(start)) {}

  /// Sends messages until the transaction is over.
  std::string operator()(const std::string& messages) {
    std::string answers;
    for (size_t at = 0; at < messages.size() && next_ == FailedTransaction::Next::stays;) {
      const protocol::FrameHeader header = protocol::read_frame_header(messages.data() + at);
      const auto body = std::string_view(messages).substr(at + 5, header.body_bytes());
      next_ = failed_.take(header, body.substr(0, FailedTransaction::kInspectedBytesMax), &names, table, answers);
      at += header.frame_bytes();
    }
    return readable(answers);
  }
  std::string query(std::string_view text) {
    query_.clear();
    protocol::append_query(query_, text);
    return (*this)(query_);
  }
  bool over() const { return next_ != FailedTransaction::Next::stays; }
  std::string rest() const { return std::string(failed_.rest()); }

  ClientStatements names;
  StatementTable table{0, 1};

 private:
  static std::string readable(const std::string& answers) {
    std::string text;
    for (size_t at = 0; at < answers.size();) {
      const protocol::FrameHeader header = protocol::read_frame_header(answers.data() + at);
      const auto body = std::string_view(answers).substr(at + 5, header.body_bytes());
      if (!text.empty()) text += ' ';
      text += header.type;
      if (header.type == 'Z') text += body;
      if (header.type == 'E') text += "(" + std::string(protocol::decode_error_fields(body)->sqlstate) + ")";
      if (header.type == 'C') text += "(" + std::string(body.data()) + ")";
      at += header.frame_bytes();
    }
    return text;
  }

  std::string query_;
  FailedTransaction failed_;
  FailedTransaction::Next next_ = FailedTransaction::Next::stays;
};

FailedTransaction::Start untold() {
  FailedTransaction::Start start;
  start.untold = protocol::ProtocolError{std::string_view("57P01"), "gone", "", ""};
  return start;
}

std::string run(std::string_view text, std::string_view name = "", bool describes = false) {
  std::string bytes;
  protocol::append_parse(bytes, name, text);
  if (describes) protocol::append_describe(bytes, 'S', name);
  protocol::append_bind(bytes, "", name);
  if (describes) protocol::append_describe(bytes, 'P', "");
  protocol::append_execute(bytes, "");
  return bytes;
}

std::string with_sync(std::string bytes) {
  protocol::append_sync(bytes);
  return bytes;
}

}  // namespace

TEST_CASE("a failed transaction by simple queries") {
  for (const char* end : {"ROLLBACK", "rollback;", "ABORT", "COMMIT", "end work", "/* x */ ROLLBACK -- y"}) {
    CAPTURE(end);
    Client client;
    CHECK(client.query("SELECT 1") == "E(25P02) ZE");
    CHECK(client.query("") == "I ZE");
    CHECK(client.query("BEGIN") == "E(25P02) ZE");
    CHECK(client.query("ROLLBACK TO s") == "E(25P02) ZE");
    CHECK(client.query("ROLLBACK AND CHAIN") == "E(25P02) ZE");
    CHECK(client.query("SELECT 1; ROLLBACK") == "E(25P02) ZE");
    CHECK(client.query(std::string(FailedTransaction::kInspectedBytesMax, ' ') + "ROLLBACK") == "E(25P02) ZE");
    CHECK_FALSE(client.over());
    CHECK(client.query(end) == "C(ROLLBACK) ZI");
    CHECK(client.over());
  }
  Client client;
  CHECK(client.query("ROLLBACK;\nRESET ALL") == "C(ROLLBACK)");
  CHECK(client.over());
  CHECK(client.rest() == "\nRESET ALL");
}

TEST_CASE("a failed transaction by the extended protocol") {
  for (const char* name : {"", "S_1"}) {
    for (const bool describes : {false, true}) {
      Client client;
      CHECK(client(with_sync(run("SELECT 1", name, describes))) == "E(25P02) ZE");
      CHECK(client(run("ROLLBACK", name, describes)) == (describes ? "1 t n 2 n C(ROLLBACK)" : "1 2 C(ROLLBACK)"));
      CHECK(client.over());
      CHECK((client.names.find("S_1") != nullptr) == (std::string(name) == "S_1"));
    }
  }
  Client client;
  std::string parse, use;
  protocol::append_parse(parse, "r", "ROLLBACK");
  CHECK(client(with_sync(parse)) == "1 ZE");
  CHECK(client(with_sync(parse)) == "E(42P05) ZE");
  protocol::append_bind(use, "", "unknown");
  CHECK(client(with_sync(use)) == "E(26000) ZE");
  use.clear();
  protocol::append_execute(use, "unknown");
  CHECK(client(with_sync(use)) == "E(34000) ZE");
  use.clear();
  protocol::append_close(use, 'S', "unknown");
  CHECK(client(with_sync(use)) == "3 ZE");
  CHECK(client(with_sync(run(""))) == "1 2 I ZE");
  use.clear();
  protocol::append_flush(use);
  CHECK(client(use) == "");
  use.clear();
  protocol::append_bind(use, "", "r");
  protocol::append_execute(use, "");
  CHECK(client(use) == "2 C(ROLLBACK)");
  CHECK(client.over());
}

TEST_CASE("the first to ask after the loss hears of it") {
  Client asks(untold());
  CHECK(asks.query("SELECT 1") == "E(57P01) ZE");
  CHECK(asks.query("SELECT 1") == "E(25P02) ZE");
  CHECK(asks.query("COMMIT") == "C(ROLLBACK) ZI");
  Client rolls_back(untold());
  CHECK(rolls_back.query("ROLLBACK") == "C(ROLLBACK) ZI");
  Client commits(untold());
  CHECK(commits.query("COMMIT") == "E(57P01) ZI");
  CHECK(commits.over());
  Client commits_extended(untold());
  CHECK(commits_extended(run("COMMIT")) == "1 2 E(57P01)");
  CHECK_FALSE(commits_extended.over());
  CHECK(commits_extended(with_sync("")) == "ZI");
  CHECK(commits_extended.over());
  Client syncs(untold());
  CHECK(syncs(with_sync("")) == "E(57P01) ZE");
  Client says_nothing(untold());
  CHECK(says_nothing.query("") == "E(57P01) ZE");
}

TEST_CASE("the rest of a batch is skipped up to its Sync") {
  FailedTransaction::Start start;
  start.skip_until_sync = true;
  start.in_transaction = false;
  Client client(start);
  CHECK(client(run("SELECT 1")) == "");
  CHECK(client.query("SELECT 1") == "");
  CHECK(client(with_sync(run("ROLLBACK"))) == "ZI");
  CHECK(client.over());
}
