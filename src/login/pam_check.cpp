#include "src/login/pam_check.h"

#include <fmt/format.h>

#include <cstdlib>
#include <cstring>
#include <utility>

#include "pool/printable.h"
#include "src/login/libpam.h"

namespace bezel::login {

namespace {

using Kind = pool::PasswordVerdict::Kind;

/// The answers to what the modules ask, as PAM wants them: it frees them itself.
class Answers {
 public:
  explicit Answers(size_t count)
      : count_(count), answers_(static_cast<pam_response*>(std::calloc(count, sizeof(pam_response)))) {}
  Answers(const Answers&) = delete;
  Answers& operator=(const Answers&) = delete;
  ~Answers() {
    for (size_t i = 0; answers_ != nullptr && i < count_; i++) std::free(answers_[i].resp);
    std::free(answers_);
  }

  bool set(size_t at, const std::string& text) {
    if (answers_ == nullptr) return false;
    answers_[at].resp = ::strdup(text.c_str());
    return answers_[at].resp != nullptr;
  }
  pam_response* hand_over() { return std::exchange(answers_, nullptr); }

 private:
  size_t count_;
  pam_response* answers_;
};

/// What is asked for without echo is the password; other questions nobody can answer, and messages nobody reads.
int converse(int count, const pam_message** messages, pam_response** responses, void* data) {
  const auto& question = *static_cast<const pool::PasswordQuestion*>(data);
  if (count < 1 || count > PAM_MAX_NUM_MSG) return PAM_CONV_ERR;
  Answers answers(static_cast<size_t>(count));
  for (int i = 0; i < count; i++) {
    switch (messages[i]->msg_style) {
      case PAM_PROMPT_ECHO_OFF:
        if (!answers.set(static_cast<size_t>(i), question.password)) return PAM_BUF_ERR;
        break;
      case PAM_ERROR_MSG:
      case PAM_TEXT_INFO:
        if (!answers.set(static_cast<size_t>(i), "")) return PAM_BUF_ERR;
        break;
      default:
        return PAM_CONV_ERR;
    }
  }
  *responses = answers.hand_over();
  return PAM_SUCCESS;
}

/// Modules want a pause after a wrong password, to slow down who guesses. It would cost a thread that others wait for:
/// auth_failure_limit slows such clients down.
void do_not_wait(int, unsigned, void*) {}

/// One conversation with PAM, from pam_start to pam_end.
class Transaction {
 public:
  Transaction(const Libpam& pam, const pool::PasswordQuestion& question) : pam_(pam) {
    // It is only read, but C's interface has no const.
    const pam_conv conversation{converse, const_cast<pool::PasswordQuestion*>(&question)};
    status_ = pam_.start(question.pam_service.c_str(), question.user.c_str(), &conversation, &handle_);
    if (status_ != PAM_SUCCESS) handle_ = nullptr;
  }
  Transaction(const Transaction&) = delete;
  Transaction& operator=(const Transaction&) = delete;
  ~Transaction() {
    if (handle_ != nullptr) pam_.end(handle_, status_);
  }

  /// Goes on if all has gone well so far.
  template <typename Function, typename... Arguments>
  bool step(Function function, Arguments... arguments) {
    if (status_ == PAM_SUCCESS) status_ = function(handle_, arguments...);
    return status_ == PAM_SUCCESS;
  }
  bool is_well() const { return status_ == PAM_SUCCESS; }
  std::string error() const { return pool::printable(pam_.strerror(handle_, status_)); }

 private:
  const Libpam& pam_;
  pam_handle_t* handle_ = nullptr;
  int status_ = PAM_SUCCESS;
};

}  // namespace

pool::PasswordVerdict check_by_pam(const pool::PasswordQuestion& question) {
  const Libpam* pam = Libpam::load();
  if (pam == nullptr) return {Kind::unknown, "libpam.so.0 cannot be loaded"};
  Transaction transaction(*pam, question);
  const std::string& address = question.client_address;
  transaction.step(pam->set_item, PAM_RHOST, static_cast<const void*>(address.empty() ? "[local]" : address.c_str()));
  transaction.step(pam->set_item, PAM_FAIL_DELAY, reinterpret_cast<const void*>(do_not_wait));
  if (!transaction.is_well()) {
    return {Kind::unknown, fmt::format("PAM service {}: {}", question.pam_service, transaction.error())};
  }
  if (!transaction.step(pam->authenticate, PAM_SILENT | PAM_DISALLOW_NULL_AUTHTOK)) {
    return {Kind::wrong, fmt::format("PAM service {}: {}", question.pam_service, transaction.error())};
  }
  if (!transaction.step(pam->acct_mgmt, PAM_SILENT)) {
    return {Kind::wrong, fmt::format("PAM service {}, the account: {}", question.pam_service, transaction.error())};
  }
  return {Kind::right, {}};
}

}  // namespace bezel::login
