#include <doctest/doctest.h>

#include <functional>
#include <initializer_list>
#include <string>
#include <vector>

#include "pool/server_loss.h"
#include "protocol/messages.h"

using namespace bezel::pool;
namespace protocol = bezel::protocol;

namespace {

using Error = LossReply::Error;
using Kind = LossVerdict::Kind;

std::string query(std::string_view text) {
  std::string bytes;
  protocol::append_query(bytes, text);
  return bytes;
}

/// Parse, Bind and Execute.
std::string run(std::string_view text, std::string_view name = "") {
  std::string bytes;
  protocol::append_parse(bytes, name, text);
  protocol::append_bind(bytes, "", name);
  protocol::append_execute(bytes, "");
  return bytes;
}

std::string sync_message() {
  std::string bytes;
  protocol::append_sync(bytes);
  return bytes;
}

JournalReading read(const std::string& bytes, bool names_are_known = true) {
  static StatementTable table(0, 1);
  static const StatementPtr commit = table.intern(std::string("COMMIT\0\0\0", 9));
  Journal journal;
  journal.append(bytes);
  return read_journal(
      journal, [](std::string_view name) { return name == "commit" ? commit : nullptr; }, names_are_known);
}

ServerLoss loss(char status, size_t owed, bool open = false) {
  ServerLoss loss;
  loss.status = status;
  loss.requests_owed = owed;
  loss.batch_open = open;
  loss.replays_left = 1;
  return loss;
}

LossVerdict verdict(const ServerLoss& loss, const std::string& bytes) {
  return decide(loss, read(bytes));
}

using Replies = std::vector<LossReply>;

}  // namespace

TEST_CASE("who asked for nothing hears nothing") {
  CHECK(verdict(loss('I', 0), "").kind == Kind::nothing);
  CHECK(verdict(loss('I', 0), "").status == 'I');
  CHECK(verdict(loss('T', 0), "").status == 'E');
  CHECK(verdict(loss('E', 0), "").status == 'E');
}

TEST_CASE("what goes to another server, and what does not") {
  const std::string insert = query("INSERT INTO t VALUES (1)");
  ServerLoss unwritten = loss('I', 1);
  unwritten.written = false;
  CHECK(verdict(unwritten, insert).kind == Kind::replay);
  CHECK(verdict(unwritten, query("CALL p()")).kind == Kind::replay);
  ServerLoss goodbye = loss('I', 1);
  goodbye.said_goodbye = true;
  CHECK(verdict(goodbye, insert).kind == Kind::replay);
  CHECK(verdict(goodbye, run("INSERT INTO t VALUES (1)") + sync_message()).kind == Kind::replay);
  // What commits while it runs may have done so.
  for (const char* text : {"CALL p()", "DO $$ BEGIN COMMIT; END $$", "VACUUM t"}) {
    CHECK(verdict(goodbye, query(text)).kind == Kind::answers);
    CHECK(verdict(goodbye, run(text) + sync_message()).in_doubt());
  }
  CHECK(verdict(loss('I', 1), insert).kind == Kind::answers);
  // A BEGIN alone does nothing.
  CHECK(verdict(loss('I', 1), query("BEGIN")).kind == Kind::replay);
  CHECK(verdict(loss('I', 1), run("start transaction") + sync_message()).kind == Kind::replay);
  CHECK(verdict(loss('I', 1), query("BEGIN; SELECT 1")).kind == Kind::answers);
  // A standby has refused to write.
  ServerLoss refused = loss('I', 1);
  refused.refused_by_standby = true;
  CHECK(verdict(refused, insert).kind == Kind::replay);
  CHECK(verdict(refused, query("CALL p()")).kind == Kind::replay);
  refused.requests_owed = 2;
  CHECK(verdict(refused, insert + insert).kind == Kind::answers);
  refused.requests_owed = 1;
  for (ServerLoss one : {unwritten, goodbye, refused}) {
    ServerLoss answered = one, in_transaction = one, tired = one;
    answered.answered = true;
    in_transaction.status = 'T';
    tired.replays_left = 0;
    CHECK(verdict(answered, insert).kind == Kind::answers);
    CHECK(verdict(in_transaction, insert).kind == Kind::answers);
    CHECK(verdict(tired, insert).kind == Kind::answers);
    CHECK(verdict(one, query(std::string(Journal::kBytesMax, ' '))).kind == Kind::answers);
    Journal copying;
    copying.append(query("COPY t FROM STDIN"));
    copying.skip_copy_data();
    CHECK(decide(one, read_journal(copying, nullptr, true)).kind == Kind::answers);
  }
}

TEST_CASE("inside a transaction") {
  CHECK(verdict(loss('T', 1), query("INSERT INTO t VALUES (1)")).replies == Replies{{Error::lost, 'E'}});
  CHECK(verdict(loss('T', 1), query("SELECT CASE WHEN a THEN 1 END")).replies == Replies{{Error::lost, 'E'}});
  CHECK(verdict(loss('T', 1), query("ROLLBACK TO s")).replies == Replies{{Error::lost, 'E'}});
  CHECK(verdict(loss('T', 1), query("ROLLBACK")).replies == Replies{{Error::rolled_back, 'I'}});
  CHECK(verdict(loss('T', 1), run("ROLLBACK") + sync_message()).replies == Replies{{Error::lost, 'I'}});
  for (const char* text : {"COMMIT", "end;", "/* x */ COMMIT", "PREPARE TRANSACTION 'x'", "COMMIT AND CHAIN",
                           "INSERT INTO t VALUES (1); COMMIT", "ROLLBACK; INSERT INTO t VALUES (1)"}) {
    CAPTURE(text);
    CHECK(verdict(loss('T', 1), query(text)).replies == Replies{{Error::doubtful, 'I'}});
  }
  CHECK(verdict(loss('T', 1), run("COMMIT") + sync_message()).in_doubt());
  CHECK(verdict(loss('T', 1), run("COMMIT", "c") + sync_message()).in_doubt());
  // Prepared earlier, under a name that is known, or not.
  std::string bound;
  protocol::append_bind(bound, "", "commit");
  protocol::append_execute(bound, "");
  CHECK(verdict(loss('T', 1), bound + sync_message()).in_doubt());
  bound.clear();
  protocol::append_bind(bound, "", "unknown");
  CHECK_FALSE(decide(loss('T', 1), read(bound + sync_message(), true)).in_doubt());
  CHECK(decide(loss('T', 1), read(bound + sync_message(), false)).in_doubt());
  bound.clear();
  protocol::append_execute(bound, "cursor");
  CHECK(verdict(loss('T', 1), bound + sync_message()).in_doubt());
  // Too long to be kept.
  CHECK(verdict(loss('T', 1), query(std::string(Journal::kBytesMax, ' '))).in_doubt());
  // Not written: not in doubt.
  ServerLoss unwritten = loss('T', 1);
  unwritten.written = false;
  CHECK(verdict(unwritten, query("COMMIT")).replies == Replies{{Error::lost, 'E'}});
}

TEST_CASE("in a failed transaction nothing is in doubt but what follows its end") {
  CHECK(verdict(loss('E', 1), query("COMMIT")).replies == Replies{{Error::rolled_back, 'I'}});
  CHECK(verdict(loss('E', 1), query("ROLLBACK")).replies == Replies{{Error::rolled_back, 'I'}});
  CHECK(verdict(loss('E', 1), query("SELECT 1")).replies == Replies{{Error::lost, 'E'}});
  CHECK(verdict(loss('E', 2), query("ROLLBACK") + query("INSERT INTO t VALUES (1)")).replies ==
        Replies{{Error::rolled_back, 'I'}, {Error::doubtful, 'I'}});
  CHECK(verdict(loss('E', 1), query("ROLLBACK; INSERT INTO t VALUES (1)")).in_doubt());
}

TEST_CASE("outside of a transaction a request may have committed") {
  CHECK(verdict(loss('I', 1), query("INSERT INTO t VALUES (1)")).replies == Replies{{Error::doubtful, 'I'}});
  CHECK(verdict(loss('I', 1), run("SELECT 1") + sync_message()).replies == Replies{{Error::doubtful, 'I'}});
  // But not before its Sync, or before all data were there.
  const LossVerdict open = verdict(loss('I', 0, true), run("INSERT INTO t VALUES (1)"));
  CHECK(open.replies == Replies{{Error::lost, '\0'}});
  CHECK(open.skip_until_sync);
  CHECK(open.status == 'I');
  CHECK(verdict(loss('I', 0, true), run("CALL p()")).in_doubt());
  ServerLoss copying = loss('I', 1);
  copying.copying_in = true;
  CHECK(verdict(copying, query("COPY t FROM STDIN")).replies == Replies{{Error::lost, 'I'}});
  // A transaction that begins with it has not been committed by it.
  CHECK(verdict(loss('I', 1), query("BEGIN; SELECT 1")).replies == Replies{{Error::lost, 'E'}});
  CHECK(verdict(loss('I', 1), run("BEGIN") + run("SELECT 1") + sync_message()).replies == Replies{{Error::lost, 'E'}});
  CHECK(verdict(loss('I', 1), query("BEGIN; INSERT INTO t VALUES (1); COMMIT")).in_doubt());
}

TEST_CASE("pipelines: each request gets its answer") {
  const std::string insert = query("INSERT INTO t VALUES (1)");
  CHECK(verdict(loss('T', 3), insert + insert + query("ROLLBACK")).replies ==
        Replies{{Error::lost, 'E'}, {Error::aborted, 'E'}, {Error::rolled_back, 'I'}});
  CHECK(verdict(loss('T', 3), insert + query("COMMIT") + insert).replies ==
        Replies{{Error::lost, 'E'}, {Error::doubtful, 'I'}, {Error::doubtful, 'I'}});
  CHECK(verdict(loss('I', 3), query("BEGIN") + insert + query("COMMIT")).replies ==
        Replies{{Error::lost, 'E'}, {Error::aborted, 'E'}, {Error::doubtful, 'I'}});
  // What was answered already is not answered again: the last ones are owed.
  CHECK(verdict(loss('T', 1), query("COMMIT") + query("BEGIN") + insert).replies == Replies{{Error::lost, 'E'}});
  ServerLoss told = loss('T', 2);
  told.error_told = true;
  CHECK(verdict(told, insert + insert).replies == Replies{{Error::none, 'E'}, {Error::aborted, 'E'}});
}

namespace {

/// Of a request that was told an error after so many of its commands, what its ReadyForQuery says.
char after_error(char status, size_t completed, const std::string& bytes, bool synced = true) {
  ServerLoss told = loss(status, synced ? 1 : 0, !synced);
  told.answered = told.in_answer = told.error_told = true;
  told.completed = completed;
  const LossVerdict after = verdict(told, bytes);
  CHECK(after.replies == Replies{{Error::none, synced ? after.status : '\0'}});
  CHECK(after.skip_until_sync == !synced);
  return after.status;
}

}  // namespace

TEST_CASE("an error that was told says what has become of the transaction") {
  const std::string sync = sync_message();
  std::string old_portal;
  protocol::append_execute(old_portal, "");
  // Nothing behind the error was carried out, whatever it is.
  CHECK(after_error('T', 0, old_portal + sync) == 'E');
  CHECK(after_error('T', 0, old_portal, false) == 'E');
  CHECK(after_error('T', 0, run("SELECT 1/0") + run("COMMIT") + sync) == 'E');
  CHECK(after_error('T', 0, query("SELECT 1/0; COMMIT")) == 'E');
  CHECK(after_error('I', 0, run("SELECT 1/0") + run("BEGIN") + sync) == 'I');
  CHECK(after_error('I', 0, query(std::string(Journal::kBytesMax, ' '))) == 'I');
  CHECK(after_error('I', 1, run("SELECT 1") + run("SELECT 1/0") + run("BEGIN") + sync) == 'I');
  CHECK(after_error('E', 0, query("SELECT 1")) == 'E');
  // What came before it was.
  CHECK(after_error('I', 1, run("BEGIN") + run("SELECT 1/0") + sync) == 'E');
  CHECK(after_error('I', 2, run("SELECT 1") + run("BEGIN") + run("SELECT 1/0") + sync) == 'E');
  CHECK(after_error('I', 1, query("BEGIN; SELECT 1/0")) == 'E');
  CHECK(after_error('I', 1, query("SELECT 1; SELECT 1/0")) == 'I');
  CHECK(after_error('T', 1, run("COMMIT") + run("SELECT 1/0") + sync) == 'I');
  CHECK(after_error('T', 1, query("COMMIT; SELECT 1/0")) == 'I');
  CHECK(after_error('T', 2, query("ROLLBACK; COMMIT; SELECT 1/0")) == 'I');
  CHECK(after_error('E', 1, query("ROLLBACK; SELECT 1/0")) == 'I');
  CHECK(after_error('T', 1, query("SELECT 1; SELECT 1/0")) == 'E');
  // Several portals of one batch.
  std::string batch;
  protocol::append_parse(batch, "", "COMMIT");
  protocol::append_bind(batch, "first", "");
  protocol::append_parse(batch, "", "SELECT 1/0");
  protocol::append_bind(batch, "second", "");
  protocol::append_execute(batch, "first");
  protocol::append_execute(batch, "second");
  CHECK(after_error('T', 1, batch + sync) == 'I');
  // Where that is not known, it has failed: what was meant to be in it must not run outside of it.
  for (const char status : {'I', 'T'}) {
    CHECK(after_error(status, 1, query("COMMIT AND CHAIN; SELECT 1/0")) == 'E');
    CHECK(after_error(status, 1, query("BEGIN; COMMIT; SELECT 1/0")) == 'E');
    CHECK(after_error(status, 1, old_portal + run("SELECT 1/0") + sync) == 'E');
    CHECK(after_error(status, 1, query(std::string(Journal::kBytesMax, ' '))) == 'E');
  }
}

TEST_CASE("a Query behind the error in the same batch is skipped with it") {
  const std::string skipped = run("BEGIN") + run("SELECT 1/0") + query("SELECT 1") + run("SELECT 2");
  ServerLoss told = loss('I', 1);
  told.answered = told.in_answer = told.error_told = true;
  told.requests_skipped = 1;
  CHECK(verdict(told, skipped + sync_message()).status == 'I');
  told.completed = 1;
  CHECK(verdict(told, skipped + sync_message()).status == 'E');
  told.requests_owed = 0;
  told.batch_open = true;
  CHECK(verdict(told, skipped).status == 'E');
}

TEST_CASE("what follows an error that was told in a transaction is refused, up to its end") {
  ServerLoss told = loss('T', 3);
  told.error_told = true;
  const std::string insert = query("INSERT INTO t VALUES (1)");
  CHECK(verdict(told, query("SELECT 1/0") + insert + query("COMMIT")).replies ==
        Replies{{Error::none, 'E'}, {Error::aborted, 'E'}, {Error::rolled_back, 'I'}});
  told.completed = 1;
  CHECK(verdict(told, query("COMMIT; SELECT 1/0") + insert + insert).replies ==
        Replies{{Error::none, 'I'}, {Error::doubtful, 'I'}, {Error::doubtful, 'I'}});
}
