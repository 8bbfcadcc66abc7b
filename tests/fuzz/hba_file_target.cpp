// auth_hba_file and auth_ident_file. Lines up to one that is "---" are the maps, those after it the rules.

#include <string>
#include <vector>

#include "src/config/hba_file.h"
#include "src/config/hba_tokens.h"
#include "tests/fuzz/target.h"

namespace {

using namespace bezel;
using fuzz::must;

// No file of that folder is there. What is included by an absolute name is left alone: it may be a terminal.
constexpr const char* kPath = "/nonexistent/pg_hba.conf";

bool names_files(std::string_view text) {
  return text.find('/') != std::string_view::npos &&
         (text.find("include") != std::string_view::npos || text.find('@') != std::string_view::npos);
}

std::string quoted(std::string_view text) {
  std::string result = "\"";
  for (const char c : text) {
    if (c == '"') result += c;
    result += c;
  }
  return result + '"';
}

/// Lines that are written with quotes around all words say the same.
void check_lines(std::string_view text) {
  config::ProblemList errors;
  std::vector<std::string> included;
  const auto lines = config::read_hba_lines(kPath, text, errors, included);
  std::string written;
  for (const config::HbaLine& line : lines) {
    for (const config::HbaField& field : line.fields) {
      for (size_t i = 0; i < field.size(); i++) written += (i > 0 ? "," : " ") + quoted(field[i].text);
    }
    written += '\n';
  }
  // A quoted word may go on over the end of a line, by a backslash; and one that ends with it cannot be written.
  if (written.find('\\') != std::string::npos || written.find('\n') == std::string::npos) return;
  config::ProblemList none;
  const auto again = config::read_hba_lines(kPath, written, none, included);
  must(none.empty() && again.size() == lines.size(), "written lines are read again");
  for (size_t i = 0; i < lines.size(); i++) {
    must(again[i].fields.size() == lines[i].fields.size(), "with the same fields");
    for (size_t j = 0; j < lines[i].fields.size(); j++) {
      must(again[i].fields[j].size() == lines[i].fields[j].size(), "of the same words");
      for (size_t k = 0; k < lines[i].fields[j].size(); k++) {
        must(again[i].fields[j][k].text == lines[i].fields[j][k].text, "spelled the same");
      }
    }
  }
}

void match(const pool::HbaRules& rules) {
  for (const bool is_local : {true, false}) {
    for (const char* const address : {"127.0.0.1", "10.1.2.3", "::1", "fe80::1"}) {
      pool::HbaClient client;
      client.is_local = is_local;
      if (!is_local) client.address = pool::IpAddress::parse(address);
      client.database = "app";
      client.user = "alice";
      const pool::HbaRule* const rule = rules.match(client);
      if (rule == nullptr) continue;
      must((rule->transport == pool::HbaTransport::local) == is_local, "a rule for the way that the client comes");
      must(rule->transport != pool::HbaTransport::hostssl, "the client is not encrypted");
      must(rule->method != pool::AuthType::ldap || rule->ldap != nullptr, "method ldap has its settings");
      if (rule->map) rule->map->allows("CN=alice", "alice");
    }
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view text = fuzz::as_text(data, size);
  if (names_files(text)) return 0;
  constexpr std::string_view kSeparator = "---\n";
  const size_t separator = text.find(kSeparator);
  const size_t begin = separator == std::string_view::npos ? 0 : separator + kSeparator.size();
  config::ProblemList errors;
  std::vector<std::string> included;
  const pool::IdentMaps maps =
      config::read_ident_file("/nonexistent/pg_ident.conf", text.substr(0, begin), errors, included);
  const auto rules = config::read_hba_file(kPath, text.substr(begin), maps, errors, included);
  if (rules) match(*rules);
  check_lines(text.substr(begin));
  return 0;
}
