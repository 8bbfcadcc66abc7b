#include <CLI/CLI.hpp>
#include <cstdio>
#include <iostream>
#include <string>

#include "protocol/scram.h"
#include "src/config/documentation.h"
#include "src/config/settings_loader.h"
#include "src/program/daemon.h"
#include "src/program/hash_command.h"

int main(int argc, char** argv) {
  CLI::App app{"Bezel, a transaction-mode connection pooler for PostgreSQL"};
  std::string configuration_file = "/etc/bezel/bezel.yaml";
  bool check_only = false;
  bool print_docs = false;
  app.add_option("config", configuration_file, "Configuration file")->capture_default_str();
  app.add_flag("--check-config", check_only, "Say what is wrong with the configuration, and end");
  app.add_flag("--print-configuration-docs", print_docs, "Print docs/configuration.md")->group("");
  app.set_version_flag("-V,--version", std::string("bezel ") + BEZEL_VERSION);
  int iterations = bezel::protocol::kScramIterationsDefault;
  CLI::App* hash = app.add_subcommand("hash", "Read a password and print its SCRAM-SHA-256 verifier, for auth_file");
  hash->add_option("--iterations", iterations, "Rounds of the hash: more are slower, to guess and to log in")
      ->check(CLI::Range(1, bezel::protocol::kScramIterationsMax))
      ->capture_default_str();
  hash->allow_extras();  // so that a password which was given as an argument is not repeated in an error
  CLI11_PARSE(app, argc, argv);

  if (hash->parsed()) {
    if (hash->remaining_size() > 0) {
      std::fputs("bezel hash: a password is not given as an argument, where others can see it, but when asked for\n",
                 stderr);
      return 1;
    }
    return bezel::program::print_verifier(iterations);
  }

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
