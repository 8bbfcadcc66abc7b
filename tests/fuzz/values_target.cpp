// Values of settings: durations, sizes, modes, names, variables.

#include <string>

#include "src/config/settings_loader.h"
#include "src/config/substitution.h"
#include "src/config/values.h"
#include "tests/fuzz/target.h"

namespace {

using namespace bezel::config;
using bezel::fuzz::must;

void check_durations(std::string_view text) {
  for (const int64_t unit_us : {int64_t{1}, kMillisecondUs, kSecondUs}) {
    const auto duration = parse_duration_us(text, unit_us);
    if (!duration) continue;
    must(*duration >= 0, "no time is negative");
    must(parse_duration_us(format_duration(*duration, unit_us), unit_us) == duration,
         "a duration is written as it was read");
  }
}

void check_numbers(std::string_view text) {
  if (const auto bytes = parse_size_bytes(text)) {
    must(*bytes >= 0 && parse_size_bytes(std::to_string(*bytes)) == bytes, "a size is written as it was read");
  }
  if (const auto number = parse_integer(text)) {
    must(parse_integer(std::to_string(*number)) == number, "a number is written as it was read");
  }
  if (const auto mode = parse_file_mode(text)) {
    must(parse_file_mode(format_file_mode(*mode)) == mode, "a mode is written as it was read");
  }
  parse_boolean(text);
}

void check_names(std::string_view text) {
  std::string joined;
  const auto names = split_names(text);
  for (const std::string& name : names) {
    must(!name.empty() && trimmed(name) == name, "names have no blanks around them");
    joined += (joined.empty() ? "" : ",") + name;
  }
  must(split_names(joined) == names, "names are written as they were read");
}

void check_substitution(std::string_view text) {
  static const Environment kEnvironment = {{"FULL", "some ${FULL} text"}, {"EMPTY", ""}};
  const Substitution substitution = substitute(text, kEnvironment);
  must(substitution.error.empty() || substitution.text.empty(), "a text or an error");
  must(substitution.error.find("some ") == std::string::npos, "no error shows what a variable holds");
  if (text.find('$') == std::string_view::npos) must(substitution.text == text, "without a variable it is the text");
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view text = bezel::fuzz::as_text(data, size);
  check_durations(text);
  check_numbers(text);
  check_names(text);
  check_substitution(text);
  return 0;
}
