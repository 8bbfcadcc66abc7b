#include "src/login/password_service.h"

#include <chrono>
#include <utility>

#include "src/login/ldap_check.h"
#include "src/login/pam_check.h"

namespace bezel::login {

bool PasswordService::check(std::shared_ptr<pool::PasswordQuestion> question, Done done) {
  const bool by_pam = question->method == pool::AuthType::pam;
  auto verdict = std::make_shared<pool::PasswordVerdict>();
  return (by_pam ? pam_ : ldap_)
      .run({.work = [question, verdict,
                     by_pam] { *verdict = by_pam ? check_by_pam(*question) : check_by_ldap(*question); },
            .done = [verdict, done = std::move(done)] { done(*verdict); },
            .is_unwanted = [question] { return question->given_up.load(); }});
}

bool PasswordService::stop() {
  constexpr std::chrono::milliseconds kPatience{1000};
  const bool pam_ended = pam_.stop(kPatience);
  return ldap_.stop(kPatience) && pam_ended;
}

}  // namespace bezel::login
