// SQL that the pooler looks at itself: what begins and ends transactions, and parameters that it sets on a server.

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "pool/parameters.h"
#include "pool/transaction_command.h"
#include "tests/fuzz/target.h"

namespace {

using namespace bezel::pool;
using bezel::fuzz::must;

bool same(const FirstStatement& a, const FirstStatement& b) {
  return a.command == b.command && a.alone == b.alone && a.commits_midway == b.commits_midway;
}

bool ends_it(TransactionCommand command) {
  return command == TransactionCommand::commit || command == TransactionCommand::rollback;
}

void check_first(std::string_view text) {
  const FirstStatement first = first_statement(text);
  must(first.bytes <= text.size(), "a statement within the text");
  if (ends_it(first.command)) {
    must(first.bytes > 0, "a statement that ends a transaction takes something");
    const std::string_view statement = text.substr(0, first.bytes);
    const FirstStatement by_itself = first_statement(statement);
    must(by_itself.command == first.command && by_itself.alone, "by itself it is the same statement, and alone");
    const FirstStatement rest = first_statement(text.substr(first.bytes));
    must(!first.alone || rest.command == TransactionCommand::empty, "nothing follows what is alone");
  }
  // Whoever looks for words only must not miss what a reader of statements finds.
  if (ends_it(first.command) || first.command == TransactionCommand::other_end) {
    must(may_hold_end_of_transaction(text), "the end of a transaction is a word");
  }
  if (first.command == TransactionCommand::begin) must(may_hold_begin_of_transaction(text), "so is its beginning");
  for (const std::string_view before : {" ", ";", "\n--\n", "/* a /* b */ ; */"}) {
    must(same(first_statement(std::string(before) + std::string(text)), first), "what means nothing changes nothing");
  }
}

/// Where the name in double quotes ends that begins there.
size_t end_of_name(std::string_view sql, size_t at) {
  const size_t end = sql.find('"', at + 1);
  must(end != std::string_view::npos, "a name is closed");
  return end;
}

/// A value in a statement: the SQL that sets it has exactly one literal for it, whatever is in it.
void check_literals(std::string_view sql, size_t literals) {
  size_t found = 0;
  for (size_t at = 0; at < sql.size(); at++) {
    if (sql[at] == '"') at = end_of_name(sql, at);
    if (sql[at] != '\'') continue;
    found++;
    for (at++;; at++) {
      must(at < sql.size(), "a literal is closed");
      if (sql[at] == '\\') {
        at++;
      } else if (sql[at] == '\'') {
        if (at + 1 == sql.size() || sql[at + 1] != '\'') break;
        at++;
      }
    }
  }
  must(found <= literals, "no value can leave its literal");
}

/// Lines of NAME=VALUE, first those of one session, after an empty one those of another.
void check_parameters(bezel::fuzz::Input input) {
  ParameterTable table;
  std::vector<std::pair<std::string, std::string>> sets[2];
  size_t current = 0;
  while (!input.at_end()) {
    const std::string_view line = input.line();
    if (line.empty()) {
      current = 1;
      continue;
    }
    const size_t equals = std::min(line.find('='), line.size());
    const std::string_view value = line.substr(std::min(equals + 1, line.size()));
    if (line.find('\0') != std::string_view::npos) continue;
    sets[current].emplace_back(parameter_key(line.substr(0, equals)), value);
  }
  const ParameterSetPtr from = table.intern(sets[0]), to = table.intern(sets[1]);
  must(table.intern(sets[0]) == from, "the same values are the same set");
  must(parameter_change_sql(*from, *from, {}).empty(), "nothing has to be done for nothing");
  const std::string sql = parameter_change_sql(*from, *to, {});
  must(sql.find('\0') == std::string::npos, "a query has no zero byte");
  // A name and a value each.
  check_literals(sql, 2 * (from->values.size() + to->values.size()));
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  check_first(bezel::fuzz::as_text(data, size));
  check_parameters({data, size});
  return 0;
}
