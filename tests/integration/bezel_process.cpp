#include "integration/bezel_process.h"

#include <doctest/doctest.h>
#include <unistd.h>

#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <stdexcept>

#include "integration/loopback.h"
#include "integration/postgres_server.h"
#include "integration/waiting.h"

namespace bezel::integration {

namespace {

constexpr const char* kUserlist =
    "\"app\" \"app-secret\"\n"
    "\"admin\" \"admin-secret\"\n"
    "\"stats\" \"stats-secret\"\n";

std::string section(const char* name, const std::map<std::string, std::string>& entries) {
  if (entries.empty()) return "";
  std::string text = std::string(name) + ":\n";
  for (const auto& [key, value] : entries) text += "  \"" + key + "\": " + value + "\n";
  return text;
}

}  // namespace

std::string database_at(const PostgresServer& server, const std::string& further) {
  return "host=" + server.address() + " port=" + std::to_string(server.port()) + " " + further;
}

BezelProcess::BezelProcess(Configuration configuration) : port_(next_port()), path_(folder_.path_of("bezel.yaml")) {
  write_userlist(configuration.userlist.empty() ? kUserlist : configuration.userlist);
  write_configuration(configuration);
  std::vector<std::string> command = configuration.wrapper;
  command.insert(command.end(), {BEZEL_PROGRAM, path_});
  process_ = std::make_unique<ChildProcess>(
      ChildProcess::Program{command, folder_.path_of("bezel.log"), configuration.environment});
  wait_until("Bezel listens", [this] {
    if (!process_->running()) throw std::runtime_error("Bezel has ended: " + log());
    return log().find(" serves with ") != std::string::npos;
  });
}

BezelProcess::~BezelProcess() {
  if (!process_) return;
  console_.reset();
  process_->signal(SIGQUIT);
  const bool ended_well = process_->wait_for_end() == 0;
  const std::string text = log();
  const bool clean = text.find("Sanitizer") == std::string::npos && text.find("runtime error:") == std::string::npos;
  if (doctest::is_running_in_test) {
    CHECK_MESSAGE((ended_well && clean), text);
  } else if (!ended_well || !clean) {
    // One that several test cases have shared ends after the last of them.
    std::fprintf(stderr, "Bezel did not end well:\n%s\n", text.c_str());
    std::_Exit(1);
  }
}

void BezelProcess::write_configuration(const Configuration& configuration) {
  std::map<std::string, std::string> settings = {
      {"listen_addr", own_address()},
      {"listen_port", std::to_string(port_)},
      {"unix_socket_dir", "\"\""},
      {"auth_type", "scram-sha-256"},
      {"auth_file", "userlist.txt"},
      {"admin_users", "[admin]"},
      {"stats_users", "[stats]"},
      {"log_level", "debug"},
      {"workers", "2"},
  };
  for (const auto& [key, value] : configuration.settings) settings[key] = value;
  std::map<std::string, std::string> databases = configuration.databases;
  if (databases.empty()) databases["app"] = database_at(PostgresServer::shared());
  std::string text;
  for (const auto& [key, value] : settings) text += key + ": " + value + "\n";
  text += section("databases", databases) + section("users", configuration.users) + configuration.further_lines;
  folder_.write("bezel.yaml", text);
}

std::string BezelProcess::conninfo(const std::string& further, const std::string& user, const std::string& password,
                                   const std::string& database) const {
  return "host=" + own_address() + " port=" + std::to_string(port_) + " user=" + user + " password=" + password +
         " dbname=" + database + " sslmode=disable gssencmode=disable " + further;
}

PgConnection BezelProcess::connect(const std::string& further) const {
  PgConnection connection(conninfo(further));
  if (!connection.connected()) throw std::runtime_error(connection.error());
  return connection;
}

PgConnection BezelProcess::connect_as(const std::string& user, const std::string& password,
                                      const std::string& database) const {
  PgConnection connection(conninfo("", user, password, database));
  if (!connection.connected()) throw std::runtime_error(connection.error());
  return connection;
}

std::string BezelProcess::show(const std::string& what, const std::string& column, const std::string& where,
                               const std::string& key) {
  if (!console_) console_ = std::make_unique<PgConnection>(console());
  const PgResult result = console_->exec("SHOW " + what);
  if (!result.ok()) throw std::runtime_error("SHOW " + what + ": " + console_->error());
  for (int row = 0; row < result.rows(); row++) {
    if (result.value(row, where.c_str()) == key) return result.value(row, column.c_str());
  }
  return "";
}

}  // namespace bezel::integration
