// Random programs of messages, from seeds, answered by PostgreSQL and by Bezel alike.
//
// BEZEL_TEST_SEED=n in the environment runs that one program only.

#include <doctest/doctest.h>

#include <cstdlib>
#include <random>
#include <string>
#include <vector>

#include "integration/differential.h"

using namespace bezel::integration;

namespace {

struct StatementText {
  const char* text;
  int parameters = 0;
  bool copies_in = false;
};

constexpr StatementText kStatements[] = {
    {"SELECT $1::int + 1", 1},
    {"SELECT $1::text || '!', $2::int", 2},
    {"SELECT g FROM generate_series(1, 5) g"},
    {"SELECT b FROM t ORDER BY a"},
    {"INSERT INTO log VALUES ('x') RETURNING line"},
    {"SELECT count(*) FROM log"},
    {"BEGIN"},
    {"COMMIT"},
    {"ROLLBACK"},
    {"SELECT 1 / (a - 2) FROM t ORDER BY a"},
    {""},
    {"COPY log FROM STDIN", 0, true},
    {"COPY t TO STDOUT"},
    {"SET TimeZone = 'Asia/Tokyo'"},
    {"RESET TimeZone"},
    {"SHOW TimeZone"},
    {"DO $$ BEGIN RAISE NOTICE 'note'; END $$"},
};

/// These can only be prepared under a name that is never taken: whether PostgreSQL complains of the text or of the name
/// is nothing to rely on.
constexpr StatementText kBadStatements[] = {{"SELEC"}, {"SELECT * FROM nope"}};

/// Makes up what a client sends. It keeps to what transaction pooling can promise: the unnamed statement is used in the
/// batch that has prepared it.
class Program {
 public:
  explicit Program(uint32_t seed) : random_(seed) {}

  Conversation make() {
    Conversation conversation;
    const int bursts = below(4) + 1;
    for (int i = 0; i < bursts; i++) {
      if (below(8) == 0) conversation.push_back({Messages().query(below(2) == 0 ? "DISCARD ALL" : "DEALLOCATE ALL")});
      conversation.push_back(burst(i));
    }
    return conversation;
  }

 private:
  int below(int bound) { return static_cast<int>(random_() % static_cast<unsigned>(bound)); }
  const StatementText& good_statement() { return kStatements[below(std::size(kStatements))]; }
  const StatementText& statement() { return below(8) == 0 ? kBadStatements[below(2)] : good_statement(); }
  std::string name() { return std::string("s") + static_cast<char>('0' + below(4)); }
  std::string portal() { return below(3) == 0 ? "p" : ""; }

  Step burst(int number) {
    messages_ = {};
    copies_ = 1;
    const int length = below(14) + 1;
    for (int i = 0; i < length; i++) message();
    // Whatever state all this has led to: end COPYs and batches, then ask for something recognisable.
    for (int i = 0; i < copies_; i++) messages_.copy_fail("enough").sync();
    unnamed_ = false;
    const std::string mark = "end of burst " + std::to_string(number);
    messages_.query("ROLLBACK").query("SELECT '" + mark + "'");
    return {messages_, "", mark};
  }

  void message() {
    switch (below(12)) {
      case 0:
      case 1: {
        const StatementText& text = statement();
        messages_.query(text.text);
        unnamed_ = false;
        if (text.copies_in) copy();
        return;
      }
      case 2:
      case 3:
        if (below(8) == 0) {
          messages_.parse("bad", kBadStatements[below(2)].text);
        } else {
          messages_.parse(name(), good_statement().text);
        }
        return;
      case 4:
        messages_.parse("", statement().text);
        unnamed_ = true;
        return;
      case 5:
      case 6:
      case 7:
        return bind_and_execute();
      case 8:
        if (below(2) == 0) {
          messages_.describe('S', name());
        } else {
          messages_.describe('P', portal());
        }
        return;
      case 9:
        if (below(3) > 0) {
          messages_.close('S', name());
        } else {
          messages_.close('P', portal());
        }
        return;
      case 10:
        messages_.flush();
        return;
      default:
        messages_.sync();
        unnamed_ = false;
        return;
    }
  }

  void bind_and_execute() {
    const std::string to = portal();
    if (below(2) == 0) {
      const StatementText& text = statement();
      messages_.parse("", text.text);
      unnamed_ = true;
      messages_.bind(to, "", values(text.parameters)).execute(to, below(4));
      if (text.copies_in) copy();
      return;
    }
    const std::string from = unnamed_ && below(3) == 0 ? "" : name();
    messages_.bind(to, from, values(below(3)));
    if (below(3) == 0) messages_.describe('P', to);
    // It may be a COPY, which has to end: other messages inside one are a violation that no client commits. Outside of
    // a COPY this is ignored.
    messages_.execute(to, below(4)).copy_fail("was it a COPY?");
    copies_++;
  }

  static Messages::Values values(int count) {
    return Messages::Values(static_cast<size_t>(count), std::string_view("7"));
  }

  void copy() {
    copies_++;
    if (below(4) == 0) messages_.sync();
    const int rows = below(3);
    for (int i = 0; i < rows; i++) messages_.copy_data(below(8) == 0 ? "a\tb\n" : "line\n");
    if (below(4) == 0) {
      messages_.copy_fail("no");
    } else {
      messages_.copy_done();
    }
  }

  std::mt19937 random_;
  Messages messages_;
  int copies_ = 0;
  bool unnamed_ = false;
};

}  // namespace

TEST_CASE("random programs") {
  Differential differential;
  if (const char* seed = std::getenv("BEZEL_TEST_SEED")) {
    const auto number = static_cast<uint32_t>(std::stoul(seed));
    return differential.compare(Program(number).make(), "random", number);
  }
  for (uint32_t seed = 1; seed <= 300; seed++) differential.compare(Program(seed).make(), "random", seed);
}

TEST_CASE("random programs with hardly any room for prepared statements") {
  Differential differential(std::map<std::string, std::string>{{"max_prepared_statements", "2"}});
  for (uint32_t seed = 1001; seed <= 1100; seed++) differential.compare(Program(seed).make(), "random", seed);
}
