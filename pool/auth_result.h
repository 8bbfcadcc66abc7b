#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "pool/auth_query.h"
#include "protocol/frames.h"

namespace bezel::pool {

/// Reads what a server answers to auth_query for one user: at most a row, of the user's name and its secret. Behind it
/// comes what the server itself says about the role of that name, if there is one, as a query of one's own may not have
/// looked at it: whether it may log in, and until when its password holds. Trusts nothing of it, and holds at most
/// kFrameBytesMax of it.
class AuthResult {
 public:
  enum class State : uint8_t {
    reading,
    complete,  ///< up to the last ReadyForQuery; answer() is set, or problem() says what is wrong with it
    broken,    ///< not the protocol; problem() says how
  };

  explicit AuthResult(std::string user) : user_(std::move(user)) {}

  /// The messages that ask, all in one go.
  static std::string question(std::string_view query, const std::string& user);

  State take(std::string_view bytes);
  /// `now_us`: when it came. REQUIRES: complete, and no problem.
  AuthAnswer answer(int64_t now_us) const;
  /// For the log; never holds a secret. Empty: there is none.
  const std::string& problem() const { return problem_; }
  /// For the log: why answer() is `unknown` although there was something. Empty mostly.
  const std::string& remark() const { return remark_; }
  /// For the log: why nothing is known about the role, so that answer() goes by auth_query alone. Empty mostly.
  const std::string& role_problem() const { return role_problem_; }
  /// Bytes have come behind the answer.
  bool has_more() const { return !input_.empty(); }

  static constexpr size_t kFrameBytesMax = 64 * 1024;

 private:
  State message(char type, std::string_view body);
  State row_description(std::string_view body);
  State data_row(std::string_view body);
  State role_row(std::string_view body);
  void error(std::string_view body);
  State ready(std::string_view body);
  State break_off(std::string problem);

  std::string user_;
  std::string input_;
  std::string problem_, remark_, role_problem_;
  bool secret_is_read_ = false;  // what comes is about the role
  int columns_ = -1;             // not described yet
  int rows_ = 0;
  bool name_fits_ = false;
  bool user_is_impossible_ = false;
  bool has_password_ = false;
  std::string password_;
  bool may_log_in_ = true;
  std::optional<int64_t> valid_for_us_;  // nothing: for ever
};

}  // namespace bezel::pool
