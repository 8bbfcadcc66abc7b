#include <CLI/CLI.hpp>
#include <cstdio>
#include <iostream>
#include <string>

#include "src/config/documentation.h"
#include "src/config/settings_loader.h"
#include "src/program/daemon.h"

int main(int argc, char** argv) {
  CLI::App app{"Bezel, a transaction-mode connection pooler for PostgreSQL"};
  std::string configuration_file = "/etc/bezel/bezel.yaml";
  bool check_only = false;
  bool print_docs = false;
  app.add_option("config", configuration_file, "Configuration file")->capture_default_str();
  app.add_flag("--check-config", check_only, "Say what is wrong with the configuration, and end");
  app.add_flag("--print-configuration-docs", print_docs, "Print docs/configuration.md")->group("");
  app.set_version_flag("-V,--version", std::string("bezel ") + BEZEL_VERSION);
  CLI11_PARSE(app, argc, argv);

  if (print_docs) {
    std::cout << bezel::config::configuration_markdown();
    return 0;
  }
  if (check_only) return bezel::config::check_config(configuration_file, std::cout);

  const bezel::config::LoadResult loaded =
      bezel::config::load(configuration_file, bezel::config::process_environment());
  for (const auto& warning : loaded.warnings) std::fprintf(stderr, "bezel: warning: %s\n", warning.text().c_str());
  for (const auto& error : loaded.errors) std::fprintf(stderr, "bezel: %s\n", error.text().c_str());
  if (!loaded.ok()) return 1;
  return bezel::program::Daemon(configuration_file, loaded.settings).run();
}
