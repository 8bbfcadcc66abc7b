#include <utility>

#include "admin/command.h"
#include "protocol/error_response.h"

namespace bezel::admin {

void Call::notice(std::string_view message, std::string_view detail) {
  protocol::append_notice_response(notices_, protocol::severity::kNotice, protocol::sqlstate::kSuccessfulCompletion,
                                   message, detail);
}

void Call::end(Outcome outcome) {
  if (const auto done = std::exchange(done_, nullptr)) done(std::move(outcome));
}

void Call::finish(std::string_view tag) {
  Outcome outcome;
  outcome.rows = std::move(rows);
  outcome.notices = std::move(notices_);
  outcome.tag = tag;
  if (outcome.rows.out_of_range()) {
    outcome.failure = Failure{"integer out of range", "22003", "Ask for the result in text format."};
    outcome.rows = ResultRows();
  }
  end(std::move(outcome));
}

void Call::fail(Failure failure) {
  Outcome outcome;
  outcome.notices = std::move(notices_);
  outcome.failure = std::move(failure);
  end(std::move(outcome));
}

void Call::finish_or_fail(const std::string& error, std::string_view tag) {
  if (error.empty()) {
    finish(tag);
  } else {
    fail({error});
  }
}

void Call::finish_unanswered() {
  Outcome outcome;
  outcome.unanswered = true;
  end(std::move(outcome));
}

}  // namespace bezel::admin
