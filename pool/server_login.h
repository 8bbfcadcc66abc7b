#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "pool/role_question.h"
#include "pool/server_encryption.h"
#include "protocol/error_response.h"
#include "protocol/scram.h"
#include "protocol/secret.h"

namespace bezel::pool {

class Server;
class Worker;

/// Logs a new server connection in: startup packet, authentication by whatever the server asks for, parameters, cancel
/// key, up to ReadyForQuery; and where it matters, what the server is. The password is the database's forced one, or
/// the user's secret; SCRAM also goes by keys recovered from a client's own login.
class ServerLogin {
 public:
  ServerLogin(Server& server, Worker& worker);
  ~ServerLogin();
  ServerLogin(const ServerLogin&) = delete;
  ServerLogin& operator=(const ServerLogin&) = delete;

  void connected();
  void secured();
  /// The server was closed: what is being computed for it comes too late.
  void stop() { done_ = true; }
  void on_bytes(std::string_view bytes);

  /// No message of a login is longer; a server that sends more is not one.
  static constexpr size_t kFrameBytesMax = 64 * 1024;

 private:
  void go_on(ServerEncryption::Step step);
  void send_startup();
  void message(char type, std::string_view body);
  void authentication(std::string_view body);
  /// Why a request for authentication cannot follow on what was before; nothing: it can.
  std::optional<std::string_view> fault_of_order(int32_t code) const;
  void authentication_ok();
  std::optional<protocol::StoredSecret> secret() const;
  void answer_cleartext();
  void answer_md5(std::string_view salt);
  void begin_scram(std::string_view mechanisms);
  std::optional<protocol::ChannelBinding> choose_binding(const std::vector<std::string_view>& offered);
  void continue_scram(std::string_view challenge);
  void prove(const protocol::ScramKeys& keys);
  void derive(const std::string& password, const protocol::ScramClient::Challenge& challenge);
  void ready();
  ServerRole reported_role() const;
  void role_known(ServerRole role);
  void error(std::string_view body);
  void fail(std::string_view reason);
  /// There is no secret, or none that fits what the server asks for.
  void fail_for_secret(std::string_view reason);
  bool is_by_learned_secret() const;
  void write(const std::string& message);

  Server& server_;
  Worker& worker_;
  ServerEncryption encryption_;
  bool started_ = false;  // the startup packet is sent
  bool done_ = false;
  bool authenticated_ = false;
  bool password_sent_ = false;
  std::string input_;
  std::unique_ptr<protocol::ScramClient> scram_;
  bool scram_verified_ = false;
  std::optional<RoleQuestion> role_question_;  // the last thing before the connection may be used
  std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);
};

}  // namespace bezel::pool
