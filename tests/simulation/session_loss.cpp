// What a client expects of a session whose server is lost.

#include <algorithm>

#include "protocol/messages.h"
#include "protocol/sqlstate.h"
#include "protocol/writer.h"
#include "tests/simulation/session.h"
#include "tests/simulation/sql_text.h"

namespace bezel::simulation {

namespace sqlstate = protocol::sqlstate;

/// Of such a portal the pooler does not know what it does, whether it has done it already or not.
bool Session::is_of_earlier_batch(std::string_view portal, bool bound) {
  return !bound || !portal.empty();
}

void Session::lose(std::string& out) {
  lost_texts_.assign(query_.begin(), query_.end());
  if (!in_query_ && !copying_in_ && !input_.empty() && (input_.front().type == 'Q' || input_.front().type == 'F')) {
    lost_texts_ = split_statements(input_.front().body.c_str());
    input_.pop_front();
    in_query_ = true;
  } else if (!in_query_) {
    for (const auto& [name, portal] : portals_) lost_texts_.push_back(portal.text);
    if (prepared_.contains("")) lost_texts_.push_back(prepared_[""]);
    if (ran_portal_of_earlier_batch_) lost_texts_.emplace_back("commit");
    bool bound = bound_in_batch_;
    for (const Frame& frame : input_) {
      if (frame.type == 'S') break;
      if (frame.type == 'P') lost_texts_.emplace_back(protocol::decode_parse(frame.body)->text);
      bound = bound || frame.type == 'B';
      if (frame.type == 'E' && is_of_earlier_batch(protocol::decode_execute(frame.body)->portal, bound)) {
        lost_texts_.emplace_back("commit");
      }
    }
  }
  std::string error;
  fail(error, sqlstate::kConnectionFailure, "");
  // The client has that one; what is reported behind it is still to come.
  FrameCutter cutter;
  cutter.append(error);
  cutter.next();
  while (const auto frame = cutter.next()) protocol::MessageWriter(out, frame->type).bytes(frame->body).finish();
}

bool Session::request_holds(std::string_view word) const {
  return std::any_of(lost_texts_.begin(), lost_texts_.end(), [&](const auto& text) { return begins_with(text, word); });
}

bool Session::ends_transaction_next() const {
  if (input_.empty() || input_.front().type != 'Q') return false;
  const std::string& text = input_.front().body;
  return begins_with(text, "commit") || begins_with(text, "rollback");
}

void Session::end_transaction_before_rest() {
  std::string& text = input_.front().body;
  text.erase(0, text.find(';') + 1);
  force_status('I');
}

bool Session::skips_what_comes() const {
  return skipping_ && std::none_of(input_.begin(), input_.end(), [](const Frame& frame) { return frame.type == 'S'; });
}

void Session::force_status(char status) {
  status_ = status;
  if (status == 'I') finish_transaction();
}

}  // namespace bezel::simulation
