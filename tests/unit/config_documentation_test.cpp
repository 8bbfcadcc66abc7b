#include <doctest/doctest.h>

#include <filesystem>
#include <fstream>
#include <sstream>
#include <string>

#include "config_folder.h"
#include "src/config/database_entry.h"
#include "src/config/documentation.h"
#include "src/config/setting.h"
#include "src/config/upstream_entry.h"

using namespace bezel;
using namespace bezel::config;

namespace {

const std::filesystem::path kDocs = std::filesystem::path(BEZEL_SOURCE_DIR) / "docs";

std::string content_of(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  REQUIRE(file.good());
  std::ostringstream content;
  content << file.rdbuf();
  return content.str();
}

/// The YAML blocks of the page, in order.
std::vector<std::string> yaml_blocks(const std::string& page) {
  const std::string open = "```yaml\n";
  std::vector<std::string> blocks;
  for (size_t at = page.find(open); at != std::string::npos; at = page.find(open, at)) {
    at += open.size();
    blocks.push_back(page.substr(at, page.find("```", at) - at));
  }
  return blocks;
}

}  // namespace

TEST_CASE("docs/configuration.md is what the table of settings says") {
  // Written anew by: bezel --print-configuration-docs > docs/configuration.md
  CHECK_MESSAGE(content_of(kDocs / "configuration.md") == configuration_markdown(),
                "run: bezel --print-configuration-docs > docs/configuration.md");
}

TEST_CASE("the page has every setting and every parameter") {
  const std::string page = configuration_markdown();
  for (const Setting& setting : settings_table()) {
    CAPTURE(setting.name);
    CHECK(page.find("\n### " + std::string(setting.name) + "\n\n" + std::string(setting.documentation)) !=
          std::string::npos);
  }
  for (const EntryKeyword& keyword : database_keywords()) {
    CHECK(page.find("\n| `" + std::string(keyword.name) + "` | ") != std::string::npos);
  }
  for (const EntryKeyword& keyword : upstream_keywords()) {
    CHECK(page.find("\n| `" + std::string(keyword.name) + "` | ") != std::string::npos);
  }
  for (const EntryKeyword& keyword : user_keywords()) {
    CHECK(page.find("\n| `" + std::string(keyword.name) + "` | ") != std::string::npos);
  }
}

TEST_CASE("the examples of the page can be loaded") {
  const std::vector<std::string> blocks = yaml_blocks(configuration_markdown());
  REQUIRE(blocks.size() == 5);
  const ConfigFolder folder;
  folder.write("databases.yaml", "");
  for (size_t i = 0; i + 1 < blocks.size(); ++i) {
    std::string block = blocks[i];
    const std::string elsewhere = "  - /etc/bezel/limits.yaml\n";
    if (const size_t at = block.find(elsewhere); at != std::string::npos) block.erase(at, elsewhere.size());
    const LoadResult result =
        folder.load(block, {{"REPORT_PASSWORD", "@:/ "}, {"WHOLE_DATABASE_URL", "postgres://h/d"}});
    CHECK(folder.texts(result.errors) == std::vector<std::string>{});
  }
  CHECK(blocks.back() == content_of(kDocs / "examples" / "bezel.yaml"));
}

TEST_CASE("the page's examples of errors are what the loader says") {
  const ConfigFolder folder;
  const std::vector<std::string> errors = folder.errors(
      "\nlisten_prt: 6432\nquery_timeout: 5 parsecs\n\n\ndatabases:\n  app:\n    port: 54321098\n    host: a\n");
  REQUIRE(errors.size() == 3);
  const std::string page = configuration_markdown();
  for (const std::string& error : errors) {
    CAPTURE(error);
    CHECK(page.find("\n" + error + "\n") != std::string::npos);
  }
}

TEST_CASE("docs/examples/bezel.yaml is valid and without a warning") {
  const LoadResult result = load((kDocs / "examples" / "bezel.yaml").string(), {});
  for (const Problem& problem : result.errors) FAIL_CHECK(problem.text());
  for (const Problem& problem : result.warnings) FAIL_CHECK(problem.text());
  REQUIRE(result.ok());
  CHECK(result.settings->databases.size() == 3);
  CHECK(result.settings->secrets.size() == 4);
}
