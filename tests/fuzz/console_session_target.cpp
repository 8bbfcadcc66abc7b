// A session of the console. The first line of the input says who has it, the lines that follow are its messages; an
// empty one lets commands that wait go on.

#include <string>

#include "tests/fuzz/notation.h"
#include "tests/fuzz/target.h"
#include "tests/unit/admin_fakes.h"

namespace {

using namespace bezel::admin;
using bezel::fuzz::must;

/// As the worker does it: the next message comes when the one before has been answered.
class Driver {
 public:
  explicit Driver(bezel::pool::ConsoleRole role, bool deferred) : fixture_(role) {
    fixture_.fleet.deferred = deferred;
    fixture_.fleet.databases.emplace_back();
    fixture_.fleet.users.emplace_back();
    fixture_.fleet.client_rows.emplace_back();
    fixture_.fleet.server_rows.emplace_back();
  }

  void send(std::string_view line) {
    if (fixture_.client.ended) return;
    if (line.empty() || fixture_.client.done < sent_) fixture_.fleet.complete();
    if (line == "!") return fixture_.session->on_cancel();
    const std::string message = bezel::fuzz::message_of(line);
    if (message.empty()) return;
    must(fixture_.client.done == sent_, "each message is answered");
    sent_++;
    fixture_.session->on_message(message[0], bezel::fuzz::body_of(message));
    must(fixture_.client.done <= sent_, "no message is answered twice");
    check_answer();
  }
  void end() {
    fixture_.fleet.complete();
    if (!fixture_.client.ended) must(fixture_.client.done == sent_, "each message is answered in the end");
    check_answer();
  }

 private:
  /// Throws for what is no whole message.
  void check_answer() {
    try {
      const fakes::Answer answer = fixture_.take();
      for (const fakes::TextRow& row : answer.rows) must(row.size() <= 100, "rows of columns");
    } catch (const std::exception& error) {
      must(false, error.what());
    }
  }

  fakes::Fixture fixture_;
  int sent_ = 0;
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  bezel::fuzz::Input input(data, size);
  const std::string_view letters = input.line();
  const bool is_admin = letters.find('a') != std::string_view::npos;
  Driver driver(is_admin ? bezel::pool::ConsoleRole::admin : bezel::pool::ConsoleRole::stats,
                letters.find('d') != std::string_view::npos);
  while (!input.at_end()) driver.send(input.line());
  driver.end();
  return 0;
}
