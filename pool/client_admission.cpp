// Who may try to log in, and how: the part of ClientLogin before a client's proof is asked for.

#include <fmt/format.h>

#include "pool/client.h"
#include "pool/client_login.h"
#include "pool/hba.h"
#include "pool/login_throttle.h"
#include "pool/printable.h"
#include "pool/worker.h"
#include "protocol/sqlstate.h"

namespace bezel::pool {

namespace sqlstate = protocol::sqlstate;

void ClientLogin::authenticate() {
  address_ = client_->stream_->peer_ip();
  if (is_throttled()) return refuse_throttled();
  const Settings& settings = worker_->settings();
  const DatabaseSettings* entry = is_console() ? nullptr : worker_->database_entry(packet_.database);
  method_ = entry != nullptr ? entry->auth_type.value_or(settings.auth_type) : settings.auth_type;
  pam_service_ = settings.auth_pam_service;
  ldap_ = settings.ldap;
  if (method_ == AuthType::hba && !choose_by_rules()) return;
  if (method_ == AuthType::any) return authenticated();
  if (method_ == AuthType::peer) return check_system_user();
  // They know who there is.
  if (method_ == AuthType::pam || method_ == AuthType::ldap) return ask_for_proof();
  if (method_ == AuthType::cert && !check_certificate()) return;
  look_up_secret();
}

bool ClientLogin::choose_by_rules() {
  const Settings& settings = worker_->settings();
  const bool is_encrypted = client_->stream_->tls_facts() != nullptr;
  // Under one name, so that a rule for the console holds whichever of its names is used.
  const std::string_view database = is_console() ? kConsoleName : std::string_view(packet_.database);
  const HbaClient who{.is_local = client_->stream_->is_local(),
                      .address = address_,
                      .is_encrypted = is_encrypted,
                      .database = database,
                      .user = packet_.user};
  const HbaRule* rule = settings.hba_rules ? settings.hba_rules->match(who) : nullptr;
  if (rule != nullptr && rule->method != AuthType::reject) {
    method_ = rule->method;
    ident_map_ = rule->map;
    if (!rule->pam_service.empty()) pam_service_ = rule->pam_service;
    if (rule->ldap) ldap_ = rule->ldap;
    return true;
  }
  if (rule != nullptr) {
    worker_->log(LogLevel::info, fmt::format("C-{}: login of user \"{}\" rejected by {}:{}", client_->id(),
                                             printable(packet_.user), rule->file, rule->line));
  }
  fail({sqlstate::kInvalidAuthorizationSpecification,
        fmt::format("{} host \"{}\", user \"{}\", database \"{}\", {}",
                    rule != nullptr ? "pg_hba.conf rejects connection for" : "no pg_hba.conf entry for",
                    who.is_local ? "[local]" : client_->stream_->ends().peer_address, packet_.user, packet_.database,
                    is_encrypted ? "SSL encryption" : "no encryption"),
        "", ""});
  return false;
}

bool ClientLogin::may_be(std::string_view system_user) const {
  if (system_user.empty()) return false;
  return ident_map_ ? ident_map_->allows(system_user, packet_.user) : system_user == packet_.user;
}

bool ClientLogin::check_certificate() {
  const TlsFacts* facts = client_->stream_->tls_facts();
  if (facts == nullptr || facts->peer_distinguished_name.empty()) {
    fail({sqlstate::kInvalidAuthorizationSpecification, "connection requires a valid client certificate", "", ""});
    return false;
  }
  if (may_be(facts->peer_common_name)) return true;
  refuse_identity("certificate", fmt::format("the certificate is for \"{}\"", printable(facts->peer_common_name)));
  return false;
}

void ClientLogin::check_system_user() {
  const StreamEnds ends = client_->stream_->ends();
  if (!ends.peer_user_id) return refuse_identity("Peer", "the kernel does not know the peer");
  stage_ = Stage::deriving;
  worker_->runtime().find_system_user(*ends.peer_user_id, [this, alive = alive_](const std::string& name) {
    if (!*alive || stage_ != Stage::deriving) return;
    if (!may_be(name)) return refuse_identity("Peer", fmt::format("the system user is \"{}\"", printable(name)));
    stage_ = Stage::looking_up;
    look_up_secret();
  });
}

void ClientLogin::refuse_identity(std::string_view kind, std::string_view reason) {
  worker_->log(LogLevel::info,
               fmt::format("C-{}: login of user \"{}\" failed: {}", client_->id(), printable(packet_.user), reason));
  count_failure();
  fail({sqlstate::kInvalidAuthorizationSpecification,
        fmt::format("{} authentication failed for user \"{}\"", kind, packet_.user), "", ""});
}

bool ClientLogin::is_throttled() const {
  return address_ &&
         !worker_->shared().throttle.allows(*address_, worker_->settings().auth_failure_limit, worker_->now_us());
}

void ClientLogin::refuse_throttled() {
  worker_->statistics().throttled_logins.add(1);
  fail({sqlstate::kInvalidAuthorizationSpecification, "too many failed logins from this address", "", ""});
}

void ClientLogin::count_failure() {
  if (address_) worker_->shared().throttle.failed(*address_, worker_->settings().auth_failure_limit, worker_->now_us());
}

}  // namespace bezel::pool
