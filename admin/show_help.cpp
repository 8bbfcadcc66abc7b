#include "admin/commands.h"

namespace bezel::admin {

namespace {

std::string upper_case(std::string_view text) {
  std::string result(text);
  for (char& c : result)
    if (c >= 'a' && c <= 'z') c = static_cast<char>(c - 'a' + 'A');
  return result;
}

std::string_view argument_text(Argument argument) {
  switch (argument) {
    case Argument::optional_database:
      return " [<db>]";
    case Argument::database:
      return " <db>";
    case Argument::client_id:
      return " <client_id>";
    case Argument::shutdown_mode:
      return " [WAIT_FOR_SERVERS|WAIT_FOR_CLIENTS]";
    case Argument::optional_member:
      return " [<member>]";
    case Argument::none:
      break;
  }
  return "";
}

/// PgBouncer answers with a notice and no rows.
void run(const CallPtr& call) {
  std::string usage;
  for (const Command* command : show_commands()) usage += "\n\tSHOW " + upper_case(command->name);
  usage += "\n\tSET key = value";
  for (const Command* command : action_commands())
    usage.append("\n\t").append(upper_case(command->name)).append(argument_text(command->argument));
  call->notice("Console usage", usage);
  call->finish("SHOW");
}

}  // namespace

constexpr Command kShowHelp{.name = "help", .role = pool::ConsoleRole::stats, .run = run};

}  // namespace bezel::admin
