#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "admin/console.h"
#include "admin/program.h"
#include "pool/console.h"
#include "pool/fleet.h"
#include "protocol/error_response.h"
#include "protocol/messages.h"
#include "protocol/reader.h"

/// Stand-ins for what the console and the metrics talk to.
namespace bezel::admin::fakes {

/// A fleet that answers with what it was given, and notes what it is asked to do.
class FakeFleet final : public pool::Fleet {
 public:
  explicit FakeFleet(int workers = 2) : registry(workers) {}

  pool::SettingsPtr settings() const override { return std::make_shared<const pool::Settings>(config); }
  pool::StatisticsRegistry& statistics() override { return registry; }
  std::vector<pool::DatabaseState> database_states() override { return databases; }
  std::vector<pool::UserState> user_states() override { return users; }
  std::string state() const override { return now; }
  std::vector<pool::UpstreamRow> upstreams() const override { return clusters; }

  void list_connections(int, bool servers, std::function<void(std::vector<pool::ConnectionRow>)> done) override {
    const auto answer = [this, servers, done] { done(servers ? server_rows : client_rows); };
    if (!deferred) return answer();
    pending.push_back(answer);
  }

  void operate(int caller, pool::OperationRequest request, std::function<void(std::string)> done) override {
    operations.push_back(request);
    callers.push_back(caller);
    const auto answer = [this, done] { done(operation_error); };
    if (!deferred) return answer();
    pending.push_back(answer);
  }

  /// Answers what was deferred, also what is asked meanwhile.
  void complete() {
    while (!pending.empty()) {
      const auto answers = std::exchange(pending, {});
      for (const auto& answer : answers) answer();
    }
  }

  pool::Settings config;
  pool::StatisticsRegistry registry;
  std::vector<pool::DatabaseState> databases;
  std::vector<pool::UserState> users;
  std::vector<pool::UpstreamRow> clusters;
  std::vector<pool::ConnectionRow> client_rows, server_rows;
  std::string now = "active";
  std::string operation_error;
  bool deferred = false;  ///< answers wait for complete()
  std::vector<std::function<void()>> pending;
  std::vector<pool::OperationRequest> operations;
  std::vector<int> callers;
};

class FakeProgram final : public Program {
 public:
  std::vector<ConfigRow> config_rows() override { return config; }
  void set_config(int, const std::string& key, const std::string& value,
                  std::function<void(std::string)> done) override {
    sets.emplace_back(key, value);
    done(set_error);
  }
  void reload(int, std::function<void(std::string)> done) override {
    reloads++;
    done(reload_error);
  }
  void shutdown(ShutdownMode mode) override { shutdowns.push_back(mode); }
  void switch_over(int, const std::string& candidate, std::function<void(std::string)> done) override {
    switchovers.push_back(candidate);
    done(switchover_error);
  }
  bool shutting_down() override { return ending; }
  std::string not_ready_reason() override { return reason; }
  std::string version() const override { return "9.8.7"; }
  std::optional<std::vector<ResolvedHost>> resolved_hosts() override { return hosts; }
  void log_command(std::string_view line) override { log.emplace_back(line); }

  /// How often something was changed.
  size_t changes() const { return sets.size() + static_cast<size_t>(reloads) + shutdowns.size() + switchovers.size(); }

  std::vector<ConfigRow> config;
  std::vector<std::pair<std::string, std::string>> sets;
  std::vector<ShutdownMode> shutdowns;
  int reloads = 0;
  bool ending = false;
  std::vector<std::string> switchovers;
  std::string set_error, reload_error, switchover_error, reason;
  std::optional<std::vector<ResolvedHost>> hosts;
  std::vector<std::string> log;
};

/// A message from the server.
struct Message {
  char type;
  std::string body;
};

inline std::vector<Message> split_messages(std::string_view bytes) {
  std::vector<Message> messages;
  protocol::Reader reader(bytes);
  while (!reader.at_end()) {
    const auto type = reader.u8();
    const auto length = reader.u32();
    if (!type || !length || *length < 4) throw std::runtime_error("not a message");
    const auto body = reader.bytes(*length - 4);
    if (!body) throw std::runtime_error("a message is cut off");
    messages.push_back({static_cast<char>(*type), std::string(*body)});
  }
  return messages;
}

class FakeClient final : public pool::ConsoleClient {
 public:
  void send(std::string_view messages) override { sent.append(messages); }
  void message_done() override { done++; }
  void end() override { ended = true; }
  int worker_index() const override { return worker; }

  std::vector<Message> take() { return split_messages(std::exchange(sent, {})); }

  std::string sent;
  int done = 0;
  bool ended = false;
  int worker = 0;
};

/// The text of a column of a row; NULL is "(null)".
using TextRow = std::vector<std::string>;

/// An answer, taken apart.
struct Answer {
  std::string types;  ///< the messages' types in order
  std::vector<std::string> columns;
  std::vector<uint32_t> oids;
  std::vector<int> formats;
  std::vector<TextRow> rows;
  std::string tag, error, sqlstate, detail, severity, notice, notice_detail;
  char status = 0;

  std::map<std::string, std::string> row_map(size_t index) const {
    std::map<std::string, std::string> map;
    for (size_t i = 0; i < columns.size(); i++) map[columns[i]] = rows.at(index).at(i);
    return map;
  }
};

inline void read_columns(Answer& answer, std::string_view body) {
  protocol::Reader reader(body);
  const size_t count = *reader.u16();
  for (size_t i = 0; i < count; i++) {
    answer.columns.emplace_back(*reader.cstring());
    reader.bytes(6);
    answer.oids.push_back(*reader.u32());
    reader.bytes(6);
    answer.formats.push_back(*reader.u16());
  }
}

inline TextRow read_row(std::string_view body) {
  protocol::Reader reader(body);
  TextRow row;
  const size_t count = *reader.u16();
  for (size_t i = 0; i < count; i++) {
    const int32_t size = *reader.i32();
    row.emplace_back(size < 0 ? "(null)" : *reader.bytes(static_cast<size_t>(size)));
  }
  if (!reader.at_end()) throw std::runtime_error("a row has bytes left over");
  return row;
}

inline Answer read_answer(const std::vector<Message>& messages) {
  Answer answer;
  for (const Message& message : messages) {
    answer.types.push_back(message.type);
    switch (message.type) {
      case 'T':
        read_columns(answer, message.body);
        break;
      case 'D':
        answer.rows.push_back(read_row(message.body));
        break;
      case 'C':
        answer.tag = *protocol::decode_command_complete(message.body);
        break;
      case 'Z':
        answer.status = *protocol::decode_ready_for_query(message.body);
        break;
      case 'E': {
        const auto fields = *protocol::decode_error_fields(message.body);
        answer.error = fields.message;
        answer.sqlstate = fields.sqlstate;
        answer.detail = fields.detail;
        answer.severity = fields.severity;
        break;
      }
      case 'N': {
        const auto fields = *protocol::decode_error_fields(message.body);
        answer.notice = fields.message;
        answer.notice_detail = fields.detail;
        break;
      }
      default:
        break;
    }
  }
  return answer;
}

/// A console with one session.
struct Fixture {
  explicit Fixture(pool::ConsoleRole role = pool::ConsoleRole::admin) { open(role); }

  void open(pool::ConsoleRole role) {
    session.reset();
    session = console.open("alice", role, client);
  }

  /// Sends messages made by the builders, each when the one before is done.
  void send(std::string_view messages) {
    for (const Message& message : split_messages(messages)) session->on_message(message.type, message.body);
  }
  Answer take() { return read_answer(client.take()); }
  Answer query(std::string_view text) {
    std::string message;
    protocol::append_query(message, text);
    send(message);
    return take();
  }

  static int64_t clock() { return now_us; }
  static inline int64_t now_us = 1'000'000'000;

  FakeFleet fleet;
  FakeProgram program;
  Console console{fleet, program, clock};
  FakeClient client;
  std::unique_ptr<pool::ConsoleSession> session;
};

}  // namespace bezel::admin::fakes
