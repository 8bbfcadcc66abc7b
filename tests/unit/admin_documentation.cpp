#include <doctest/doctest.h>

#include <fstream>
#include <map>
#include <set>
#include <sstream>
#include <string>
#include <vector>

#include "admin/commands.h"
#include "admin/driver_statements.h"
#include "admin/metrics.h"

using namespace bezel::admin;

// docs/console.md and docs/metrics.md say what the code says, no more and no less.

namespace {

std::vector<std::string> lines_of(const std::string& path) {
  std::ifstream file(std::string(BEZEL_SOURCE_DIR) + "/" + path);
  REQUIRE_MESSAGE(file.good(), path);
  std::vector<std::string> lines;
  for (std::string line; std::getline(file, line);) lines.push_back(line);
  return lines;
}

std::string trimmed(const std::string& text) {
  const size_t begin = text.find_first_not_of(' ');
  return begin == std::string::npos ? "" : text.substr(begin, text.find_last_not_of(' ') - begin + 1);
}

/// The cells of a row of a table; nothing for other lines, a table's head and the line under it.
std::vector<std::string> cells_of(const std::string& line) {
  std::vector<std::string> cells;
  if (line.rfind("| ", 0) != 0) return cells;
  std::istringstream stream(line.substr(1));
  for (std::string cell; std::getline(stream, cell, '|');) cells.push_back(trimmed(cell));
  const bool head = cells[0] == "column" || cells[0] == "metric" || cells[0] == "path";
  return head ? std::vector<std::string>() : cells;
}

std::string upper(std::string_view text) {
  std::string result(text);
  for (char& c : result) c = static_cast<char>(std::toupper(static_cast<unsigned char>(c)));
  return result;
}

std::string type_name(ColumnType type) {
  switch (type) {
    case ColumnType::int4:
      return "int4";
    case ColumnType::int8:
      return "int8";
    case ColumnType::numeric:
      return "numeric";
    case ColumnType::boolean:
      return "boolean";
    case ColumnType::text:
      break;
  }
  return "text";
}

std::string argument_text(Argument argument) {
  switch (argument) {
    case Argument::optional_database:
      return " [db]";
    case Argument::database:
      return " db";
    case Argument::client_id:
      return " id";
    case Argument::shutdown_mode:
      return " [WAIT_FOR_SERVERS|WAIT_FOR_CLIENTS]";
    case Argument::optional_member:
      return " [member]";
    case Argument::none:
      break;
  }
  return "";
}

using ColumnList = std::vector<std::pair<std::string, std::string>>;

/// The commands of docs/console.md with their columns.
std::map<std::string, ColumnList> documented_commands() {
  std::map<std::string, ColumnList> commands;
  std::string command;
  for (const std::string& line : lines_of("docs/console.md")) {
    if (line.rfind("### ", 0) == 0) {
      command = line.substr(4);
      CHECK_MESSAGE(commands.count(command) == 0, command);
      commands[command];
    }
    const auto cells = cells_of(line);
    if (cells.empty()) continue;
    REQUIRE(cells.size() == 3);
    CHECK_MESSAGE(!cells[2].empty(), line);
    commands.at(command).emplace_back(cells[0], cells[1]);
  }
  return commands;
}

std::map<std::string, ColumnList> actual_commands() {
  std::map<std::string, ColumnList> commands;
  for (const Command* show : show_commands()) {
    ColumnList& columns = commands["SHOW " + upper(show->name)];
    for (const Column& column : show->columns) columns.emplace_back(column.name, type_name(column.type));
  }
  for (const Command* action : action_commands()) commands[upper(action->name) + argument_text(action->argument)];
  commands["SET key = value"];
  return commands;
}

/// The names in code type of the paragraph that holds `text`.
std::set<std::string> names_near(const std::string& path, const std::string& text) {
  std::string paragraph;
  for (const std::string& line : lines_of(path)) {
    if (!line.empty()) {
      paragraph += line + " ";
      continue;
    }
    if (paragraph.find(text) != std::string::npos) break;
    paragraph.clear();
  }
  std::set<std::string> names;
  for (size_t at = paragraph.find('`'); at != std::string::npos; at = paragraph.find('`', at + 1)) {
    const size_t end = paragraph.find('`', at + 1);
    REQUIRE(end != std::string::npos);
    names.insert(paragraph.substr(at + 1, end - at - 1));
    at = end;
  }
  return names;
}

}  // namespace

TEST_CASE("docs/console.md: every command and column") {
  const auto documented = documented_commands();
  const auto actual = actual_commands();
  for (const auto& entry : actual) {
    CAPTURE(entry.first);
    REQUIRE(documented.count(entry.first) == 1);
    CHECK(documented.at(entry.first) == entry.second);
  }
  for (const auto& entry : documented) CHECK_MESSAGE(actual.count(entry.first) == 1, entry.first);
}

TEST_CASE("docs/console.md: drivers' settings") {
  auto shown = names_near("docs/console.md", "answers for these settings");
  CHECK(shown.erase("SHOW") == 1);
  const auto parameters = parameter_names();
  CHECK(shown == std::set<std::string>(parameters.begin(), parameters.end()));
  auto ignored = names_near("docs/console.md", "accepted from everybody");
  CHECK(ignored.erase("SET") == 1);
  CHECK(ignored.erase("SET ignored") == 1);
  const auto settings = ignored_settings();
  CHECK(ignored == std::set<std::string>(settings.begin(), settings.end()));
}

TEST_CASE("docs/metrics.md: every metric") {
  using Row = std::vector<std::string>;
  std::vector<Row> documented, actual;
  for (const std::string& line : lines_of("docs/metrics.md")) {
    const Row cells = cells_of(line);
    if (cells.size() != 4) continue;
    documented.push_back(cells);
  }
  for (const MetricDescription& metric : metric_descriptions())
    actual.push_back({"`" + std::string(metric.name) + "`", metric.kind == MetricKind::counter ? "counter" : "gauge",
                      std::string(metric.labels), std::string(metric.help)});
  CHECK(documented == actual);
}
