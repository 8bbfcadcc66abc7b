// How a client proves who it is: the part of ClientLogin between the startup packet and its acceptance.

#include <fmt/format.h>

#include <algorithm>
#include <vector>

#include "pool/client.h"
#include "pool/client_login.h"
#include "pool/printable.h"
#include "pool/worker.h"
#include "protocol/messages.h"
#include "protocol/sqlstate.h"

namespace bezel::pool {

namespace sqlstate = protocol::sqlstate;

namespace {

/// No role has a longer name: nobody is asked about one. PostgreSQL's bound is 63, in builds of one's own it may be
/// more.
constexpr size_t kAskedUserBytesMax = 255;

}  // namespace

void ClientLogin::look_up_secret() {
  const auto& secrets = worker_->settings().secrets;
  if (const auto at = secrets.find(packet_.user); at != secrets.end()) return secret_found(at->second);
  const DatabaseSettings* entry = is_console() ? nullptr : worker_->database_entry(packet_.database);
  AuthSourceResult found = find_auth_source(worker_->settings(), packet_.database, entry);
  if (!found.problem.empty()) {
    worker_->log(LogLevel::error, fmt::format("C-{}: auth_query cannot be used: {}", client_->id(), found.problem));
    return fail({sqlstate::kConfigFileError, "the authentication query failed", "", "The pooler's log says why."});
  }
  if (found.source) auth_source_ = std::make_unique<AuthSource>(std::move(*found.source));
  if (!auth_source_ || packet_.user.size() > kAskedUserBytesMax) return secret_found(std::nullopt);
  ask_for_secret([this](const AuthReply& reply) { secret_replied(reply); });
}

void ClientLogin::ask_for_secret(std::function<void(const AuthReply&)> next) {
  stage_ = Stage::looking_up;
  AuthReply reply;
  const auto waiter = [this, alive = alive_, &runtime = worker_->runtime(), index = worker_->index(),
                       next](const AuthReply& later) {
    runtime.post(index, [this, alive, next, later] {
      if (*alive && stage_ == Stage::looking_up) next(later);
    });
  };
  if (worker_->find_secret(*auth_source_, packet_.user, reply, waiter)) next(reply);
}

void ClientLogin::secret_replied(const AuthReply& reply) {
  if (reply.error) return fail(*reply.error);
  if (reply.cached) worker_->statistics().auth_cache_hits.add(1);
  if (reply.stale) worker_->statistics().auth_stale_answers.add(1);
  secret_is_cached_ = reply.cached && !reply.stale;
  if (reply.answer.kind == AuthAnswer::Kind::secret) return secret_found(reply.answer.secret);
  if (reply.answer.kind == AuthAnswer::Kind::no_password) {
    // The password may have expired; who comes otherwise does not need one.
    if (method_ == AuthType::trust || method_ == AuthType::cert || method_ == AuthType::peer) return authenticated();
    no_secret_reason_ = "the user has no password, or it has expired";
  }
  secret_found(std::nullopt);
}

bool ClientLogin::secret_may_be_outdated() {
  return std::exchange(secret_is_cached_, false) &&
         worker_->shared().auth_cache.doubt({auth_source_->id, packet_.user}, worker_->now_us());
}

void ClientLogin::wrong_password(const std::function<void()>& check_again) {
  if (!secret_may_be_outdated()) return refuse_password("wrong password");
  ask_for_secret([this, check_again](const AuthReply& reply) {
    if (reply.error) return refuse_password("wrong password");
    secret_ = reply.answer.kind == AuthAnswer::Kind::secret ? std::optional(reply.answer.secret) : std::nullopt;
    check_again();
  });
}

void ClientLogin::secret_found(std::optional<protocol::StoredSecret> secret) {
  secret_ = std::move(secret);
  const bool is_empty = secret_ && secret_->kind == protocol::SecretKind::plain && secret_->text.empty();
  switch (method_) {
    case AuthType::any:
      return authenticated();
    case AuthType::trust:
      return secret_ ? authenticated() : refuse_password(no_secret_reason_);
    case AuthType::cert:
      return secret_ ? authenticated() : refuse_identity("certificate", "no such user");
    case AuthType::peer:
      return secret_ ? authenticated() : refuse_identity("Peer", "no such user");
    case AuthType::pam:
    case AuthType::ldap:  // nobody looks for a secret
    case AuthType::hba:
    case AuthType::reject:
      return refuse_password("no method");  // never chosen as one
    case AuthType::plain:
    case AuthType::md5:
    case AuthType::scram_sha_256:
      // An empty password proves nothing: it is for users who come without one.
      if (is_empty) secret_.reset();
      return ask_for_proof();
  }
}

void ClientLogin::ask_for_proof() {
  switch (method_) {
    case AuthType::pam:
    case AuthType::ldap:
    case AuthType::plain: {
      stage_ = Stage::cleartext;
      std::string request;
      protocol::append_authentication_cleartext(request);
      return send(request);
    }
    case AuthType::md5: {
      // An unknown user gets the challenge that known ones get: SCRAM where all secrets are verifiers.
      const auto& secrets = worker_->settings().secrets;
      const bool scram = secret_ ? secret_->kind == protocol::SecretKind::scram_sha_256
                         : auth_source_
                             ? worker_->shared().auth_cache.prefers_scram(auth_source_->id)
                             : !secrets.empty() && std::all_of(secrets.begin(), secrets.end(), [](const auto& known) {
                                 return known.second.kind == protocol::SecretKind::scram_sha_256;
                               });
      if (scram) return begin_sasl();
      stage_ = Stage::md5;
      worker_->runtime().random_bytes(md5_salt_.data(), md5_salt_.size());
      std::string request;
      protocol::append_authentication_md5(request, md5_salt_);
      return send(request);
    }
    default:
      return begin_sasl();
  }
}

std::string ClientLogin::binding_data() const {
  const TlsFacts* facts = client_->stream_->tls_facts();
  return facts != nullptr ? facts->server_end_point : std::string();
}

void ClientLogin::begin_sasl() {
  stage_ = Stage::sasl_initial;
  // The better one first: clients take the first that they know.
  std::vector<std::string_view> mechanisms;
  if (!binding_data().empty()) mechanisms.push_back(protocol::kScramSha256Plus);
  mechanisms.push_back(protocol::kScramSha256);
  std::string request;
  protocol::append_authentication_sasl(request, mechanisms);
  send(request);
}

void ClientLogin::refuse_password(std::string_view reason) {
  worker_->log(LogLevel::info,
               fmt::format("C-{}: login of user \"{}\" failed: {}", client_->id(), printable(packet_.user), reason));
  count_failure();
  fail({sqlstate::kInvalidPassword, fmt::format("password authentication failed for user \"{}\"", packet_.user), "",
        ""});
}

void ClientLogin::check_cleartext(std::string_view body) {
  const auto password = protocol::decode_password(body);
  if (!password) return fail({sqlstate::kProtocolViolation, "invalid password packet size", "", ""});
  if (password->empty()) return fail({sqlstate::kInvalidPassword, "empty password returned by client", "", ""});
  if (method_ != AuthType::plain) return check_password_elsewhere(*password);
  check_password(protocol::share_password(*password));
}

void ClientLogin::check_password_elsewhere(std::string_view password) {
  if (packet_.user.size() > kAskedUserBytesMax) return refuse_password("no user has so long a name");
  question_ = std::make_shared<PasswordQuestion>();
  question_->method = method_;
  question_->pam_service = pam_service_;
  question_->ldap = ldap_;
  question_->user = packet_.user;
  question_->password = password;
  if (address_) question_->client_address = client_->stream_->ends().peer_address;
  stage_ = Stage::deriving;
  const auto done = [this, alive = alive_, &runtime = worker_->runtime(),
                     index = worker_->index()](const PasswordVerdict& verdict) {
    runtime.post(index, [this, alive, verdict] {
      if (*alive && stage_ == Stage::deriving) password_checked(verdict);
    });
  };
  if (worker_->shared().passwords->check(question_, done)) return;
  fail({sqlstate::kTooManyConnections, "too many logins are waiting for their passwords to be checked", "", ""});
}

void ClientLogin::password_checked(const PasswordVerdict& verdict) {
  if (is_throttled()) return refuse_throttled();
  switch (verdict.kind) {
    case PasswordVerdict::Kind::right:
      // What the user has proved is what a server may ask for too.
      secret_ = protocol::StoredSecret{protocol::SecretKind::plain, question_->password, {}};
      return authenticated();
    case PasswordVerdict::Kind::wrong:
      return refuse_password(verdict.reason);
    case PasswordVerdict::Kind::unknown:
      break;
  }
  worker_->log(LogLevel::error, fmt::format("C-{}: the password of user \"{}\" cannot be checked: {}", client_->id(),
                                            printable(packet_.user), verdict.reason));
  fail({sqlstate::kCannotConnectNow, "the password could not be checked", "", "The pooler's log says why."});
}

void ClientLogin::check_password(const protocol::SharedPassword& password) {
  // A verifier takes a slow derivation to check: not on the event loop. Unknown users take the same way.
  const bool known = secret_.has_value();
  const auto secret = std::make_shared<protocol::StoredSecret>(secret_.value_or(protocol::StoredSecret()));
  if (known && secret->kind != protocol::SecretKind::scram_sha_256) {
    if (protocol::verify_password(*secret, packet_.user, *password)) return authenticated();
    return wrong_password([this, password] { check_password(password); });
  }
  if (!known) {
    secret->kind = protocol::SecretKind::scram_sha_256;
    secret->verifier = protocol::mock_verifier(packet_.user, worker_->shared().secret);
  }
  stage_ = Stage::deriving;
  auto right = std::make_shared<bool>(false);
  worker_->runtime().offload(
      [secret, right, user = packet_.user, password] { *right = protocol::verify_password(*secret, user, *password); },
      [this, alive = alive_, right, known, password] {
        if (!*alive || stage_ != Stage::deriving) return;
        if (is_throttled()) return refuse_throttled();
        if (*right) return authenticated();
        if (!known) return refuse_password(no_secret_reason_);
        wrong_password([this, password] { check_password(password); });
      });
}

void ClientLogin::check_md5(std::string_view body) {
  const auto response = protocol::decode_password(body);
  if (!response) return fail({sqlstate::kProtocolViolation, "invalid password packet size", "", ""});
  check_md5_response(std::string(*response));
}

void ClientLogin::check_md5_response(const std::string& response) {
  // Who is unknown costs the same hash, so that the time tells nothing.
  static const protocol::StoredSecret kNobody = protocol::parse_secret("md5" + std::string(32, '0'));
  const bool right =
      protocol::verify_md5_response(secret_ ? *secret_ : kNobody, packet_.user, md5_salt_, response) && secret_;
  if (!secret_) return refuse_password(no_secret_reason_);
  if (!right) return wrong_password([this, response] { check_md5_response(response); });
  authenticated();
}

void ClientLogin::sasl_initial(std::string_view body) {
  const auto initial = protocol::decode_sasl_initial_response(body);
  if (!initial || !initial->data) return fail({sqlstate::kProtocolViolation, "malformed SASL response", "", ""});
  scram_plus_ = initial->mechanism == protocol::kScramSha256Plus && !binding_data().empty();
  if (!scram_plus_ && initial->mechanism != protocol::kScramSha256) {
    return fail({sqlstate::kProtocolViolation, "client selected an invalid SASL authentication mechanism", "", ""});
  }
  input_ = *initial->data;  // kept while the verifier is being made
  if (secret_ && secret_->kind == protocol::SecretKind::scram_sha_256) return start_scram(secret_->verifier);
  if (secret_ && secret_->kind == protocol::SecretKind::plain) return begin_sasl_with_password();
  // Unknown, or known by an md5 hash, which cannot serve SCRAM.
  start_scram(protocol::mock_verifier(packet_.user, worker_->shared().secret));
}

/// The salt is enough to begin with; the keys are needed when the proof is there.
void ClientLogin::begin_sasl_with_password() {
  char fresh[protocol::kScramSaltBytes];
  worker_->runtime().random_bytes(fresh, sizeof fresh);
  protocol::ScramVerifier verifier;
  verifier.salt = worker_->shared().directory.user(packet_.user)->derived_keys.own_salt({fresh, sizeof fresh});
  verifier.never_matches = true;  // until it has its keys
  start_scram(std::move(verifier));
}

void ClientLogin::start_scram(protocol::ScramVerifier verifier) {
  char random[protocol::kScramRawNonceBytes];
  worker_->runtime().random_bytes(random, sizeof random);
  verifier_ = verifier;
  scram_ = std::make_unique<protocol::ScramServer>(std::move(verifier), protocol::scram_nonce({random, sizeof random}),
                                                   protocol::ChannelBinding{binding_data(), scram_plus_});
  const std::string first = std::exchange(input_, {});
  const auto answer = scram_->client_first(first);
  if (!answer) return fail(scram_->failure().error);
  stage_ = Stage::sasl_response;
  std::string request;
  protocol::append_authentication_sasl_continue(request, *answer);
  send(request);
}

void ClientLogin::sasl_response(std::string_view body) {
  if (!secret_ || secret_->kind != protocol::SecretKind::plain) return check_proof(body);
  const std::shared_ptr<UserShare> user = worker_->shared().directory.user(packet_.user);
  const std::string& password = secret_->text;
  if (const auto keys = user->derived_keys.find(password, verifier_.salt, verifier_.iterations)) {
    scram_->set_keys(*keys);
    return check_proof(body);
  }
  derive_off_loop(password,
                  [this, user, password, message = std::string(body)](const std::optional<protocol::ScramKeys>& keys) {
                    if (!keys) return fail({sqlstate::kInternalError, "could not derive SCRAM keys", "", ""});
                    user->derived_keys.add(password, verifier_.salt, verifier_.iterations, *keys);
                    if (is_throttled()) return refuse_throttled();
                    scram_->set_keys(*keys);
                    check_proof(message);
                  });
}

void ClientLogin::derive_off_loop(const std::string& password,
                                  std::function<void(const std::optional<protocol::ScramKeys>&)> next) {
  stage_ = Stage::deriving;
  has_derived_ = true;
  auto keys = std::make_shared<std::optional<protocol::ScramKeys>>();
  worker_->runtime().offload(
      [keys, password, salt = verifier_.salt, iterations = verifier_.iterations] {
        *keys = protocol::derive_keys(password, salt, iterations);
      },
      [this, alive = alive_, keys, next = std::move(next)] {
        if (*alive && stage_ == Stage::deriving) next(*keys);
      });
}

/// Whether logins of some users take a derivation. Then the time of a refusal could tell who is known.
bool ClientLogin::some_must_derive() const {
  const auto& secrets = worker_->settings().secrets;
  return (auth_source_ && !worker_->shared().auth_cache.prefers_scram(auth_source_->id)) ||
         std::any_of(secrets.begin(), secrets.end(), [](const auto& known) {
           return known.second.kind == protocol::SecretKind::plain && !known.second.text.empty();
         });
}

void ClientLogin::check_proof(std::string_view body) {
  const auto answer = scram_->client_final(body);
  if (!answer) {
    // A refusal costs one derivation, whoever it is for: one that was needed, or this one.
    if (has_derived_ || !some_must_derive()) return proof_failed();
    return derive_off_loop("", [this](const auto&) { proof_failed(); });
  }
  std::string request;
  protocol::append_authentication_sasl_final(request, *answer);
  send(request);
  if (auto keys = scram_->keys()) {
    PassedKeys passed{verifier_.salt, verifier_.iterations, *keys};
    // Secrets that were asked for hold for their server only: so do the keys.
    if (auth_source_) {
      proved_keys_ = std::move(passed);
    } else {
      worker_->shared().directory.user(packet_.user)->pass_keys(std::move(passed));
    }
  }
  scram_.reset();
  authenticated();
}

/// Refuses what the client has sent last.
void ClientLogin::proof_failed() {
  if (scram_->failure().kind == protocol::ScramFailure::Kind::wrong_password) {
    // The proof is bound to the old salt, so it cannot be checked again; but the next login will have the new secret.
    if (secret_may_be_outdated()) ask_for_secret([](const AuthReply&) {});
    return refuse_password(secret_ ? "wrong password" : no_secret_reason_);
  }
  fail(scram_->failure().error);
}

}  // namespace bezel::pool
